"""Points of a class: rejection by Bayes' rule, or the gradient of the classifier along the path.

    python -m benchmarks.conditional mnist --count 40

As many points of every class of a run of images, in two ways: by `draw_classes`, with several
guidances; and by following ``E - g log p(c|x)`` from noise, with a constant g and with the
``k s²(1-t)/(εt)`` that is exact, with k = 1, for independent paths. Told are the evaluations of
the energy per point; the share of points whose class another classifier, learned of clean images,
agrees with; the mean over classes of the kernel distance to as many as there are test images of
the class, in the features of that classifier, with the standard error of the mean over classes;
and the Fréchet distance of all points to test images. The last row are test images.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from wgflow import zoo
from wgflow.chains import from_units, precision
from wgflow.composition import Counted, counted
from wgflow.conditioning import Conditional
from wgflow.evaluation import classifier_of, sharp
from wgflow.features import extract
from wgflow.fidelity import frechet_distance, kernel_distance
from wgflow.labelling import Labeller, draw_classes, labeller_of
from wgflow.output import write_images
from wgflow.run import Run, load
from wgflow.sampling import follow
from wgflow.schemes import matching

TIME, STEPS = 2.0, 80

Draw = Callable[[Run, Labeller, int], Tensor]
"""A run, its labeller and a number to so many points of each class, (classes, count, *event)."""


def rejected(guidance: float) -> Draw:
    def draw(run, labeller, count):
        labels, generator = list(range(labeller.classes)), torch.Generator().manual_seed(0)
        options = {"guidance": guidance, "generator": generator}
        return draw_classes(run, labels, count, labeller=labeller, **options).x

    return draw


def guided(strength: Callable[[float], float]) -> Draw:
    """By the gradient: ``strength`` is ``εg`` at a time of the path."""

    def draw(run, labeller, count):
        paths, h = matching(run.config.scheme), TIME / STEPS
        assert paths is not None
        epsilon, s = paths.temperature, paths.noise
        generator, rows = torch.Generator().manual_seed(0), []
        for label in range(labeller.classes):
            x = s * torch.randn(count, *run.event_shape, generator=generator)
            for k in range(STEPS):
                g = strength((k + 0.5) * h) / epsilon
                energy = run.energy.energy
                law = Conditional(energy, labeller, label, g) if g > 0 else energy
                with precision(run, "ula"):
                    x = follow(law, x, temperature=epsilon, time=h, steps=1)
            rows.append(from_units(run, x))
        return torch.stack(rows)

    return draw


def paths(k: float) -> Callable[[float], float]:
    """``k s²(1-t)/t`` of noise with s = 1, nothing after the end of the path."""
    return lambda t: k * max(0.0, (1 - t) / t)


METHODS: dict[str, Draw] = {
    "rejection, g = 1": rejected(1.0),
    "rejection, g = 4": rejected(4.0),
    "rejection, g = 16": rejected(16.0),
    "gradient, εg = 1": guided(lambda t: 1.0),
    "gradient, εg = 4": guided(lambda t: 4.0),
    "gradient, k = 1": guided(paths(1.0)),
    "gradient, k = 4": guided(paths(4.0)),
    "gradient, k = 16": guided(paths(16.0)),
}


class Scores:
    """Scores of images by class, (classes, count, *event), against the test images."""

    def __init__(self, run: Run):
        self.data = sharp(run)
        self.features = classifier_of(self.data)
        order = torch.randperm(len(self.data.test), generator=torch.Generator().manual_seed(1))
        assert self.data.test_labels is not None
        self.real = extract(self.features, self.data.test[order].clamp(0, 1))
        self.labels = self.data.test_labels[order]

    def of_samples(self, x: Tensor) -> str:
        count = x.shape[1]
        features = extract(self.features, x.flatten(0, 1).clamp(0, 1))
        return self._told(features, torch.arange(len(x)).repeat_interleave(count), count)

    def of_test(self, count: int) -> str:
        classes = int(self.labels.max()) + 1
        first = [(self.labels == c).nonzero().squeeze(1)[:count] for c in range(classes)]
        index = torch.cat(first)
        return self._told(self.real[index], self.labels[index], count)

    def _told(self, x: Tensor, labels: Tensor, skip: int) -> str:
        right = float((self.features.head(x).argmax(1) == labels).double().mean())
        rest = {int(c): self.real[self.labels == c][skip:] for c in labels.unique()}
        distances = torch.stack(
            [kernel_distance(x[labels == c], y).value for c, y in rest.items()]
        )
        error = float(distances.std()) / len(distances) ** 0.5
        frechet = float(frechet_distance(x, torch.cat(list(rest.values()))))
        return f"{right:.3f} | {float(distances.mean()):.2f} ± {error:.2f} | {frechet:.1f}"


def row(name: str, run: Run, labeller: Labeller, scores: Scores, count: int, out: Path) -> str:
    run, counter = counted(run)
    began = time.process_time()
    x = METHODS[name](run, labeller, count)
    cost = f"{_evaluations(counter, x):.0f} | {time.process_time() - began:.0f}"
    file = out / f"conditional-{name.translate(str.maketrans('', '', ' ,=')).lower()}.png"
    write_images(file, x[:, :10].flatten(0, 1).numpy(), across=min(10, count))
    return f"| {name} | {cost} | {scores.of_samples(x)} |"


def _evaluations(counter: Counted, x: Tensor) -> float:
    return counter.points / (x.shape[0] * x.shape[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", help="a run folder, or the name of a pretrained energy")
    parser.add_argument("--count", type=int, default=40, help="of each class; 13 at least")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the pictures")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    run = load(zoo.pretrained(a.run) if a.run in zoo.names() else a.run)
    labeller, scores = labeller_of(run, print), Scores(run)
    print("| method | evaluations | CPU s | right | kernel | Fréchet |\n|---|---|---|---|---|---|")
    for name in a.only:
        print(row(name, run, labeller, scores, a.count, a.out), flush=True)
    print(f"| test images | | | {scores.of_test(a.count)} |")


if __name__ == "__main__":
    main()
