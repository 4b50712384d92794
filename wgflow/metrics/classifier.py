"""Classifiers of a data set's own labels: one of its images, and one of noisy points as well.

Both are three convolutions, an average over 3 by 3 fields, so that images of every size will do,
and linear layers. On the CPU they are trained on one thread, so that a seed gives the same
network everywhere.
"""

import contextlib
import itertools
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._tensor import Points, per_point
from wgflow.data.lazy import PointSource, in_parts
from wgflow.metrics.features import check_images
from wgflow.storage import checkpoint

WIDTHS = (16, 32, 64)
FEATURES = 128
POOLED = 3
"""Side to which the last convolution is averaged."""

UPDATES, BATCH = 1500, 128

Kind = TypeVar("Kind", bound="LabelNetwork")


@dataclass(frozen=True, eq=False)
class LabelNetwork(ABC):
    """A network that finds labels, its accuracy, and the file of both. Made by `fit` or `load`.

    Args:
        network: images (n, c, h, w) to logits (n, classes); in evaluation mode.
        accuracy: share of test images whose label it finds.
    """

    kind: ClassVar[str]
    """Name of the parameters in the file."""

    network: nn.Sequential
    accuracy: float

    @staticmethod
    @abstractmethod
    def build(channels: int, classes: int) -> nn.Sequential:
        """The network, with random parameters."""

    @property
    def classes(self) -> int:
        """How many there are."""
        *_, bias = self.network.parameters()
        return len(bias)

    def tested(self: Kind, x: Points, labels: Tensor) -> Kind:
        """The same with its accuracy on test images (m, c, h, w) with labels (m,)."""
        with torch.no_grad():
            logits = torch.cat([self.network(part.float()) for part in x.split(256)])
        return replace(self, accuracy=float((logits.argmax(1) == labels).double().mean()))

    def save(self, path: Path) -> None:
        """Write it to one file of safetensors, whole or not at all."""
        checkpoint.save(path, {self.kind: self.network.state_dict(), "accuracy": self.accuracy})

    @classmethod
    def load(cls: type[Kind], path: Path) -> Kind:
        """Read what `save` wrote, bit for bit.

        Raises:
            ValueError: if the file is missing, corrupt, or of something else.
        """
        tree = checkpoint.load(path, [])
        if not isinstance(tree, dict) or set(tree) != {cls.kind, "accuracy"}:
            got = sorted(tree) if isinstance(tree, dict) else type(tree).__name__
            raise ValueError(f"{path} must hold a {cls.kind} and its accuracy: got {got}.")
        first, *_, last = tree[cls.kind].values()  # a convolution's weights, a linear layer's bias
        network = cls.build(first.shape[1], len(last))
        network.load_state_dict(tree[cls.kind])
        return cls(network.eval().requires_grad_(False), tree["accuracy"])

    @classmethod
    def trained(
        cls: type[Kind],
        points: Callable[[Tensor], Tensor],
        channels: int,
        labels: Tensor,
        *,
        updates: int,
        batch: int,
        seed: int,
    ) -> Kind:
        """Train by cross entropy: Adam, one cycle of the step size. The accuracy is NaN.

        Args:
            points: indices (batch,) to images (batch, c, h, w), which may be random.
            channels: c.
            labels: integers from 0, shape (n,); the largest sets the number of classes.
            updates: of the parameters.
            batch: images per update.
            seed: of the initial weights, of the order and of ``points``.

        Raises:
            ValueError: on less than two classes.
        """
        if not labels.any():
            raise ValueError("`labels` must have at least two classes: got 1.")
        with _one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = cls.build(channels, int(labels.max()) + 1).to(labels.device)
            optimizer = torch.optim.Adam(network.parameters())
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=updates)
            for index in itertools.islice(_batches(labels, batch), updates):
                loss = F.cross_entropy(network(points(index)), labels[index].long())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return cls(network.eval().requires_grad_(False), math.nan)


