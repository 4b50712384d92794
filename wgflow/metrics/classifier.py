"""A small classifier of a data set's own labels, whose last hidden layer serves as features."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wgflow.data.lazy import PointSource, in_parts
from wgflow.metrics.features import check_images, extract
from wgflow.storage import checkpoint

WIDTHS = (16, 32, 64)
FEATURES = 128


@dataclass(frozen=True, eq=False)
class Classifier:
    """Three convolutions and a hidden layer: images (n, c, h, w) in [0, 1] to features (n, 128).

    The features are the last hidden layer before its ReLU, normalised by the running statistics
    of training: about mean zero and variance one each on training images, so that distances
    between features have a scale of their own, whatever the data. Made by `fit` or `load`.

    Args:
        body: images to features; in evaluation mode.
        head: features to the logits of the classes.
        accuracy: share of test images whose label it finds.
    """

    body: nn.Sequential
    head: nn.Sequential
    accuracy: float

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, 128)."""
        return self.body(images)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.head(self.body(images))

    @classmethod
    def fit(
        cls,
        images: PointSource,
        labels: Tensor,
        test_images: Tensor,
        test_labels: Tensor,
        *,
        epochs: int = 4,
        batch: int = 128,
        seed: int = 0,
    ) -> "Classifier":
        """Train on labelled images: Adam, one cycle of the step size, cross entropy.

        On the CPU it takes one thread, so that a seed gives the same network everywhere.

        Args:
            images: in [0, 1], shape (n, c, h, w).
            labels: integers from 0, shape (n,); the largest tells the number of classes.
            test_images: in [0, 1], shape (m, c, h, w).
            test_labels: shape (m,).
            epochs: passes over the training images.
            batch: images per update.
            seed: of the initial weights and of the order.

        Raises:
            ValueError: on images outside [0, 1] or of another shape, labels that do not match
                them, less than two classes, fewer images than a batch, or no epoch.
        """
        for side, names in ((images, labels), (test_images, test_labels)):
            for part in in_parts(side):
                check_images(part)
            _check_labels(side, names)
        if epochs < 1 or not 2 <= batch <= len(images):
            raise ValueError(
                f"Training needs an epoch and a batch: expected epochs >= 1 and a batch of 2 to "
                f"{len(images)}, got {epochs} and {batch}."
            )
        classes = int(labels.max()) + 1
        if classes < 2:
            raise ValueError(f"A classifier needs classes: expected at least 2, got {classes}.")
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            body, head = (part.to(labels.device) for part in _layers(images.shape[1], classes))
            _train(nn.Sequential(body, head), images, labels, epochs, batch)
        found = extract(nn.Sequential(body, head), test_images).argmax(1)
        return cls(body, head, float((found == test_labels).double().mean()))

    def save(self, path: Path) -> None:
        """Write it to one file of safetensors, whole or not at all."""
        network = nn.ModuleDict({"body": self.body, "head": self.head})
        checkpoint.save(path, {"classifier": network.state_dict(), "accuracy": self.accuracy})

    @classmethod
    def load(cls, path: Path) -> "Classifier":
        """Read what `save` wrote, bit for bit.

        Raises:
            ValueError: if the file is missing, corrupt, or not of a classifier.
        """
        tree = checkpoint.load_model(path, "classifier")
        state = tree["classifier"]
        channels, classes = state["body.0.weight"].shape[1], len(state["head.1.bias"])
        body, head = _layers(channels, classes)
        nn.ModuleDict({"body": body, "head": head}).load_state_dict(state)
        return cls(_frozen(body), _frozen(head), tree["accuracy"])


def _layers(channels: int, classes: int) -> tuple[nn.Sequential, nn.Sequential]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise((channels, *WIDTHS)):
        convolution = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
        pool = nn.MaxPool2d(2, ceil_mode=True)
        layers += [convolution, nn.BatchNorm2d(fan_out), nn.ReLU(), pool]
    # Pooled to 3 by 3, so that one network serves images of every size.
    layers += [nn.AdaptiveAvgPool2d(3), nn.Flatten()]
    layers += [nn.Linear(9 * WIDTHS[-1], FEATURES, bias=False)]
    layers += [nn.BatchNorm1d(FEATURES, affine=False)]
    return nn.Sequential(*layers), nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, classes))


def _train(
    network: nn.Sequential, images: PointSource, labels: Tensor, epochs: int, batch: int
) -> None:
    updates = len(images) // batch
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=epochs * updates)
    for _ in range(epochs):
        order = torch.randperm(len(images)).to(labels.device)
        for chosen in order[: updates * batch].split(batch):
            loss = F.cross_entropy(network(images[chosen]), labels[chosen].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval().requires_grad_(False)


def _frozen(module: nn.Sequential) -> nn.Sequential:
    return module.eval().requires_grad_(False)


def _check_labels(images: PointSource, labels: Tensor) -> None:
    integral = not (labels.is_floating_point() or labels.is_complex())
    if labels.shape != (len(images),) or not integral or int(labels.min()) < 0:
        raise ValueError(
            f"Labels are integers from 0, one per image: expected shape ({len(images)},), "
            f"got {tuple(labels.shape)} of {labels.dtype}, at least {labels.min().item()}."
        )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread of the CPU: the same sums in the same order everywhere, and no waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
