"""Runs: learn from a configuration into a folder, go on after a stop, load what was learned."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgflow import checkpoint, folder
from wgflow.config import DTYPES, Config, dumps, loads
from wgflow.data import TOYS, Dataset
from wgflow.energy import Rescaled
from wgflow.grid import box, log_z
from wgflow.islands import carries, join, share
from wgflow.learning import LARGEST, MIXED, Learner, initialise, load_data, load_state
from wgflow.likelihood import LogZ, moment_match
from wgflow.likelihood import log_z as annealed_log_z
from wgflow.particles import Particles
from wgflow.ranks import ALONE, Ranks
from wgflow.recording import Clock, environment, update_environment
from wgflow.runner import (
    Diverged,
    Interrupted,
    Listener,
    Progress,
    Runner,
    populations,
    read_state,
    recall,
)
from wgflow.samplers import MALA
from wgflow.samplers.base import check_choice
from wgflow.samplers.kinetic import KineticState
from wgflow.sampling import descent, draw, follow
from wgflow.schemes import EnergyMatching, matching

ROUNDS = 50
"""Moves of a fresh sample, from the population that learned."""

STARTS = ("noise", "population")
"""Where samples may start."""

CHAINS = 1000
"""Annealed chains, each way."""


def temperatures(dim: int) -> int:
    """Intermediate laws of the annealing: works spread with the dimension, up to a budget."""
    return min(max(200, 16 * dim), 2000)


__all__ = ["Diverged", "Interrupted", "Listener", "Run", "fit", "load", "read_config", "resume"]


@dataclass(frozen=True, eq=False)
class Run:
    """What a run learned, as of its latest checkpoint.

    Attributes:
        path: its folder.
        config: what was asked for.
        energy: the running average of the energy, in the original units of the data; frozen.
        particles: the population that trained, in standardised units; None without one.
        held_out: the population that never entered a gradient; None without one.
        event_shape: shape of one point.
        steps: learning steps done.
        rollbacks: how often the run diverged and went back.
    """

    path: Path
    config: Config
    energy: Rescaled
    particles: Particles | None
    held_out: Particles | None
    event_shape: tuple[int, ...]
    steps: int
    rollbacks: int

    @cached_property
    def dataset(self) -> Dataset:
        """The data it learned from, loaded when first asked for."""
        return load_data(self.config)

    def sample(
        self,
        count: int,
        *,
        start: str | None = None,
        rounds: int | None = None,
        generator: torch.Generator | None = None,
        **path: Any,
    ) -> Tensor:
        """``count`` fresh points of the learned density, in the original units of the data.

        Args:
            count: number of points.
            start: ``population``, see `wgflow.sampling.draw`; ``noise``, see
                `wgflow.sampling.follow`, for energies matched to paths from noise; None for noise
                where it can be, else the population.
            rounds: moves of a point from the population.
            generator: source of randomness.
            path: options of `wgflow.sampling.follow`: time, steps, langevin.

        Raises:
            ValueError: the scheme kept no particles, or matched no paths, or a number is out of
                its range.
        """
        check_choice("start", start or STARTS[0], STARTS)
        if start == "noise" or (start is None and matching(self.config.scheme)):
            return self._from_noise(count, path, generator)
        if path:
            raise ValueError(
                f"Points of the population follow no path: expected no options, got {path}."
            )
        particles = self._population()
        u = draw(
            self.energy.energy,
            particles,
            count,
            _mala(particles),
            rounds=ROUNDS if rounds is None else rounds,
            generator=generator,
        )
        return self._original(u)

    def stages(
        self, count: int, *, generator: torch.Generator | None = None, **options: Any
    ) -> Iterator[Tensor]:
        """``count`` points on their way from noise, after 0, 1 ... evaluations of the gradient.

        In original units; options and errors as in `sample` from noise, without Langevin steps.
        """
        paths, x = self._noise(count, generator)
        options = {"temperature": paths.temperature} | options
        with self._mixed():
            yield from map(self._original, descent(self.energy.energy, x, **options))

    def _from_noise(self, count: int, path: dict[str, Any], generator) -> Tensor:
        paths, x = self._noise(count, generator)
        path = {"temperature": paths.temperature, "generator": generator} | path
        with self._mixed():
            return self._original(follow(self.energy.energy, x, **path))

    def _noise(self, count: int, generator) -> tuple[EnergyMatching, Tensor]:
        """The energy matching of the scheme, and noise from which its paths start."""
        paths = matching(self.config.scheme)
        if paths is None:
            raise ValueError(
                "Only energies matched to paths lead from noise to the data: expected the scheme "
                "energy-matching or joint; others start from their population."
            )
        shape, dtype = (count, *self.event_shape), DTYPES[self.config.dtype]
        return paths, paths.noise * torch.randn(shape, generator=generator, dtype=dtype)

    def _mixed(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.config.dtype == MIXED)

    def _original(self, u: Tensor) -> Tensor:
        return (self.energy.shift + self.energy.scale * u).to(u)

    def log_prob(self, x: Tensor) -> Tensor:
        """``log p(x) = -E(x) - log Z``, (batch,), in nats; its error is `normaliser`'s."""
        with torch.no_grad():
            return -self.energy(x) - self.normaliser.value

    @cached_property
    def normaliser(self) -> LogZ:
        """``log Z`` of the energy with its standard error: the same in all units.

        By quadrature in one and two dimensions, where the error is that of the rule and counted
        as zero; otherwise by annealing both ways between the learned density, from the particles
        that never entered a gradient, and a Gaussian of the moments of those that did.

        Raises:
            ValueError: the scheme kept no particles.
        """
        if len(self.event_shape) == 1 and self.event_shape[0] <= 2:
            grid = box(self.energy.shift, self.energy.scale, DTYPES[self.config.dtype])
            value = float(log_z(self.energy, grid))
            return LogZ(value, 0.0, value, value)
        generator = torch.Generator().manual_seed(self.config.seed)
        trained = self._population()
        start = trained if self.held_out is None else self.held_out
        step = _mala(trained)
        energy = self.energy.energy
        draws = draw(energy, start, CHAINS, step, rounds=ROUNDS, generator=generator)
        reference = moment_match(trained.x, trained.weights)
        return annealed_log_z(
            energy,
            draws,
            reference,
            temperatures=temperatures(math.prod(self.event_shape)),
            sampler=step,
            generator=generator,
        )

    def _population(self) -> Particles:
        if self.particles is None:
            raise ValueError("Samples start from particles: expected a scheme that has some.")
        return self.particles


