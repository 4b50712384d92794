"""Halves of images filled in: levels of noise that are visited once, and often.

    python -m benchmarks.inpainting mnist --count 192

The energy of levels of noise of a run fills a half of as many test images, once each, by as many
gradients every time: more levels, or more visits of each. Told are the share of images whose
class a classifier, learned of clean images, recognises; the Fréchet and kernel distances of the
images to all test images in its features; and precision and density, of single images. The last
row are the images as they were.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.rows import line, table
from wgflow.data.arrays import write_points
from wgflow.flows import HeatFlow
from wgflow.metrics.fidelity import fidelity
from wgflow.runs.image_scores import classifier_of, sharp
from wgflow.runs.load import load
from wgflow.runs.run import Run
from wgflow.tasks.inpaint import SIDES, side

GRADIENTS = 80
VISITS = (1, 4, 8, 16)
COLUMNS = (
    "levels × visits",
    "CPU s",
    "right",
    "Fréchet",
    "kernel ± error",
    "precision",
    "density",
)


def filled(run: Run, x: Tensor, mask: Tensor, steps: int, visits: int) -> Tensor:
    """Images whose masked pixels are drawn given the others, without noise."""
    flow, known = run.flow, run.standardise(x)
    assert isinstance(flow, HeatFlow)
    generator = torch.Generator().manual_seed(0)
    y = flow.bridge(known, mask, steps=steps * visits, visits=visits, generator=generator)
    clean = flow.denoise(y, torch.tensor(flow.levels.lowest))
    assert clean is not None
    return run.unstandardise(torch.where(mask, clean, known)).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", help="a run folder, or the name of a pretrained energy")
    parser.add_argument("--count", type=int, default=192, help="test images, 129 at least")
    parser.add_argument("--mask", default="right", choices=SIDES)
    parser.add_argument("--visits", type=int, nargs="*", default=list(VISITS))
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the pictures")
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    a.out.mkdir(parents=True, exist_ok=True)
    run = load(a.run)
    data = sharp(run)
    classifier, mask = classifier_of(data), side(a.mask, run.event_shape)
    assert data.test_labels is not None
    x, labels = data.test[: a.count], data.test_labels[: a.count]

    def tell(name: str, images: Tensor, seconds: float) -> None:
        right = float((classifier.logits(images).argmax(1) == labels).double().mean())
        s = fidelity(images, data.test, classifier)
        kernel = f"{s['kernel']:.3f} ± {s['kernel_error']:.3f}"
        scores = (f"{s['frechet']:.2f}", kernel, f"{s['precision']:.2f}", f"{s['density']:.2f}")
        print(line((name, f"{seconds:.0f}", f"{right:.3f}", *scores)), flush=True)

    print(table(COLUMNS, []))
    for visits in a.visits:
        start, steps = time.process_time(), max(1, GRADIENTS // visits)
        images = filled(run, x, mask, steps, visits)
        tell(f"{steps} × {visits}", images, time.process_time() - start)
        write_points(a.out / f"inpainted-{visits}.png", images[:64].numpy())
    tell("test images", x, 0.0)


if __name__ == "__main__":
    main()
