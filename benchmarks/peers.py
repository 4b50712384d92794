"""Peers on two-dimensional data: other libraries trained as they themselves recommend.

Every peer is a frozen record of its settings with one method,

    peer.train(data, seed=0, iterations=None) -> Fitted

where ``data`` is a large float32 tensor of shape (n, 2) in original units from which the peer
draws its own random batches. A `Fitted` has ``energy(x)``, the negative log-density up to a
constant, and ``sample(n, seed=...)``, fresh points from the sampler that the peer recommends.
`PEERS` lists them under the names used in the tables.

The settings are the peers' own, read from the examples named in each docstring; a setting that is
not theirs is said to be so there. A peer that diverges returns what it has: nothing is caught,
clipped or replaced here, and `diverged` tells. Each library is imported when its peer trains, so
a table can be made with only some of them installed. CPU only.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

Energy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Fitted:
    """A trained peer: ``energy``: (batch, 2) -> (batch,), and ``draw``: n -> (n, 2)."""

    energy: Energy
    draw: Callable[[int], Tensor]

    def sample(self, n: int, *, seed: int) -> Tensor:
        """``n`` fresh points, shape (n, 2); the global random state is left as it was."""
        with _seeded(seed), torch.no_grad():
            return self.draw(n).detach()


class Peer(Protocol):
    """What the tables need of a competitor; ``iterations`` is its recommended number."""

    @property
    def iterations(self) -> int:
        """Optimiser steps of the full run."""
        ...

    def train(self, data: Tensor, *, seed: int, iterations: int | None = None) -> Fitted:
        """Train on ``data`` of shape (n, 2); ``iterations`` replaces the recommended number."""
        ...


def diverged(energy: Tensor, samples: Tensor, kl_gap: float, *, limit: float = 10.0) -> bool:
    """Whether energies or samples are not finite, or the KL gap is not below ``limit``."""
    finite = bool(energy.isfinite().all() and samples.isfinite().all())
    return not (finite and math.isfinite(kl_gap) and kl_gap <= limit)


@dataclass(frozen=True)
class TorchEBMPersistentCD:
    """Persistent contrastive divergence of torchebm 0.8.9.

    The defaults are the library's own: ``examples/20-training/01-mcmc-losses/02-persistent-cd/
    main.py``, whose settings are those of the front page (``README.md``, "Contrastive
    divergence"; there the network has one hidden layer). Samples as in the front page's
    "Sampling an energy": 500 Langevin steps of .02 from a standard normal. What neither sets
    (initial chains, share of new chains, energy regularisation .001) is the library's default.

    Args:
        iterations: optimiser steps.
        batch: points, and chains, per step.
        langevin_steps: Langevin steps per iteration.
        step: step size of the training chains.
        sample_step: step size of the final chains.
        sample_steps: steps of the final chains.
        energy_reg: weight of the mean squared energies.
        ema_decay: average the weights over iterations (`torchebm.utils.EMA`); None for not.
    """

    iterations: int = 1000
    batch: int = 256
    langevin_steps: int = 10
    step: float = 0.1
    sample_step: float = 0.02
    sample_steps: int = 500
    energy_reg: float = 0.001
    ema_decay: float | None = None

    def train(self, data: Tensor, *, seed: int, iterations: int | None = None) -> Fitted:
        """Adam at 1e-3; see the class."""
        _check(data)
        with _seeded(seed):
            energy = self._fit(data, self.iterations if iterations is None else iterations)
        return Fitted(energy, lambda n: self._draw(energy, n))

    def _fit(self, data: Tensor, iterations: int) -> nn.Module:
        from torchebm.losses import ContrastiveDivergence
        from torchebm.samplers import LangevinDynamics
        from torchebm.utils import EMA

        energy = _torchebm_energy()
        ema = None if self.ema_decay is None else EMA(energy, decay=self.ema_decay)
        loss_fn = ContrastiveDivergence(
            model=energy,
            sampler=LangevinDynamics(model=energy, step_size=self.step, noise_scale=1.0),
            k_steps=self.langevin_steps,
            persistent=True,
            buffer_size=8192,
            energy_reg_weight=self.energy_reg,
        )
        optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)
        for batch in _batches(data, self.batch, iterations):
            loss, _ = loss_fn(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if ema is not None:
                ema.update(energy)
        return (energy if ema is None else ema.module).requires_grad_(False)

    def _draw(self, energy: nn.Module, n: int) -> Tensor:
        from torchebm.samplers import LangevinDynamics

        sampler = LangevinDynamics(model=energy, step_size=self.sample_step, noise_scale=1.0)
        return sampler.sample(dim=2, n_samples=n, n_steps=self.sample_steps)


@dataclass(frozen=True)
class EbmkitPersistentCD:
    """Persistent contrastive divergence of ebmkit 0.16.0: ``examples/train_two_moons.py``.

    An MLP 2-128-128-1, 60 Langevin steps of .01 per iteration on a buffer of 8192 chains, energy
    regularisation .1, Adam at 1e-3, weights averaged with decay .999; samples by 500 Langevin
    steps of .01 from a standard normal. All the library's own.

    Args:
        iterations: optimiser steps.
        batch: points, and chains, per step.
    """

    iterations: int = 6000
    batch: int = 256

    def train(self, data: Tensor, *, seed: int, iterations: int | None = None) -> Fitted:
        """Through the library's `Trainer`; see the class."""
        import ebm

        def loss_fn() -> nn.Module:
            sampler = ebm.LangevinDynamics(step_size=0.01, steps=60)
            buffer = ebm.ReplayBuffer(capacity=8192, shape=(2,))
            return ebm.ContrastiveDivergence(sampler, buffer=buffer, energy_reg=0.1)

        steps = self.iterations if iterations is None else iterations
        return _train_ebmkit(data, loss_fn, steps, self.batch, seed)


@dataclass(frozen=True)
class EbmkitEnergyDiscrepancy:
    """Energy discrepancy of ebmkit 0.16.0: ``examples/train_energy_discrepancy.py``.

    An MLP 2-128-128-1, perturbations of scale .3, 16 contrasts per point, stabiliser 1, Adam at
    1e-3, weights averaged with decay .999; samples by 500 Langevin steps of .01 from a standard
    normal. All the library's own.

    Args:
        iterations: optimiser steps.
        batch: points per step.
    """

    iterations: int = 6000
    batch: int = 256

    def train(self, data: Tensor, *, seed: int, iterations: int | None = None) -> Fitted:
        """Through the library's `Trainer`; see the class."""
        import ebm

        def loss_fn() -> nn.Module:
            return ebm.EnergyDiscrepancy(sigma=0.3, m_particles=16, w_stable=1.0)

        steps = self.iterations if iterations is None else iterations
        return _train_ebmkit(data, loss_fn, steps, self.batch, seed)


@dataclass(frozen=True)
class ZukoSplineFlow:
    """Neural spline flow of zuko 1.6.0, a flow and no energy: its density is normalised.

    Network and optimiser of ``docs/tutorials/forward_kl.ipynb`` (also two moons): three
    transforms of 8 bins, hidden (64, 64), Adam at 1e-3. The data are standardised as the
    documentation of `zuko.flows.NSF` advises, and ``energy`` is the exact ``-log p`` in the
    original units. Not theirs: 3000 iterations of batch 256 for its 2048 of batch 64.

    Args:
        iterations: optimiser steps.
        batch: points per step.
    """

    iterations: int = 3000
    batch: int = 256

    def train(self, data: Tensor, *, seed: int, iterations: int | None = None) -> Fitted:
        """Maximum likelihood; see the class."""
        import zuko

        _check(data)
        mean, std = data.mean(0), data.std(0)
        steps = self.iterations if iterations is None else iterations
        with _seeded(seed):
            flow = zuko.flows.NSF(features=2, transforms=3, hidden_features=(64, 64))
            optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
            for batch in _batches(data, self.batch, steps):
                loss = -flow().log_prob((batch - mean) / std).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        flow.requires_grad_(False)
        return Fitted(
            lambda x: std.log().sum() - flow().log_prob((x - mean) / std),
            lambda n: mean + std * flow().sample((n,)),
        )


PEERS: Mapping[str, Peer] = {
    "torchebm PCD, own recipe": TorchEBMPersistentCD(),
    # every setting of ebmkit's train_two_moons.py, on torchebm's own loss, sampler and average
    "torchebm PCD, ebmkit's recipe": TorchEBMPersistentCD(
        iterations=6000,
        langevin_steps=60,
        step=0.01,
        sample_step=0.01,
        energy_reg=0.1,
        ema_decay=0.999,
    ),
    "ebmkit PCD": EbmkitPersistentCD(),
    "ebmkit energy discrepancy": EbmkitEnergyDiscrepancy(),
    "zuko neural spline flow": ZukoSplineFlow(),
}


def _train_ebmkit(
    data: Tensor, make_loss: Callable[[], nn.Module], steps: int, batch: int, seed: int
) -> Fitted:
    import ebm

    _check(data)
    with _seeded(seed):
        energy = ebm.nets.MLPEnergy(dim=2, hidden=(128, 128))
        trainer = ebm.Trainer(energy, make_loss(), lr=1e-3, ema_decay=0.999, device="cpu")
        trainer.fit(data, steps=steps, batch_size=batch, verbose=False)
    averaged = trainer.ema.module
    sampler = ebm.LangevinDynamics(step_size=0.01, steps=500)
    return Fitted(averaged, lambda n: sampler.sample(averaged, torch.randn(n, 2)))


def _torchebm_energy() -> nn.Module:
    from torchebm.core import BaseModel

    class MLPEnergy(BaseModel):  # torchebm asks for a subclass of its own
        def __init__(self):
            super().__init__()
            hidden = [nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU()]
            self.net = nn.Sequential(*hidden, nn.Linear(128, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).squeeze(-1)

    return MLPEnergy()


def _batches(data: Tensor, batch: int, iterations: int) -> Iterator[Tensor]:
    for _ in range(iterations):
        yield data[torch.randint(len(data), (batch,))]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # ebmkit takes no generators, so every peer draws from the global one, set and restored here
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _check(data: Tensor) -> None:
    if data.ndim != 2 or data.shape[1] != 2 or data.dtype != torch.float32:
        got = f"{data.dtype} of shape {tuple(data.shape)}"
        raise ValueError(f"Peers take two-dimensional data: expected float32 (n, 2), got {got}.")
