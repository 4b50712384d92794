"""A persistent population: particles that stay, and follow the energy while it learns."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from wgflow._check import check_fraction, check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow._tensor import sum_event
from wgflow.energies.base import Energy
from wgflow.samplers import MALA, Independence, Sampler
from wgflow.samplers.independence import fitted_width, silverman
from wgflow.samplers.particles import Particles, populate, react, resample, temper, transport
from wgflow.schemes.base import divided
from wgflow.schemes.dynamics import Carry, Dynamics, starting_points, values_at
from wgflow.schemes.sample import Draws, anchored

HOPELESS = 0.005
"""Acceptance of global moves below which they are only tried now and then."""

RETRY = 50
"""Learning steps between two such tries."""

ANCHORS = 512
"""Data at most that a global move starts from: densities of proposals cost as much as each."""

SOME = 128
"""Particles, of those that train, for which the width of global moves is chosen."""

THIN = 0.05
"""Effective fraction below which a population is no sample; runs end for it."""


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
        global_moves: independence steps per learning step; while hardly any is accepted, as in
            high dimension, they are only tried now and then.
        bandwidth: their greatest noise, as a multiple of Silverman's bandwidth; of narrower ones
            that is taken under which the particles are likeliest.
        restart: share of the particles drawn anew from the start per learning step; only for
            particles without weights.
        settle: steps of the sampler that particles take from the start before they count.
        tempered: effective fraction that the weights ``exp(-αE)`` of
            `wgflow.samplers.particles.temper` leave to particles that carry no others; 1 for equal
            weights. With a restart from noise, which fills the modes in proportion to the data,
            the flow then ends where all modes are equally deep: α rises to 1 on the way.
        draws: number of draws of the start that losses see beside particles with weights, fresh at
            every learning step; see `wgflow.schemes.sample`.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    sampler: Sampler[Any] = field(default_factory=MALA)
    steps: int = 1
    size: int = divided(1024)
    held_out: int = divided(2048)
    held_out_every: int = 10
    scale: float = 2.0
    reaction: bool = True
    resample_below: float = 0.5
    global_moves: int = 1
    bandwidth: float = 1.0
    restart: float = 0.0
    settle: int = 0
    draws: int = divided(256)
    tempered: float = 1.0

    def __post_init__(self) -> None:
        check_nonnegative(settle=self.settle, global_moves=self.global_moves)
        check_nonnegative(held_out=self.held_out, draws=self.draws)
        counts = {"steps": self.steps, "size": self.size, "held_out_every": self.held_out_every}
        check_positive(scale=self.scale, bandwidth=self.bandwidth, **counts)
        check_fraction(resample_below=self.resample_below, restart=self.restart)
        check_fraction(tempered=self.tempered)
        if self.reaction and self.restart:
            raise ValueError(
                "`restart` must be 0 with reaction, since a restarted particle has no history of "
                f"weights: got {self.restart}."
            )
        if not (1 if self.reaction else THIN) <= self.tempered:
            raise ValueError(
                f"`tempered` must be at least {THIN}, and 1 with reaction, which weights the "
                f"particles itself: got {self.tempered}."
            )

    @property
    def is_weighted(self) -> bool:
        """With reaction."""
        return self.reaction

    def init(self, energy: Energy, batch: Tensor, *, generator: Rng = None) -> Carry:
        """Both populations drawn from the start and weighted to the first energy."""
        train, metrics = self._temper(self._draw(energy, batch, self.size, generator))
        seed, done = new_seed(generator), torch.zeros((), dtype=torch.int64)
        own = own_stream(seed, done, batch.device)
        held_out = self._draw(energy, batch, self.held_out, own) if self.held_out else None
        values, draws = values_at(energy, batch), self._seen(energy, batch, generator)
        train = anchored(train, draws)
        return Carry(batch, values, train, held_out, done, seed, {}, metrics, draws=draws)

    def advance(
        self, energy: Energy, batch: Tensor, carry: Carry, *, generator: Rng = None
    ) -> Carry:
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
            own = own_stream(carry.seed, done, batch.device)
            held_out, shown = self.follow(energy, jump, held_out, generator=own)
            if self.reaction:  # without weights there is no log Z
                shown["log_z"] = held_out.log_z
            metrics |= {f"held_out_{name}": value for name, value in shown.items()}
        values, draws = values_at(energy, batch), self._seen(energy, batch, generator)
        train = anchored(train, draws)
        return Carry(batch, values, train, held_out, done, carry.seed, {}, metrics, draws=draws)

    def follow(
        self, energy: Energy, jump: Independence | None, p: Particles, *, generator: Rng = None
    ) -> tuple[Particles, dict[str, Tensor]]:
        """One round of reaction, resampling, global moves and transport of one population."""
        old_grad = p.state.grad
        p = self._weighted(react(p, energy))
        change = sum_event((p.state.grad - old_grad) ** 2)
        metrics = {"dissipation": p.weights @ change, "ess": p.effective_fraction}
        if p.effective_fraction < self.resample_below:
            p = resample(p, generator=generator)
        if jump is not None:
            for _ in range(self.global_moves):
                p, info = transport(p, jump, energy, generator=generator)
                metrics["global_acceptance"] = info.acceptance.mean()
        for _ in range(self.steps):
            p, info = transport(p, self.sampler, energy, generator=generator)
            metrics["acceptance"] = info.acceptance.mean()
        # A kernel that is not exact owes a weight, which an unweighted population does not pay.
        return self._weighted(p), metrics | {"step_size": p.state.step_size}

    def _jump(self, batch: Tensor, carry: Carry) -> Independence | None:
        """The global move, unless hardly any was accepted when last tried."""
        hopeful = float(carry.metrics.get("global_acceptance", 1.0)) > HOPELESS
        if not (self.global_moves and (hopeful or int(carry.done) % RETRY == 0)):
            return None
        anchors = batch[:ANCHORS]
        if len(batch) < 2 or not (largest := self.bandwidth * silverman(anchors)) > 0:
            raise ValueError(
                "`training.batch_size` must give global moves different points, as far as which "
                f"they go: got {len(batch)} at one place; or choose scheme.dynamics.global_moves "
                "0."
            )
        some = carry.particles.x[:: -(-len(carry.particles.x) // SOME)]
        return Independence(anchors, fitted_width(anchors, some, largest))

    def _draw(self, energy: Energy, like: Tensor, count: int, generator: Rng) -> Particles:
        x, log_q = starting_points(energy, like, count, self.scale, generator=generator)
        p = populate(self.sampler, energy, x, log_q, generator=generator)
        for _ in range(self.settle):
            p, _ = transport(p, self.sampler, energy, generator=generator)
        return self._weighted(p)

    def _seen(self, energy: Energy, like: Tensor, generator: Rng) -> Draws | None:
        """Draws of the reference, beside particles whose weights say what each stands for."""
        if not (self.draws and self.reaction):
            return None
        x, log_density = starting_points(energy, like, self.draws, self.scale, generator=generator)
        return Draws(x, values_at(energy, x), log_density)

    def _weighted(self, p: Particles) -> Particles:
        """The particles with their weights, or equal ones without reaction."""
        return p if self.reaction else p._replace(log_weight=torch.zeros_like(p.log_weight))

    def _temper(self, p: Particles) -> tuple[Particles, dict[str, Tensor]]:
        if self.tempered == 1:
            return p, {}
        p, alpha = temper(p, self.tempered)
        return p, {"tempering": torch.tensor(alpha), "ess": p.effective_fraction}

    def _restart(self, energy: Energy, p: Particles, generator: Rng) -> Particles:
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


def new_seed(generator: Rng) -> Tensor:
    """A seed drawn from ``generator``."""
    device = None if generator is None else generator.device
    return torch.randint(2**31, (), generator=generator, device=device).cpu()


def own_stream(seed: Tensor, number: Tensor, device: torch.device) -> Generator:
    """The held-out particles' own generator at a step: a function of visible values alone."""
    return Generator(device).manual_seed(int(seed) + int(number))