def fit(
    config: Config,
    out: Path | str,
    *,
    listener: Listener | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Learn an energy as ``config`` says, into the new folder ``out``.

    Args:
        config: what to learn; its counts are totals over the ranks.
        out: the folder, which all ranks see and the first alone writes to.
        listener: called after every learning step.
        ranks: the processes that learn together; every one of them calls `fit`.

    Raises:
        ValueError: the folder is not new or in use, or the data cannot be used.
        Diverged: after more rollbacks than a run may take.
        Interrupted: a signal came; the run can be resumed.
    """
    path, clock = Path(out), Clock.start()
    ranks.lead(lambda: (folder.check_new(path), share(config, ranks)))
    with _held(path, ranks), _flushed_denormals():
        config = _anchored(config)
        learner = Learner.build(share(config, ranks), ranks)
        if config.init is not None:
            begun = load(config.init)
            initialise(learner, begun.energy)
        for module in (learner.energy, learner.average):
            ranks.spread_(list(module.state_dict().values()))
        ranks.lead(lambda: _begin(path, config, ranks))
        Runner.open(path, learner, clock, listener).run(Progress(), learner.start())
    return load(path)


def resume(path: Path | str, *, listener: Listener | None = None, ranks: Ranks = ALONE) -> Run:
    """Go on after the latest checkpoint, as if there had been no stop: bit for bit, on a CPU.

    A finished run is loaded. Any other goes on with as many ranks as it began with.

    Raises:
        ValueError: there is no run, it is in use, or its checkpoint is corrupt or of other data.
        Diverged, Interrupted: as `fit`.
    """
    path = Path(path)
    if ranks.lead(lambda: _finished(path)):
        return load(path)
    with _held(path, ranks), _flushed_denormals():
        config = share(read_config(path), ranks)
        state = recall(path, config.device, ranks)
        learner = Learner.build(config, ranks)
        learner.restore(state["learner"])
        ranks.lead(lambda: update_environment(path, status="running"))
        runner = Runner.open(path, learner, Clock.start(**state["clock"]), listener, state)
        runner.run(state["progress"], state["carry"])
    return load(path)


def load(path: Path | str) -> Run:
    """What the run in a folder learned; reads its files and nothing else.

    Raises:
        ValueError: there is no run, or its checkpoint is corrupt or foreign.
    """
    path = Path(path)
    folder.check_run(path)
    if not (path / folder.CHECKPOINT).is_file():
        return _published(path)
    state = read_state(path, "cpu")
    learned, progress = state["learner"], state["progress"]
    islands = zip(*(populations(carry) for carry in carries(state)), strict=True)
    populated = [join(parts) for parts in islands]
    learned = learned | {"energy": _averaged(learned["average"])}
    return _assembled(path, learned, populated, progress.step, progress.rollbacks)


def publish(run: Run, out: Path | str) -> None:
    """Write a run without what only learning needs: its energy, in half precision.

    `load` reads it like any run; it has no particles. Half precision keeps three digits of every
    weight: samples look the same, energies move by about as much as in mixed precision.

    Raises:
        ValueError: the folder is not new.
    """
    path = Path(out)
    folder.check_new(path)
    path.mkdir(parents=True, exist_ok=True)
    weights = run.energy.energy.state_dict()
    halves = {name: w.half() if w.ndim else w for name, w in weights.items()}
    tree = {
        "energy": halves,
        "shift": run.energy.shift,
        "scale": run.energy.scale,
        "event_shape": run.event_shape,
        "steps": run.steps,
        "rollbacks": run.rollbacks,
    }
    checkpoint.save(path / folder.ENERGY, tree)
    # Without what it began with: the weights say it all, and a path would lead nowhere.
    folder.write_text(path / folder.CONFIG, dumps(replace(run.config, init=None)))
    told = folder.read_json(run.path / folder.ENVIRONMENT)
    kept = {key: told[key] for key in ("wgflow", "torch", "status", "cpu_seconds") if key in told}
    folder.write_json(path / folder.ENVIRONMENT, kept)
    if (run.path / folder.SCORES).is_file():
        folder.write_json(path / folder.SCORES, folder.read_json(run.path / folder.SCORES))


def _published(path: Path) -> Run:
    kept: Any = checkpoint.load(path / folder.ENERGY, [])
    return _assembled(path, kept, [None, None], kept["steps"], kept["rollbacks"])


def _assembled(path, learned, populated, steps: int, rollbacks: int) -> Run:
    """A run from the weights of its energy, its units and its populations."""
    config = read_config(path)
    event_shape = tuple(learned["event_shape"])
    dim = math.prod(event_shape)
    # Values come with the state; here only the shape matters.
    covariance = torch.eye(dim) if dim <= LARGEST else None
    center = None if learned["shift"].ndim else torch.zeros(event_shape)
    # In full precision, whatever it was trained in: log Z and acceptance need the digits.
    energy = config.energy.build(event_shape, covariance, center).to(DTYPES[config.dtype])
    load_state(energy, learned["energy"])
    original = Rescaled(energy, learned["shift"], learned["scale"]).eval().requires_grad_(False)
    particles, held_out = populated
    return Run(path, config, original, particles, held_out, event_shape, steps, rollbacks)


def read_config(path: Path) -> Config:
    """The configuration of the run in a folder."""
    return loads((path / folder.CONFIG).read_text())


def _begin(path: Path, config: Config, ranks: Ranks) -> None:
    folder.write_text(path / folder.CONFIG, dumps(config))
    found = environment() | {"ranks": ranks.size, "status": "running"}
    folder.write_json(path / folder.ENVIRONMENT, found)


def _finished(path: Path) -> bool:
    folder.check_run(path)
    return folder.read_json(path / folder.ENVIRONMENT)["status"] == "finished"


@contextlib.contextmanager
def _held(path: Path, ranks: Ranks) -> Iterator[None]:
    """The lock of the folder, which the first rank holds for all."""
    with contextlib.ExitStack() as stack:
        ranks.lead(lambda: stack.enter_context(folder.locked(path)))
        yield


def _mala(p: Particles) -> MALA:
    """MALA with the step the population learned: one leapfrog of η is MALA of ε = η²/2."""
    step = float(p.state.step_size)
    return MALA(step_size=step**2 / 2 if isinstance(p.state, KineticState) else step)


def _averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of the averaged module, out of the state of `AveragedModel`."""
    prefix = "module."
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


def _anchored(config: Config) -> Config:
    """The same with an absolute path to the data, so that a run resumes from anywhere."""
    if config.init is not None:
        config = replace(config, init=str(Path(config.init).resolve()))
    source = Path(config.data.name)
    if not source.exists() or config.data.name in {*TOYS, "digits"}:
        return config
    return replace(config, data=replace(config.data, name=str(source.resolve())))


@contextlib.contextmanager
def _flushed_denormals() -> Iterator[None]:
    # Softmax weights far below the largest are denormal numbers, which x86 handles in microcode:
    # the gradients through them would take five times as long. It is a switch of the process.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
