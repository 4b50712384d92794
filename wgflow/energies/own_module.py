"""Energies around a module that the caller passes: no file can name one, so none is imported."""

import copy
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from wgflow._random import Rng
from wgflow.data.dataset import Dataset
from wgflow.data.moments import DataMoments
from wgflow.energies.base import check_energy
from wgflow.energies.network import ConfinedNetwork, Network


@dataclass(frozen=True)
class OwnModuleSpec(ConfinedNetwork):
    """The caller's module as the free part, in standardised units, confined as an `MLP` is.

    The module maps points (batch, *event) to energies (batch,). It is passed to `wgflow.fit`,
    `wgflow.resume` and `wgflow.load` as ``energy``; its parameters come from the checkpoint.

    Args:
        confinement, confined: see `ConfinedNetwork`.

    Raises:
        ValueError: when a setting is out of its range.
    """

    needs_moments: ClassVar[bool] = True
    needs_extent: ClassVar[bool] = True

    def around(self, module: nn.Module | None) -> Network:
        """The network with a copy of the module. Raises ValueError without one."""
        if module is None:
            raise ValueError(
                "`energy` must be the module that the run learns, which no file can name: pass "
                "energy=... to wgflow.fit, wgflow.resume or wgflow.load."
            )
        return _Around(self.confinement, self.confined, module=copy.deepcopy(module))

    def build(
        self, moments: DataMoments, *, mixed: bool = False, generator: Rng = None
    ) -> nn.Module:
        """Refused: see `around`."""
        return self.around(None).build(moments)


@dataclass(frozen=True, eq=False)
class _Around(OwnModuleSpec):
    module: nn.Module = field(kw_only=True)

    def check_data(self, dataset: Dataset) -> None:
        """Raise ValueError unless the module gives one finite energy per point."""
        x = dataset.standardise(dataset.test[:2])
        check_energy(copy.deepcopy(self.module).to(x.dtype), x)

    def build(
        self, moments: DataMoments, *, mixed: bool = False, generator: Rng = None
    ) -> nn.Module:
        """The module with its confinement, or the module alone."""
        return self.confine(self.module, moments)
