"""Dynamics: how the particles of a scheme start, react and move between learning steps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_fraction, check_nonnegative, check_positive
from wgflow._tensor import sum_event
from wgflow.energies.base import Confined, Energy
from wgflow.energies.microbatch import full_batch
from wgflow.samplers import MALA, Independence, Sampler
from wgflow.samplers.independence import silverman
from wgflow.samplers.particles import Particles, populate, react, resample, temper, transport

HOPELESS = 0.005
"""Acceptance of global moves under which they are only tried now and then."""

THIN = 0.05
"""Effective fraction under which a population says nothing; runs end for it."""

RETRY = 50
"""Learning steps between two such tries."""


class Carry(NamedTuple):
    """What a scheme with particles carries from one learning step to the next.

    Attributes:
        batch: data of this step, (batch, *event).
        batch_energy: ``E_k`` at the batch, (batch,).
        particles: the population that trains, with ``E_k`` and ``∇E_k`` cached in its state.
        held_out: a population that never enters a gradient; may be empty (no rows).
        done: k, the number of learning steps done, an integer scalar tensor.
        seed: of the randomness of the held-out particles, an integer scalar tensor. It is theirs
            alone, so that watching a run does not change it.
        frozen: parameters of ``E_k``, for schemes that evaluate it away from the particles.
        metrics: what the last transport showed, detached scalars by name.
        origins: data that chains began at, without the noise that is added to them, (batch,
            *event); None where they come without.
    """

    batch: Tensor
    batch_energy: Tensor
    particles: Particles
    held_out: Particles | None
    done: Tensor
    seed: Tensor
    frozen: dict[str, Tensor]
    metrics: dict[str, Tensor]
    origins: Tensor | None = None


class Dynamics(ABC):
    """Where the particles of a scheme come from and how they follow the energy."""

    @property
    def adds_noise(self) -> bool:
        """Whether they add the noise of the law that is learned to the data themselves."""
        return False

    @abstractmethod
    def init(
        self, energy: Energy, batch: Tensor, *, generator: torch.Generator | None = None
    ) -> Carry:
        """The carry before the first learning step."""

    @abstractmethod
    def advance(
        self,
        energy: Energy,
        batch: Tensor,
        carry: Carry,
        *,
        generator: torch.Generator | None = None,
    ) -> Carry:
        """The carry of the next learning step, under the new energy."""

    @abstractmethod
    def time(self, carry: Carry) -> float:
        """Langevin time τ of one learning step, in squared units of x."""


@dataclass(frozen=True)
class Population(Dynamics):
    """A persistent population: reaction, resampling, global moves, transport.

    Per learning step: log-weights take ``E_k - E_{k+1}`` (the reaction); the population is
    resampled when its effective fraction falls under ``resample_below``; one independence step
    proposes data plus noise (the global move); the sampler moves everyone ``steps`` times. All
    four leave weighted averages exact. Without reaction and global move this is the population of
    persistent contrastive divergence, a ``restart`` share of which starts anew each step.

    Args:
        sampler: the transport.
        steps: its steps per learning step.
        size: number of particles that train.
        held_out: number of particles that never enter a gradient, 0 for none.
        held_out_every: learning steps between two moves of the held-out particles; their
            reaction over the whole interval is taken at once, exactly.
        scale: standard deviation of the Gaussian that the particles start from, in the units of
            x; the particles of a `Confined` energy start from its own reference instead.
        reaction: whether particles carry weights.
        resample_below: effective fraction that triggers resampling.
        global_moves: independence steps per learning step; while their acceptance is hopeless, as
            in high dimension, they are only tried now and then.
        bandwidth: their noise, as a multiple of Silverman's bandwidth of the batch.
        restart: share of the particles redrawn from the start law per learning step; only for
            particles without weights.
        settle: steps of the sampler that particles take from the start law before they count.
        tempered: effective fraction that the weights ``exp(-αE)`` of
            `wgflow.samplers.particles.temper` leave to particles that carry no others; 1 for equal
            weights. With a restart from noise, whose paths are the wells' shares of the data, the
            flow then ends where all wells are equally deep: α rises to 1 on the way.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    sampler: Sampler[Any] = field(default_factory=MALA)
    steps: int = 1
    size: int = 2048
    held_out: int = 2048
    held_out_every: int = 10
    scale: float = 2.0
    reaction: bool = True
    resample_below: float = 0.5
    global_moves: int = 1
    bandwidth: float = 1.0
    restart: float = 0.0
    settle: int = 0
    tempered: float = 1.0

    def __post_init__(self):
        check_nonnegative(settle=self.settle)
        counts = {"steps": self.steps, "size": self.size, "held_out_every": self.held_out_every}
        check_positive(scale=self.scale, bandwidth=self.bandwidth, **counts)
        check_fraction(resample_below=self.resample_below, restart=self.restart)
        check_fraction(tempered=self.tempered)
        if self.reaction and self.restart:
            raise ValueError(
                "A restarted particle has no weight history: expected restart 0 with reaction, "
                f"got {self.restart}."
            )
        if self.tempered < THIN:
            raise ValueError(
                "Tempered weights leave a share of the particles: expected tempered at least "
                f"{THIN}, got {self.tempered}."
            )
        if self.reaction and self.tempered < 1:
            raise ValueError(
                "Weights of the reaction are not tempered: expected tempered 1 with reaction, "
                f"got {self.tempered}."
            )

    def init(self, energy, batch, *, generator=None) -> Carry:
        """Both populations drawn from the start law and weighted to the first energy."""
        train, metrics = self._temper(self._draw(energy, batch, self.size, generator))
        seed, done = _seed(generator), torch.zeros((), dtype=torch.int64)
        own = _stream(seed, done, batch.device)
        held_out = self._draw(energy, batch, self.held_out, own) if self.held_out else None
        return Carry(batch, values_at(energy, batch), train, held_out, done, seed, {}, metrics)

    def advance(self, energy, batch, carry, *, generator=None) -> Carry:
        """Reaction, resampling, global moves and transport under the new energy."""
        done = carry.done + 1
        jump = self._jump(batch, carry)
        train, metrics = self.follow(energy, jump, carry.particles, generator=generator)
        train, shown = self._temper(self._restart(energy, train, generator))
        metrics |= shown
        if "global_acceptance" in carry.metrics:
            metrics.setdefault("global_acceptance", carry.metrics["global_acceptance"])
        held_out = carry.held_out
        if held_out is not None and int(done) % self.held_out_every == 0:
            own = _stream(carry.seed, done, batch.device)
            held_out, shown = self.follow(energy, jump, held_out, generator=own)
            if self.reaction:  # without weights there is no log Z
                shown["log_z"] = held_out.log_z
            metrics |= {f"held_out_{name}": value for name, value in shown.items()}
        values = values_at(energy, batch)
        return Carry(batch, values, train, held_out, done, carry.seed, {}, metrics)

    def time(self, carry) -> float:
        """τ = steps × the sampler's time per step."""
        return self.steps * self.sampler.time(carry.particles.state)

    def follow(
        self, energy: Energy, jump: Independence | None, p: Particles, *, generator=None
    ) -> tuple[Particles, dict[str, Tensor]]:
        """One round of reaction, resampling, global moves and transport of one population."""
        old_grad = p.state.grad
        p = react(p, energy)
        if not self.reaction:
            p = _unweighted(p)
        change = sum_event((p.state.grad - old_grad) ** 2)
        metrics = {"dissipation": p.weights @ change, "ess": p.effective_fraction}
        if p.effective_fraction < self.resample_below:
            p = resample(p, generator=generator)
        for _ in range(self.global_moves if jump else 0):
            assert jump is not None
            p, info = transport(p, jump, energy, generator=generator)
            metrics["global_acceptance"] = info.acceptance.mean()
        for _ in range(self.steps):
            p, info = transport(p, self.sampler, energy, generator=generator)
            metrics["acceptance"] = info.acceptance.mean()
        # A kernel that is not exact owes a weight, which an unweighted population does not pay.
        p = p if self.reaction else _unweighted(p)
        return p, metrics | {"step_size": p.state.step_size}

    def _jump(self, batch: Tensor, carry: Carry) -> Independence | None:
        """The global move, unless it was hopeless when last tried: then every so many steps."""
        hopeful = float(carry.metrics.get("global_acceptance", 1.0)) > HOPELESS
        if not (self.global_moves and (hopeful or int(carry.done) % RETRY == 0)):
            return None
        if len(batch) < 2 or not (width := self.bandwidth * silverman(batch)) > 0:
            raise ValueError(
                "Global moves go where the batch is, and as far as it spreads: expected a batch "
                "of different points (training.batch_size), or scheme.dynamics.global_moves 0, "
                f"got {len(batch)} at one place."
            )
        return Independence(batch, width)

    def _draw(self, energy: Energy, like: Tensor, count: int, generator) -> Particles:
        x, log_q = start_law(energy, like, count, self.scale, generator=generator)
        p = populate(self.sampler, energy, x, log_q, generator=generator)
        for _ in range(self.settle):
            p, _ = transport(p, self.sampler, energy, generator=generator)
        return p if self.reaction else _unweighted(p)

    def _temper(self, p: Particles) -> tuple[Particles, dict[str, Tensor]]:
        if self.tempered == 1:
            return p, {}
        p, alpha = temper(p, self.tempered)
        return p, {"tempering": torch.tensor(alpha), "ess": p.effective_fraction}

    def _restart(self, energy: Energy, p: Particles, generator) -> Particles:
        count = round(self.restart * len(p.x))
        if not count:
            return p
        fresh = self._draw(energy, p.x, count, generator).state
        where = torch.randperm(len(p.x), generator=generator, device=p.x.device)[:count]
        rows = (
            f if f.ndim == 0 else f.index_put((where,), new)
            for f, new in zip(p.state, fresh, strict=True)
        )
        return p._replace(state=type(p.state)(*rows))


def _seed(generator: torch.Generator | None) -> Tensor:
    """A seed drawn from ``generator``."""
    device = None if generator is None else generator.device
    return torch.randint(2**31, (), generator=generator, device=device).cpu()


def _stream(seed: Tensor, number: Tensor, device: torch.device) -> torch.Generator:
    """The held-out particles' own generator at a step: a function of visible values alone."""
    return torch.Generator(device).manual_seed(int(seed) + int(number))


def _unweighted(p: Particles) -> Particles:
    return p._replace(log_weight=torch.zeros_like(p.log_weight))


def start_law(
    energy: Energy,
    like: Tensor,
    count: int,
    scale: float,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """``count`` points to start from, shaped like those of ``like``, and their log-density.

    They are of the reference of a `Confined` energy, which is its law while the free part is
    zero; of ``N(0, scale²)`` for any other energy.
    """
    law = full_batch(energy)
    if not isinstance(law, Confined):
        law = Confined(_zero, scale)
    return law.reference(like, count, generator=generator)


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros(len(x))


def values_at(energy: Energy, x: Tensor) -> Tensor:
    """``E(x)``, outside the graph."""
    with torch.no_grad():
        return energy(x)
