"""Neural energies of points."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from wgflow._check import check_choice, check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values, rows, shaped
from wgflow.data.moments import DataMoments
from wgflow.energies.frequency import USUAL, frequency_of
from wgflow.energies.gradient import WithGradient, chain, in_blocks
from wgflow.energies.network import ConfinedNetwork

ACTIVATIONS = {"silu": nn.SiLU, "gelu": nn.GELU, "softplus": nn.Softplus, "tanh": nn.Tanh}


@dataclass(frozen=True)
class MLPSpec(ConfinedNetwork):
    """An `MLP`, confined by the covariance C and the extent of the standardised data.

    With ``s = 1 + √(2/d)`` the confinement is wider than a Gaussian of that covariance by 0.6
    (d = 2) to 2 nats of relative entropy, so the start does not move away from the data as the
    dimension d grows.

    Args:
        confinement, confined: see `ConfinedNetwork`.
        width: units per hidden layer.
        depth: number of hidden layers.
        features: number of frequencies (columns of B); 0 for a plain perceptron.
        frequency: σ, in radians, of a phase on standardised data; None for what the number of
            points can show, see `wgflow.energies.frequency`.
        activation: one of silu, gelu, softplus, tanh.

    Raises:
        ValueError: when a setting is out of its range.
    """

    needs_moments: ClassVar[bool] = True
    needs_extent: ClassVar[bool] = True

    width: int = 128
    depth: int = 2
    features: int = 64
    frequency: float | None = None
    activation: str = "silu"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(width=self.width, depth=self.depth)
        if self.frequency is not None:
            check_positive(frequency=self.frequency)
        check_nonnegative(features=self.features)
        check_choice("activation", self.activation, ACTIVATIONS)

    def weights(self, dim: int) -> int:
        """Of all layers."""
        fan_in = dim + 2 * self.features + (self.depth - 1) * self.width
        return dim * self.features + (fan_in + self.depth + 1) * self.width

    def kept(self, dim: int) -> int:
        """Features, and each layer before and after its activation."""
        return dim + 3 * self.features + 2 * self.depth * self.width

    def build(
        self, moments: DataMoments, *, mixed: bool = False, generator: Rng = None
    ) -> nn.Module:
        """``E(u)`` and its confinement."""
        spec = replace(self, frequency=frequency_of(self.frequency, moments))
        return self.confine(MLP(moments.event_shape, spec, generator=generator), moments)


class MLP(WithGradient, nn.Module):
    """Multilayer perceptron on learned Fourier features, ``E(x) = aᵀ φ_L(… φ_1(f(x)))``.

    The features are ``f(x) = (x, cos Bᵀx, sin Bᵀx)`` with ``B_ij ~ N(0, σ²/d)``, trained too: on
    standardised data a phase has deviation σ whatever the dimension d. A plain perceptron learns
    low frequencies first and needs thousands of updates to learn narrow modes; features of
    frequency σ represent them at once (Tancik et al. 2020). The activation must be smooth, since
    samplers and schemes use ``∇E`` and its derivatives. The last layer is zero at first: the first
    energy is the confinement alone, whose distribution is known and sampled exactly.

    Args:
        event_shape: shape of one point; it is flattened.
        spec: its sizes; the confinement is not part of this module.
        generator: source of the initial weights.
    """

    def __init__(
        self, event_shape: tuple[int, ...], spec: MLPSpec | None = None, *, generator: Rng = None
    ) -> None:
        super().__init__()
        spec = spec or MLPSpec()
        dim, features = math.prod(event_shape), spec.features
        spread = (spec.frequency or USUAL) / math.sqrt(dim)
        self.frequencies = nn.Parameter(spread * torch.randn(dim, features, generator=generator))
        sizes = [dim + 2 * features, *[spec.width] * spec.depth]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [_linear(fan_in, fan_out, generator), ACTIVATIONS[spec.activation]()]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Parameter(torch.zeros(spec.width))

    def forward(self, x: Points) -> Values:
        """``E(x)``."""
        x = x.flatten(1)
        phase = x @ self.frequencies
        return self.hidden(torch.cat([x, phase.cos(), phase.sin()], 1)) @ self.head

    def value_and_grad(self, x: Points) -> tuple[Values, Points]:
        """``E(x)`` and ``∇E(x)``."""
        value, grad = in_blocks(self._value_and_grad, rows(x), len(self.head))
        return value, shaped(grad, x)

    def _value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.frequencies.shape[1]:
            return chain(self.hidden, x, self.head)
        phase = x @ self.frequencies
        cos, sin = phase.cos(), phase.sin()
        value, grad = chain(self.hidden, torch.cat([x, cos, sin], 1), self.head)
        own, of_cos, of_sin = grad.split([x.shape[1], *[sin.shape[1]] * 2], 1)
        return value, own + (of_sin * cos - of_cos * sin) @ self.frequencies.T


def _linear(fan_in: int, fan_out: int, generator: Rng) -> nn.Linear:
    """A linear layer with weights uniform on ±1/√fan_in, drawn from ``generator``."""
    layer = nn.Linear(fan_in, fan_out, device="meta").to_empty(device=torch.get_default_device())
    bound = 1 / math.sqrt(fan_in)
    with torch.no_grad():
        for p in layer.parameters():
            p.uniform_(-bound, bound, generator=generator)
    return layer
