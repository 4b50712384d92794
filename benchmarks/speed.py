"""Langevin and MALA steps per CPU second, beside other libraries and the products alone.

    pip install .[benchmarks]
    OMP_NUM_THREADS=1 python -m benchmarks.speed
    OMP_NUM_THREADS=1 python -m benchmarks.speed --seconds 1 --chains 64 1024

One perceptron, 2-256-256-1 with SiLU and fixed weights, one thread, single precision, one process:
in every round a block of steps of each in turn. Steps are counted in CPU seconds of this process,
so that what else runs on the machine counts little. A ratio is the median over the rounds of
WGFlow's speed over the other's, with its quartiles. Each peer steps as its own sampling loop does,
with the parameters frozen where it freezes them. A peer that is not installed is left out.
"""

import argparse
import importlib.util
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wgflow.machine.bench import CHAINS, STEP, Work, in_turn, products, steps
from wgflow.samplers import MALA, ULA

WIDTH = 256
INNER = 8
"""Steps of a call, where a library has no single one."""


class Perceptron(nn.Module):
    """2-256-256-1."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(2, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU()),
            nn.Linear(WIDTH, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``E(x)`` confined by ``|x|²/2``."""
        return self.net(x).squeeze(1) + x.square().sum(1) / 2


def works(count: int) -> dict[str, tuple[int, Work]]:
    """What is timed: steps of a call, and the call."""
    torch.manual_seed(0)
    energy = Perceptron().requires_grad_(False)
    x = torch.randn(count, 2)
    found: dict[str, tuple[int, Work]] = {
        "WGFlow, Langevin": (1, steps(ULA(STEP), energy, count)),
        "WGFlow, MALA": (1, steps(MALA(STEP), energy, count)),
        "products": (1, products(energy, count)),
    }
    if importlib.util.find_spec("ebm"):
        found |= ebmkit(energy, x)
    if importlib.util.find_spec("torchebm"):
        found |= torchebm(energy, x)
    return found


def ebmkit(energy: nn.Module, x: Tensor) -> dict[str, tuple[int, Work]]:
    """ebmkit's samplers, whose loop freezes the parameters."""
    import ebm

    langevin, mala = ebm.LangevinDynamics(step_size=STEP), ebm.MALA(step_size=STEP)
    return {
        "ebmkit, Langevin": (INNER, lambda: langevin.sample(energy, x, steps=INNER)),
        "ebmkit, MALA": (INNER, lambda: mala.sample(energy, x, steps=INNER)),
    }


def torchebm(energy: nn.Module, x: Tensor) -> dict[str, tuple[int, Work]]:
    """torchebm's Langevin dynamics; it has no MALA."""
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def forward(self, x: Tensor) -> Tensor:
            return energy(x)

    sampler = LangevinDynamics(Model(), step_size=STEP)
    return {"torchebm, Langevin": (INNER, lambda: sampler.sample(x=x, n_steps=INNER))}


def speeds(count: int, seconds: float) -> dict[str, Tensor]:
    """Steps per CPU second of each, (rounds,)."""
    timed = works(count)
    calls = {name: call for name, (_, call) in timed.items()}
    found = in_turn(calls, seconds, clock=time.process_time)
    return {name: timed[name][0] / times for name, times in found.items()}


def lines(found: dict[str, Tensor]) -> list[str]:
    """Speeds, and how many times as fast WGFlow's steps of the same kind are."""
    told = []
    for name, speed in found.items():
        kind = "MALA" if name.endswith("MALA") else "Langevin"
        ratio = found[f"WGFlow, {kind}"] / speed
        low, middle, high = ratio.quantile(torch.tensor([0.25, 0.5, 0.75]).to(ratio)).tolist()
        beside = "" if name.startswith("WGFlow") else f"  {middle:5.2f} ({low:.2f} to {high:.2f})"
        told.append(f"{name:<20} {float(speed.median()):10.1f}{beside}")
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each number of chains."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chains", type=int, nargs="+", default=CHAINS)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a block")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} thread, blocks of ", end="")
    print(f"{options.seconds:g} s; steps per CPU second, and WGFlow's over them")
    for count in options.chains:
        print(f"\n{count} chains", *lines(speeds(count, options.seconds)), sep="\n")


if __name__ == "__main__":
    main()
