"""Energies of tables whose columns are learned after monotone maps."""

import torch
from torch import Tensor, nn

from wgflow._tensor import Points, Values
from wgflow.data.transforms import Transform
from wgflow.energies.base import Callback, Energy, Rescaled, energy_at


class Transformed(Rescaled):
    """The same distribution in other units: ``E(x) = E_u(u) + Σ log s - Σ_j log g_j'(x_j)``.

    With ``u = (g(x) - m)/s`` and the maps g of `wgflow.data.transforms`. ``log Z`` is the same in
    both units.

    Args:
        energy: ``E_u``, in standardised units.
        shift: ``m``, (d,).
        scale: ``s > 0``, (d,).
        transform: g.
        precision: as of `Rescaled`.
    """

    def __init__(
        self,
        energy: Energy,
        shift: Tensor,
        scale: Tensor,
        transform: Transform,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__(energy, shift, scale, precision)
        self.maps = transform

    @property
    def transform(self) -> Transform:
        """The maps."""
        return self.maps

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E(x)``; Raises ValueError for a level, which no map keeps the same for all points."""
        if level is not None:
            raise ValueError("`level` must be none for data with maps of their columns: got one.")
        u = self.standardise(x)
        return energy_at(self.energy, u, None) + self.log_volume(x).to(u.dtype)

    def log_volume(self, x: Points) -> Values:
        """``log |dx/du| = Σ_j (log s_j - log g_j'(x_j))``, (batch,), float64."""
        return (self.scale.log() - self.maps.log_derivative(x)).sum(-1)

    def standardise(self, x: Points) -> Points:
        """``u = (g(x) - m)/s``."""
        return ((self.maps.forward(x) - self.shift) / self.scale).to(self.precision or x.dtype)

    def unstandardise(self, u: Points) -> Points:
        """The x of a u; leading axes may be any."""
        return self.maps.inverse(self.shift + self.scale * u.double(), self.outer(u))

    def around(self, energy: Energy) -> "Transformed":
        """Another energy of standardised points, in the same units."""
        return Transformed(energy, self.shift, self.scale, self.maps, self.precision)

    def undone(self, energy: Energy) -> nn.Module:
        """An energy in the units of x as one of standardised points."""

        def standardised(u: Points, level: Values | None = None) -> Values:
            x = self.unstandardise(u)
            return energy_at(energy, x, level) - self.log_volume(x).to(u.dtype)

        return Callback(standardised)


def original(
    energy: Energy,
    shift: Tensor,
    scale: Tensor,
    transform: Transform | None = None,
    precision: torch.dtype | None = None,
) -> Rescaled:
    """An energy of standardised points in the units of the data, with or without maps."""
    if transform is None:
        return Rescaled(energy, shift, scale, precision)
    return Transformed(energy, shift, scale, transform, precision)
