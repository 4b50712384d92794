"""Points of a class: rejection by Bayes' rule, or the gradient of the classifier along the path.

    python -m benchmarks.conditional mnist --count 40

As many points of every class of a run of images, with several guidances g of the rejection and
several pulls k along the path from noise. Told are the evaluations of the energy per point, when
all classes share their draws as far as they can; the share of points whose class another
classifier, learned of clean images, agrees with; the mean over classes of the kernel distance to
test images of the class, in the features of that classifier, with the standard error of the mean
over classes; and the Fréchet distance of all points to test images. The last row are test images.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from wgflow.data.arrays import write_points
from wgflow.metrics.classifier import NoisyClassifier
from wgflow.metrics.features import extract
from wgflow.metrics.fidelity import frechet_distance, kernel_distance
from wgflow.runs.classes import noisy_classifier_of, sample_classes
from wgflow.runs.compose import counted
from wgflow.runs.image_scores import classifier_of, sharp
from wgflow.runs.load import load
from wgflow.runs.run import Run

METHODS = {
    f"g = {g}, k = {k}": (float(g), float(k))
    for g, k in ((1, 0), (16, 0), (1, 1), (1, 4), (16, 4))
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
        """The scores of x as cells of the table."""
        count = x.shape[1]
        features = extract(self.features, x.flatten(0, 1).clamp(0, 1))
        return self._told(features, torch.arange(len(x)).repeat_interleave(count), count)

    def of_test(self, count: int) -> str:
        """Those of the first test images of each class, against the others."""
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


def row(
    name: str, run: Run, classifier: NoisyClassifier, scores: Scores, count: int, out: Path
) -> str:
    """One line of the table; the first ten of each class become a picture."""
    run, counter = counted(run)
    began, generator = time.process_time(), torch.Generator().manual_seed(0)
    labels = list(range(classifier.classes))
    g, k = METHODS[name]
    x = sample_classes(
        run,
        labels,
        count,
        classifier=classifier,
        guidance=g,
        class_guidance=k,
        generator=generator,
    ).x
    cost = f"{counter.points / x[:, :, 0, 0, 0].numel():.0f} | {time.process_time() - began:.0f}"
    file = out / f"conditional-{name.translate(str.maketrans('', '', ' ,='))}.png"
    write_points(file, x[:, :10].flatten(0, 1).numpy(), across=min(10, count))
    return f"| {name} | {cost} | {scores.of_samples(x)} |"


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
    run = load(a.run)
    classifier, scores = noisy_classifier_of(run, print), Scores(run)
    print("| method | evaluations | CPU s | right | kernel | Fréchet |\n|---|---|---|---|---|---|")
    for name in a.only:
        print(row(name, run, classifier, scores, a.count, a.out), flush=True)
    print(f"| test images | | | {scores.of_test(a.count)} |")


if __name__ == "__main__":
    main()
