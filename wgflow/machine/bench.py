"""How fast chains move on this machine, and what would make them faster.

What is compared is timed in turn, in one process: block by block each once, so that a machine that
slows down slows all of them. Ratios are medians over the rounds, with their quartiles.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow.data.moments import DataMoments
from wgflow.energies.base import Energy
from wgflow.energies.mlp import MLPSpec
from wgflow.machine.doctor import usable_cores
from wgflow.samplers import MALA, ULA, Sampler
from wgflow.samplers.base import iterate

CHAINS = (64, 1024, 16384)
ROUNDS = 5
STEP = 0.01
WORTH = 1.1
"""From how many times the speed on a setting is worth it."""

Work = Callable[[], object]


class Speed(NamedTuple):
    """Steps per second of so many chains, and what the matrix products alone would allow."""

    chains: int
    langevin: float
    mala: float
    products: float


class Gain(NamedTuple):
    """How many times faster a setting makes Langevin steps: median and quartiles over rounds."""

    setting: str
    chains: int
    ratio: float
    low: float
    high: float

    @property
    def pays(self) -> bool:
        """Whether it is clearly faster."""
        return self.ratio >= WORTH and self.low > 1


class Bench(NamedTuple):
    """What `bench` measures: the speeds, the gains, and why a setting could not be tried."""

    speeds: list[Speed]
    gains: list[Gain]
    failures: dict[str, str]


def bench(seconds: float = 20.0, chains: tuple[int, ...] = CHAINS) -> Bench:
    """Time the default perceptron in the plane: Langevin, MALA and its matrix products alone.

    And Langevin steps with all cores, in mixed precision, in double precision, and compiled,
    each against single precision on one thread.

    Args:
        seconds: of measuring, about; compiling comes on top.
        chains: how many move at a time.

    Raises:
        ValueError: a number is not positive.
    """
    check_positive(seconds=seconds, **{f"chains[{k}]": n for k, n in enumerate(chains)})
    settings, failures = _settings(max(chains))
    blocks = ROUNDS * len(chains) * (3 + 2 * len(settings))
    timed = partial(in_turn, seconds=seconds / blocks)
    energy = perceptron()
    with _threads(1):
        speeds = [_speed(energy, n, timed) for n in chains]
        gains = [_gain(name, energy, s, n, timed) for name, s in settings.items() for n in chains]
    return Bench(speeds, gains, failures)


def perceptron(dtype: torch.dtype = torch.float32) -> nn.Module:
    """The default energy of points in the plane, with frozen parameters."""
    moments = DataMoments((2,), torch.eye(2, dtype=torch.float64))
    energy = MLPSpec().build(moments, generator=torch.Generator().manual_seed(0))
    return energy.to(dtype).requires_grad_(False)


def in_turn(
    works: Mapping[str, Work],
    seconds: float,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Tensor]:
    """Seconds per call of each, (rounds,): in every round a block of calls of each in turn.

    Args:
        works: what is called, by name.
        seconds: of a block, about.
        rounds: blocks of each.
        clock: `time.process_time` counts what this process computes and not what it waits for.
    """
    counts = {name: max(1, round(seconds / _once(work, clock))) for name, work in works.items()}
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = clock()
            for _ in range(counts[name]):
                work()
            found[name].append((clock() - start) / counts[name])
    return {name: torch.tensor(times, dtype=torch.float64) for name, times in found.items()}


def steps(
    sampler: Sampler, energy: Energy, count: int, dtype: torch.dtype = torch.float32
) -> Work:
    """One more step of chains at every call."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 2, generator=generator).to(dtype)
    chain = iterate(sampler, energy, x, generator=generator)
    return lambda: next(chain)


def products(energy: nn.Module, count: int) -> Work:
    """The matrix products of one gradient of the energy: each layer there and back."""
    layers = [p for p in energy.parameters() if p.ndim == 2]
    there = [(torch.randn(count, w.shape[1]), w.T.contiguous()) for w in layers]
    back = [(torch.randn(count, w.shape[0]), w.detach()) for w in layers]
    return lambda: [a @ b for a, b in (*there, *back)]


class Setting(NamedTuple):
    """Another way to compute the same steps."""

    energy: Energy
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    dtype: torch.dtype = torch.float32


def _settings(largest: int) -> tuple[dict[str, Setting], dict[str, str]]:
    """The settings that can be tried here, and why others cannot."""
    energy, cores = perceptron(), usable_cores()
    mixed = partial(torch.autocast, "cpu", torch.bfloat16)
    double = Setting(perceptron(torch.float64), dtype=torch.float64)
    found = {"mixed precision": Setting(energy, mixed), "double precision": double}
    failures = {}
    if cores > 1:
        found = {f"{cores} threads": Setting(energy, partial(_threads, cores))} | found
    else:
        failures["threads"] = "there is one core"
    compiled = torch.compile(energy)
    try:
        steps(ULA(STEP), compiled, largest)()
    except Exception as error:  # of its compiler, which may be absent or broken
        failures["compiled"] = (str(error).strip().splitlines() or [type(error).__name__])[0]
    else:
        found["compiled"] = Setting(compiled)
    return found, failures


def _speed(energy: nn.Module, count: int, timed: Callable[..., dict[str, Tensor]]) -> Speed:
    works = {
        "langevin": steps(ULA(STEP), energy, count),
        "mala": steps(MALA(STEP), energy, count),
        "products": products(energy, count),
    }
    return Speed(count, **{name: 1 / float(t.median()) for name, t in timed(works).items()})


def _gain(
    name: str,
    energy: nn.Module,
    setting: Setting,
    count: int,
    timed: Callable[..., dict[str, Tensor]],
) -> Gain:
    sampler = ULA(STEP)
    step = steps(sampler, setting.energy, count, setting.dtype)

    def other() -> None:
        with setting.around():
            step()

    found = timed({"usual": steps(sampler, energy, count), "other": other})
    ratios = (found["usual"] / found["other"]).numpy()
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    return Gain(name, count, middle, low, high)


def _once(work: Work, clock: Callable[[], float]) -> float:
    """Seconds of a call that is not the first."""
    work()
    start = clock()
    work()
    return max(clock() - start, 1e-7)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
