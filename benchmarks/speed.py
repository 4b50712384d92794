"""Steps per CPU second, beside other libraries and the products alone; a learning step; a million.

    pip install .[benchmarks]
    OMP_NUM_THREADS=1 python -m benchmarks.speed
    OMP_NUM_THREADS=1 python -m benchmarks.speed perceptron --seconds 1 --chains 64 1024
    OMP_NUM_THREADS=1 python -m benchmarks.speed convolutional --chains 16 128
    OMP_NUM_THREADS=1 python -m benchmarks.speed learning
    OMP_NUM_THREADS=1 python -m benchmarks.speed population
    OMP_NUM_THREADS=1 python -m benchmarks.speed reaching --data moons --seed 1

The perceptron is 2-256-256-1 with SiLU, the convolutional energy a residual network of grey images
of 16×16 pixels. Weights are fixed, there is one thread, single precision and one process: in each
round a block of steps of each in turn. Steps are counted in CPU seconds of this process, so that
what else runs on the machine counts little. A ratio is WGFlow's speed over the other's, its median
over the rounds, with quartiles. Each peer steps as its own sampling loop does, on a plain
module with the same weights, with the parameters frozen where it freezes them. A peer that is not
installed is left out.

``learning`` times the parts of a learning step of a default run in the plane, ``population`` steps
of 10³ to 10⁶ chains, each in a process of its own, whose peak of memory it tells; ``reaching``
learns the plane until its relative entropy is small, see `benchmarks.reaching`.
"""

import argparse
import importlib.util
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import reaching
from wgflow.config.recipes import configure
from wgflow.energies.confined import Confined
from wgflow.energies.mlp import MLP, MLPSpec
from wgflow.energies.unet import ResNet, ResNetSpec
from wgflow.machine.bench import CHAINS, STEP, Work, in_turn, perceptron, products, steps
from wgflow.samplers import MALA, ULA
from wgflow.samplers.base import iterate
from wgflow.samplers.independence import Independence, silverman
from wgflow.samplers.particles import react, transport
from wgflow.schemes.dynamics import Carry, values_at
from wgflow.schemes.population import ANCHORS
from wgflow.training.learner import Learner
from wgflow.training.loop import descend

WIDTH = 256
INNER = 8
"""Steps of a call, where a library has no single one."""

IMAGE = (1, 16, 16)
IMAGES = (16, 64, 256)
SIZES = (1_000, 10_000, 100_000, 1_000_000)

Works = dict[str, tuple[int, Work]]
"""What is timed: steps of a call, and the call."""


class Plain(nn.Module):
    """The same function as the perceptron, as one writes it in PyTorch."""

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        last = nn.Linear(WIDTH, 1, bias=False)
        last.weight = nn.Parameter(mlp.head[None])
        self.net = nn.Sequential(*mlp.hidden, last)

    def forward(self, x: Tensor) -> Tensor:
        """``E(x)`` confined by ``|x|²/2``."""
        return self.net(x).squeeze(1) + x.square().sum(1) / 2


def energies() -> tuple[Confined, Plain]:
    """WGFlow's perceptron, frozen, and the plain module with its weights."""
    mlp = MLP((2,), MLPSpec(width=WIDTH, features=0), generator=torch.Generator().manual_seed(0))
    nn.init.normal_(mlp.head, 0, WIDTH**-0.5, generator=torch.Generator().manual_seed(1))
    return Confined(mlp, 1.0).requires_grad_(False), Plain(mlp).requires_grad_(False)


def of_perceptron(count: int) -> Works:
    """Steps of the perceptron."""
    own, plain = energies()
    found: Works = {
        "WGFlow, Langevin": (1, steps(ULA(STEP), own, count)),
        "WGFlow, MALA": (1, steps(MALA(STEP), own, count)),
        "WGFlow, no formula": (1, steps(ULA(STEP), plain, count)),
        "products": (1, products(plain, count)),
    }
    return found | peers(plain, torch.randn(count, 2))


def of_images(count: int) -> Works:
    """Steps of a convolutional energy."""
    spec = ResNetSpec(widths=(32, 64))
    net = ResNet(IMAGE, spec, generator=torch.Generator().manual_seed(0))
    energy = Confined(net, 1.0).requires_grad_(False)
    x = torch.randn(count, *IMAGE)
    chains = {"Langevin": ULA(STEP), "MALA": MALA(STEP)}
    found: Works = {
        f"WGFlow, {name}": (1, partial(next, iterate(sampler, energy, x)))
        for name, sampler in chains.items()
    }
    return found | {"convolutions": (1, convolutions(net, x))} | peers(energy, x)


