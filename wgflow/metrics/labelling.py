"""A classifier of images that knows them on their whole way from noise, and is smooth."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wgflow._tensor import Points, per_point
from wgflow.data.lazy import PointSource
from wgflow.metrics.classifier import one_thread
from wgflow.storage import checkpoint

WIDTHS = (16, 32, 64)
POOLED = 3
"""Side to which the last convolution is averaged, so that images of every size will do."""

UPDATES, BATCH = 1500, 128


@dataclass(frozen=True, eq=False)
class Labeller:
    """``log p(c | x_t)`` of images and of their paths from noise; smooth, so a gradient serves.

    Three strided convolutions with SiLU, no maxima, an average and a linear layer. It is not told
    t: in many dimensions a point shows how much noise it has. Made by `fit` or `load`.

    Args:
        network: standardised images (n, c, h, w) to logits (n, classes); in evaluation mode.
        classes: how many.
        accuracy: share of test images whose label it finds.
    """

    network: nn.Sequential
    classes: int
    accuracy: float

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
    ) -> "Labeller":
        """Learn ``log p(c | x_t)`` by cross entropy on ``x_t = (1-t) s ξ + t (x + σ ξ')``.

        Times are ``t = min(1, 2u)`` with u uniform, those of a path that settles at the data for
        as long as it took to come. Noise is independent of the data. Its accuracy is NaN until
        `tested`.

        Args:
            x: standardised images, (n, c, h, w).
            labels: integers from 0, (n,); the largest tells the number of classes.
            noise: s, the deviation at which paths begin.
            smoothing: σ, the deviation of the noise in the data.
            updates: of Adam, of 128 images each, in one cycle of the step size.
            seed: of everything random.

        Raises:
            ValueError: unless points are images, and of at least two classes.
        """
        classes = int(labels.max()) + 1
        if x.ndim != 4 or classes < 2:
            raise ValueError(
                "Labels are learned of images of two classes or more: expected points of shape "
                f"(channels, height, width), got {tuple(x.shape[1:])} of {classes} classes."
            )
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _layers(x.shape[1], classes)
            _train(network, x, labels, noise, smoothing, updates)
        return cls(_frozen(network), classes, float("nan"))

    def tested(self, x: Points, labels: Tensor) -> "Labeller":
        """The same with its accuracy on standardised test images (m, c, h, w), labels (m,)."""
        found = torch.cat([self(part).argmax(1) for part in x.split(256)])
        accuracy = float((found == labels).double().mean())
        return Labeller(self.network, self.classes, accuracy)

    def save(self, path: Path) -> None:
        """Write it to one file of safetensors, whole or not at all."""
        state = self.network.state_dict()
        checkpoint.save(path, {"labeller": state, "accuracy": self.accuracy})

    @classmethod
    def load(cls, path: Path) -> "Labeller":
        """Read what `save` wrote, bit for bit.

        Raises:
            ValueError: if the file is missing, corrupt, or not of a labeller.
        """
        tree = checkpoint.load_model(path, "labeller")
        state = tree["labeller"]
        first, *_, last = state.values()  # a convolution's weights, a linear layer's bias
        classes = len(last)
        network = _layers(first.shape[1], classes)
        network.load_state_dict(state)
        return cls(_frozen(network), classes, tree["accuracy"])


def _layers(channels: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise((channels, *WIDTHS)):
        convolution = nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(fan_out), nn.SiLU()]
    layers += [nn.AdaptiveAvgPool2d(POOLED), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(POOLED**2 * WIDTHS[-1], classes))


def _train(
    network: nn.Sequential,
    x: PointSource,
    labels: Tensor,
    noise: float,
    smoothing: float,
    updates: int,
) -> None:
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=updates)
    chosen = itertools.chain.from_iterable(_epoch(len(x)) for _ in itertools.count())
    for index in itertools.islice(chosen, updates):
        images = x[index].float()
        ends = images + smoothing * torch.randn_like(images)
        t = per_point((2 * torch.rand(len(ends))).clamp(max=1), ends)
        points = (noise * torch.randn_like(ends)).lerp(ends, t)
        loss = F.cross_entropy(network(points), labels[index].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _epoch(size: int) -> tuple[Tensor, ...]:
    """A permutation in batches; what does not fill the last one is left out."""
    batch = min(BATCH, size)
    return torch.randperm(size)[: size // batch * batch].split(batch)


def _frozen(network: nn.Sequential) -> nn.Sequential:
    return network.eval().requires_grad_(False)