@dataclass(frozen=True, eq=False)
class Classifier(LabelNetwork):
    """Images (n, c, h, w) in [0, 1] to features (n, 128).

    The features are the last hidden layer before its ReLU, normalised by the running statistics
    of training: about mean zero and variance one each on training images, so that distances
    between features have a scale of their own, whatever the data.
    """

    kind: ClassVar[str] = "classifier"

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, 128)."""
        return self.network[0](images)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.network(images)

    @property
    def head(self) -> nn.Module:
        """Features (n, 128) to logits (n, classes)."""
        return self.network[1]

    @classmethod
    def fit(
        cls,
        images: PointSource,
        labels: Tensor,
        test_images: Tensor,
        test_labels: Tensor,
        *,
        epochs: int = 4,
        batch: int = BATCH,
        seed: int = 0,
    ) -> "Classifier":
        """Train on labelled images.

        Args:
            images: in [0, 1], shape (n, c, h, w).
            labels: integers from 0, shape (n,); the largest sets the number of classes.
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
        check_positive(epochs=epochs)
        if not 2 <= batch <= len(images):
            raise ValueError(f"`batch` must be 2 to {len(images)}: got {batch}.")
        updates = epochs * (len(images) // batch)
        options = {"updates": updates, "batch": batch, "seed": seed}
        found = cls.trained(lambda index: images[index], images.shape[1], labels, **options)
        return found.tested(test_images, test_labels)

    @staticmethod
    def build(channels: int, classes: int) -> nn.Sequential:
        """A body, from images to features, and a head, from features to logits."""
        layers = _convolutions(channels, 1, lambda: [nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)])
        layers += [nn.Linear(POOLED**2 * WIDTHS[-1], FEATURES, bias=False)]
        body = nn.Sequential(*layers, nn.BatchNorm1d(FEATURES, affine=False))
        head = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, classes))
        return nn.Sequential(OrderedDict(body=body, head=head))


@dataclass(frozen=True, eq=False)
class NoisyClassifier(LabelNetwork):
    """``log p(c | x_t)`` of standardised images and of their paths from noise.

    It is smooth (strided convolutions with SiLU, no maxima), so that its gradient serves. It is
    not conditioned on t: in many dimensions a point shows how much noise it has.
    """

    kind: ClassVar[str] = "labeller"

    def __call__(self, x: Points) -> Tensor:
        """``log p(c|x)``, (batch, classes)."""
        return self.network(x.float()).log_softmax(1).to(x.dtype)

    @classmethod
    def fit(
        cls,
        x: PointSource,
        labels: Tensor,
        *,
        noise: float = 1.0,
        smoothing: float = 0.0,
        updates: int = UPDATES,
        seed: int = 0,
    ) -> "NoisyClassifier":
        """Learn ``log p(c | x_t)`` by cross entropy on ``x_t = (1-t) s ξ + t (x + σ ξ')``.

        Times are ``t = min(1, 2u)`` with u uniform, those of a path that settles at the data for
        as long as it took to come. Noise is independent of the data. Its accuracy is NaN until
        `tested`.

        Args:
            x: standardised images, (n, c, h, w).
            labels: integers from 0, (n,); the largest sets the number of classes.
            noise: s, the deviation of the points at t = 0.
            smoothing: σ, the deviation of the noise in the data.
            updates: of the parameters, by 128 images each.
            seed: of everything random.

        Raises:
            ValueError: unless points are images, and of at least two classes.
        """
        if x.ndim != 4:
            raise ValueError(
                f"`x` must be images (n, channels, height, width): got shape {tuple(x.shape)}."
            )

        def points(index: Tensor) -> Tensor:
            images = x[index].float()
            ends = images + smoothing * torch.randn_like(images)
            t = per_point((2 * torch.rand(len(ends))).clamp(max=1), ends)
            return (noise * torch.randn_like(ends)).lerp(ends, t)

        options = {"updates": updates, "batch": min(BATCH, len(labels)), "seed": seed}
        return cls.trained(points, x.shape[1], labels, **options)

    @staticmethod
    def build(channels: int, classes: int) -> nn.Sequential:
        """Images to logits."""
        layers = _convolutions(channels, 2, lambda: [nn.SiLU()])
        return nn.Sequential(*layers, nn.Linear(POOLED**2 * WIDTHS[-1], classes))


def _convolutions(
    channels: int, stride: int, after: Callable[[], list[nn.Module]]
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise((channels, *WIDTHS)):
        convolution = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(fan_out), *after()]
    return [*layers, nn.AdaptiveAvgPool2d(POOLED), nn.Flatten()]


def _batches(labels: Tensor, batch: int) -> Iterator[Tensor]:
    """Indices, each epoch a permutation; what does not fill its last batch is left out."""
    size = len(labels)
    while True:
        yield from torch.randperm(size)[: size // batch * batch].to(labels.device).split(batch)


def _check_labels(images: PointSource, labels: Tensor) -> None:
    integral = not (labels.is_floating_point() or labels.is_complex())
    if labels.shape != (len(images),) or not integral or int(labels.min()) < 0:
        raise ValueError(
            f"`labels` must be integers ≥ 0 of shape ({len(images)},): got {tuple(labels.shape)} "
            f"of {labels.dtype}, at least {labels.min().item()}."
        )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of the CPU: the same sums in the same order everywhere, and no waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
