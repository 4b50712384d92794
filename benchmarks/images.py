"""Images from one scalar energy: WGFlow, energy matching and a peer, with the same CPU seconds.

    python -m benchmarks.images --minutes 60                      # MNIST and Fashion-MNIST
    python -m benchmarks.images --minutes 15 --data mnist --only wgflow "energy matching"

Each competitor trains for the given CPU minutes on one thread, at its own settings, then draws
samples from noise. Scores are Fréchet and kernel distances to test images in the features of a
classifier trained on the labels of the data set, beside their floors, what as many other real
images score. Evaluations are gradients of the energy per sample; where samples follow a path they
are drawn with fewer too. Finished rows are appended to a JSON-lines file and not repeated; grids
of samples are written beside it, and a run in whose folder there is one goes on.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.rows import measured, table
from wgflow.config import Config, Data, Training
from wgflow.data.arrays import write_points
from wgflow.data.dataset import Dataset, load as load_data
from wgflow.energies.noise_unet import NoisyUNetSpec
from wgflow.energies.unet import UNetSpec
from wgflow.metrics.fidelity import fidelity
from wgflow.runs.fit import fit, resume
from wgflow.runs.image_scores import classifier_of
from wgflow.runs.run import Run
from wgflow.schemes import DualScoreMatching, EnergyMatching, Scheme
from wgflow.storage import folder
from wgflow.training.learner import Learner

SETS = ("mnist", "fashion-mnist")
MATCHING = EnergyMatching()
TRAINING = Training(
    batch_size=64,
    optimizer="muon",
    learning_rate=2e-3,
    betas=(0.9, 0.95),
    warmup=100,
    average=0.999,
    clip=500.0,
)
DENSITY = DualScoreMatching()
FINE = replace(TRAINING, learning_rate=1e-3)
"""Of the density, which begins with what the transport has learned."""

ADAMW = replace(TRAINING, optimizer="adamw", batch_size=32)
"""The batches that serve AdamW best, at the rate that does."""

NETWORK = UNetSpec(blocks=2, head="distance", attention=True)
NOISY = NoisyUNetSpec()
PLAIN = replace(NETWORK, head="dot")
SHALLOW = UNetSpec(head="dot")

EVALUATIONS, LEVELED = (40, 20), (21, 13)
"""Of paths, and down levels of noise: two for each step, and one for the mean at the end."""

SHARE = 0.2
"""Of the time that transport has."""

TRIAL = 10
"""Learning steps that are timed, after as many that are not, to know how many can be had."""


class Trained(NamedTuple):
    """What a competitor learned.

    Attributes:
        sample: (count, seed, evaluations) to images in [0, 1].
        evaluations: gradients of the energy per sample, its own number first.
        seconds: CPU seconds of learning.
        steps: learning steps.
        before: what it had after its first phase, if it has two.
    """

    sample: Callable[[int, int, int], Tensor]
    evaluations: tuple[int, ...]
    seconds: float
    steps: int
    before: "Trained | None" = None


def config(
    data: str,
    seed: int,
    scheme: Scheme[Any],
    training: Training = TRAINING,
    energy: UNetSpec | NoisyUNetSpec = NETWORK,
) -> Config:
    """The image settings: those of the recipes images and images-density."""
    smoothing = energy.lowest if isinstance(energy, NoisyUNetSpec) else 0.0
    return Config(
        seed=seed,
        dtype="auto",
        data=Data(data, smoothing=smoothing),
        energy=energy,
        scheme=scheme,
        training=training,
    )


def learn(settings: Config, seconds: float, out: Path) -> Run:
    """A run of about so many CPU seconds, the whole schedule in them, or the one that is there."""
    if out.exists():
        return resume(out)
    start = time.process_time()
    learner = Learner.build(settings)
    steps = learner.steps(learner.start())
    for _ in range(TRIAL):  # the first are slower
        next(steps)
    begun = time.process_time()
    for _ in range(TRIAL):
        next(steps)
    each = (time.process_time() - begun) / TRIAL
    count = max(1, int((seconds - (begun - start)) / each))
    every = math.ceil(count / 5)
    training = replace(
        settings.training, steps=count, evaluate_every=every, checkpoint_every=every
    )

    def tell(step: int, metrics: dict[str, float]) -> None:
        if step % 100 == 0:
            shown = {k: round(float(v), 3) for k, v in metrics.items()}
            print(f"  step {step}/{count} {shown}", flush=True)

    return fit(replace(settings, training=training), out, listener=tell)


def cost(run: Run) -> float:
    """CPU seconds of a run, over all its sittings."""
    return folder.read_json(run.path / folder.ENVIRONMENT)["cpu_seconds"]


def drawer(run: Run, time: float | None = None) -> Callable[[int, int, int], Tensor]:
    """Samples from noise, in [0, 1]: for so long along the energy, or down its levels."""

    def sample(count: int, seed: int, evaluations: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        path: dict[str, Any] = {"steps": evaluations, "time": time}
        if time is None:
            path = {"steps": evaluations // 2}
        return run.sample(count, start="noise", generator=generator, **path).clamp(0, 1)

    return sample


def wgflow(data: str, seed: int, seconds: float, out: Path) -> Trained:
    """Transport to wells at the data, then the density, by dual score matching."""
    first = learn(config(data, seed, MATCHING), SHARE * seconds, out / "transport")
    second = config(data, seed, DENSITY, FINE, NOISY)
    left = seconds - cost(first)
    run = learn(replace(second, init=str(first.path)), left, out / "density")
    before = Trained(drawer(first, 2.0), EVALUATIONS, cost(first), first.steps)
    spent, steps = cost(first) + cost(run), first.steps + run.steps
    return Trained(drawer(run), LEVELED, spent, steps, before)


def published(
    data: str,
    seed: int,
    seconds: float,
    out: Path,
    training: Training = ADAMW,
    energy: UNetSpec = SHALLOW,
) -> Trained:
    """Energy matching as published, transport without wells: dot-product head, cutoff one.

    By AdamW, with the batches and the rate that serve it best, on WGFlow's trunk without the
    second block and the attention: with them AdamW diverges at that rate. Without wells the path
    goes on past the data: a little past one it is crispest.
    """
    settings = config(data, seed, replace(MATCHING, cutoff=1.0), training, energy)
    run = learn(settings, seconds, out)
    return Trained(drawer(run, 1.2), EVALUATIONS, cost(run), run.steps)


def ebmkit(data: str, seed: int, seconds: float, out: Path) -> Trained:
    """Persistent contrastive divergence of ebmkit 0.16.0: examples/train_mnist.py.

    A convolutional energy (32, 64, 128), 60 steps of a large, cold, clipped Langevin chain on a
    buffer of 10,000, 5 % of it new; energy regularisation 1, Adam at 1e-4, weights averaged with
    decay .999, batches of 128; samples by 300 such steps from uniform noise. All the library's.
    """
    import ebm

    torch.manual_seed(seed)
    x = 2 * load_data(data).train[:] - 1

    def uniform(shape):
        return torch.rand(shape) * 2 - 1

    sampler = ebm.LangevinDynamics(
        step_size=10.0, noise_scale=0.005, grad_clip=0.01, steps=60, clamp=(-1, 1)
    )
    buffer = ebm.ReplayBuffer(10_000, (1, 28, 28), reinit_prob=0.05, init_fn=uniform)
    loss = ebm.ContrastiveDivergence(sampler, buffer=buffer, energy_reg=1.0)
    energy = ebm.nets.ConvEnergy(in_channels=1, channels=(32, 64, 128))
    trainer = ebm.Trainer(energy, loss, lr=1e-4, ema_decay=0.999, device="cpu")
    start, steps = time.process_time(), 0
    while time.process_time() - start < seconds and steps < 8000:  # its own number of steps
        trainer.fit(x, steps=20, batch_size=128, verbose=False)
        steps += 20
    spent = time.process_time() - start
    model = trainer.ema.module.eval()

    def sample(count: int, number: int, evaluations: int) -> Tensor:
        torch.manual_seed(number)
        parts = uniform((count, 1, 28, 28)).split(256)
        drawn = [sampler.sample(model, part, steps=evaluations) for part in parts]
        return ((torch.cat(drawn) + 1) / 2).clamp(0, 1).detach()

    return Trained(sample, (300,), spent, steps)


COMPETITORS: dict[str, Callable[[str, int, float, Path], Trained]] = {
    "wgflow": wgflow,
    "energy matching": published,
    "energy matching, Muon": partial(published, training=TRAINING, energy=PLAIN),
    "ebmkit PCD": ebmkit,
}


def measure(name: str, data: str, seed: int, minutes: float, count: int, out: Path) -> Any:
    """Train, draw, score one competitor: the rest of its row."""
    stem = f"{data}-{name.replace(' ', '-')}-{minutes:g}-{seed}"
    trained = COMPETITORS[name](data, seed, 60 * minutes, out / stem)
    x = trained.sample(100, 1000 + seed, trained.evaluations[0])
    write_points(out / f"{stem}.png", x.numpy())
    return scored(trained, load_data(data), seed, count)


def scored(trained: Trained, dataset: Dataset, seed: int, count: int) -> dict[str, Any]:
    """Scores at each number of evaluations, the first of them in full."""
    classifier = classifier_of(dataset)
    found = [
        fidelity(
            trained.sample(count, 1000 + seed, evaluations), dataset.test, classifier, seed=seed
        )
        for evaluations in trained.evaluations
    ]
    frechets = {
        str(n): each["frechet"] for n, each in zip(trained.evaluations, found, strict=True)
    }
    before = trained.before and scored(trained.before, dataset, seed, count)
    return {
        "samples": count,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "evaluations": trained.evaluations[0],
        "frechet_by_evaluations": frechets,
        "before": before,
        **found[0],
    }


COLUMNS = (
    *("competitor", "data", "CPU min", "steps", "evaluations", "Fréchet (floor)"),
    *("kernel ± error (floor)", "precision", "recall", "coverage", "with fewer evaluations"),
)


def lines(rows: list[dict[str, Any]]) -> Iterator[list[object]]:
    """What the table shows of rows, and of their first phases."""
    for r in rows:
        if r.get("before"):
            yield line(r["before"] | {"name": f"{r['name']}, first phase", "data": r["data"]})
        yield line(r)


def line(r: dict[str, Any]) -> list[object]:
    """What the table shows of a row."""
    frechet = f"{r['frechet']:.1f} ({r['frechet_floor']:.1f})"
    kernel = f"{r['kernel']:.3f} ± {r['kernel_error']:.3f} ({r['kernel_floor']:.3f})"
    overlap = [f"{r[name]:.2f}" for name in ("precision", "recall", "coverage")]
    cost = [f"{r['seconds'] / 60:.0f}", r["steps"], r["evaluations"]]
    fewer = [f"{n}: {x:.1f}" for n, x in list(r.get("frechet_by_evaluations", {}).items())[1:]]
    return [r["name"], r["data"], *cost, frechet, kernel, *overlap, ", ".join(fewer)]


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=list(COMPETITORS), help="competitors by name")
    parser.add_argument("--data", nargs="*", default=list(SETS))
    parser.add_argument("--minutes", type=float, default=60, help="CPU minutes of training")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/images.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("runs/images"), help="sample grids")
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    a.out.mkdir(parents=True, exist_ok=True)
    cases = (
        {"name": name, "data": data, "seed": a.seed, "minutes": a.minutes}
        for data in a.data
        for name in a.only
    )
    found = measured(a.rows, cases, partial(measure, count=a.samples, out=a.out))
    print(table(COLUMNS, lines(found)))


if __name__ == "__main__":
    main()