def convolutions(net: nn.Module, x: Tensor) -> Work:
    """The convolutions of one gradient alone: each there and back."""
    calls: list[Callable[[], object]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor], y: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        place = (layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
        back = partial(torch.ops.aten.convolution_backward, torch.randn_like(y), inputs[0])
        calls.append(partial(layer.forward, inputs[0]))
        calls.append(partial(back, layer.weight, None, *place, (True, False, False)))

    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    net(x)
    for hook in hooks:
        hook.remove()
    return lambda: [call() for call in calls]


def peers(energy: nn.Module, x: Tensor) -> Works:
    """Those that are installed."""
    found: Works = {}
    if importlib.util.find_spec("ebm"):
        found |= ebmkit(energy, x)
    if importlib.util.find_spec("torchebm"):
        found |= torchebm(energy, x)
    return found


def ebmkit(energy: nn.Module, x: Tensor) -> Works:
    """ebmkit's samplers, whose loop freezes the parameters."""
    import ebm

    langevin, mala = ebm.LangevinDynamics(step_size=STEP), ebm.MALA(step_size=STEP)
    return {
        "ebmkit, Langevin": (INNER, lambda: langevin.sample(energy, x, steps=INNER)),
        "ebmkit, MALA": (INNER, lambda: mala.sample(energy, x, steps=INNER)),
    }


def torchebm(energy: nn.Module, x: Tensor) -> Works:
    """torchebm's Langevin dynamics; it has no MALA."""
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def forward(self, x: Tensor) -> Tensor:
            return energy(x)

    sampler = LangevinDynamics(Model(), step_size=STEP)
    return {"torchebm, Langevin": (INNER, lambda: sampler.sample(x=x, n_steps=INNER))}


def speeds(timed: Works, seconds: float) -> dict[str, Tensor]:
    """Steps per CPU second of each, (rounds,)."""
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
        own = name == f"WGFlow, {kind}"
        beside = "" if own else f"  {middle:5.2f} ({low:.2f} to {high:.2f})"
        told.append(f"{name:<20} {float(speed.median()):10.1f}{beside}")
    return told


def learning(seconds: float) -> list[str]:
    """CPU milliseconds of the parts of a learning step of a default run in the plane."""
    learner = Learner.build(configure("moons"))
    carry = learner.start()
    for _, step in zip(range(20), learner.steps(carry), strict=False):
        carry = step.carry
    found = in_turn(parts(learner, carry), seconds, clock=time.process_time)
    return [f"{name:<36} {1000 * float(t.median()):8.2f}" for name, t in found.items()]


def parts(learner: Learner, carry: Carry) -> dict[str, Work]:
    """A learning step, and what it consists of; those that learn go on from step to step."""
    energy, scheme, own = learner.energy, learner.config.scheme, learner.generator
    p, batch = carry.particles, carry.batch
    anchors = batch[:ANCHORS]
    jump = Independence(anchors, silverman(anchors))
    whole = learner.steps(carry)

    def optimised() -> None:
        loss = scheme.loss(energy, carry, generator=own)
        descend(loss.value, energy, learner.optimizer, learner.config.training.clip)

    return {
        "learning step": lambda: next(whole),
        "loss": lambda: scheme.loss(energy, carry, generator=own),
        "loss, backward and optimiser": optimised,
        "energies of the batch": lambda: values_at(energy, batch),
        "reaction": lambda: react(p, energy),
        "global move": lambda: transport(p, jump, energy, generator=own),
        "transport": lambda: transport(p, MALA(STEP), energy, generator=own),
    }


def crowd(count: int) -> tuple[float, float]:
    """CPU seconds of a MALA step of so many chains, and the peak of memory in MiB."""
    torch.set_num_threads(1)
    work = steps(MALA(STEP), perceptron(), count)
    times = in_turn({"": work}, 0.5, rounds=3, clock=time.process_time)[""]
    return float(times.min()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def population() -> list[str]:
    """A line for each number of particles."""
    told = ["particles  seconds of a step  microseconds of a particle  MiB at most"]
    for count in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(crowd, (count,))
        told.append(f"{count:9,} {seconds:18.4f} {1e6 * seconds / count:27.2f} {memory:12.0f}")
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = ("perceptron", "convolutional", "learning", "population", "reaching")
    parser.add_argument("what", nargs="*", metavar="|".join(kinds), help="everything by default")
    parser.add_argument("--chains", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a block")
    parser.add_argument("--data", nargs="+", default=reaching.SETS, help="of reaching")
    parser.add_argument("--seed", type=int, default=0, help="of reaching")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="in reaching")
    options = parser.parse_args(arguments)
    if unknown := set(options.what) - set(kinds):
        parser.error(f"what is measured must be one of {', '.join(kinds)}: got {unknown.pop()}")
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} thread, blocks of ", end="")
    print(f"{options.seconds:g} s; steps per CPU second, and WGFlow's over them")
    chains = {"perceptron": (CHAINS, of_perceptron), "convolutional": (IMAGES, of_images)}
    for kind in options.what or kinds:
        if kind in chains:
            counts, works = chains[kind]
            for count in options.chains or counts:
                print(f"\n{kind}, {count} chains")
                print(*lines(speeds(works(count), options.seconds)), sep="\n", flush=True)
        elif kind == "learning":
            print("\nCPU milliseconds", *learning(options.seconds), sep="\n", flush=True)
        elif kind == "reaching":
            torch.set_flush_denormal(True)
            print("\nCPU seconds until")
            for line in reaching.lines(options.data, options.seed, options.set):
                print(line, flush=True)
        else:
            print("", *population(), sep="\n")


if __name__ == "__main__":
    main()
