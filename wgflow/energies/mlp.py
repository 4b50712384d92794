"""Neural energies of points."""

import itertools
import math

import torch
from torch import nn

from wgflow._tensor import Points, Values

ACTIVATIONS = {"silu": nn.SiLU, "gelu": nn.GELU, "softplus": nn.Softplus, "tanh": nn.Tanh}


class MLP(nn.Module):
    """Multilayer perceptron on learned Fourier features, ``E(x) = aᵀ φ_L(… φ_1(f(x)))``.

    The features are ``f(x) = (x, cos Bᵀx, sin Bᵀx)`` with ``B_ij ~ N(0, σ²/d)``, trained too: on
    standardised data a phase has deviation σ whatever the dimension d. A plain perceptron learns
    low frequencies first and needs thousands of updates to carve narrow wells; features of
    frequency σ give them at once (Tancik et al. 2020). The activation must be smooth, since
    samplers and schemes use ``∇E`` and its derivatives. The last layer starts at zero: the first
    energy is the confinement alone, whose law is known and sampled exactly.

    Args:
        event_shape: shape of one point; it is flattened.
        width: units per hidden layer.
        depth: number of hidden layers.
        features: number of frequencies (columns of B); 0 for a plain perceptron.
        frequency: σ, in radians, of a phase on standardised data.
        activation: one of silu, gelu, softplus, tanh.
        generator: source of the initial weights.

    Raises:
        ValueError: for an unknown activation or a size below one.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        width: int = 128,
        depth: int = 2,
        features: int = 64,
        frequency: float = 4.0,
        activation: str = "silu",
        *,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"An energy is smooth: expected one of {known}, got {activation!r}.")
        if min(width, depth) < 1 or features < 0:
            raise ValueError(
                "An MLP needs width ≥ 1, depth ≥ 1 and features ≥ 0: "
                f"got {width}, {depth} and {features}."
            )
        dim = math.prod(event_shape)
        spread = frequency / math.sqrt(dim)
        self.frequencies = nn.Parameter(spread * torch.randn(dim, features, generator=generator))
        sizes = [dim + 2 * features, *[width] * depth]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [_linear(fan_in, fan_out, generator), ACTIVATIONS[activation]()]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Parameter(torch.zeros(width))

    def forward(self, x: Points) -> Values:
        """``E(x)``."""
        x = x.flatten(1)
        phase = x @ self.frequencies
        return self.hidden(torch.cat([x, phase.cos(), phase.sin()], 1)) @ self.head


def _linear(fan_in: int, fan_out: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with weights uniform on ±1/√fan_in, drawn from ``generator``."""
    layer = nn.Linear(fan_in, fan_out, device="meta").to_empty(device=torch.get_default_device())
    bound = 1 / math.sqrt(fan_in)
    with torch.no_grad():
        for p in layer.parameters():
            p.uniform_(-bound, bound, generator=generator)
    return layer
