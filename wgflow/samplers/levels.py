"""Moves of particles between noise levels, each exact on the joint space of points and levels."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from wgflow._check import check_nonnegative, check_positive
from wgflow._random import Rng, noise_like
from wgflow._tensor import Values
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.energies.joint_space import JointSpace
from wgflow.energies.microbatch import full_batch
from wgflow.samplers.base import Info, Sampler, log_uniform_like, metropolis
from wgflow.samplers.flow_map import carried

LANGEVIN = 1 / 8
"""Of MALA steps, in units of σ² + r."""


class TravelState(NamedTuple):
    """Travellers: positions z, energy and gradient there, and the sense in which each travels.

    Attributes:
        x: z = (x, t), (batch, d+1).
        energy: (batch,).
        grad: of z, (batch, d+1).
        step_size: of Langevin steps, in units of σ² + r.
        sense: +1 up, to more noise, or -1 down, (batch,).
    """

    x: Tensor
    energy: Tensor
    grad: Tensor
    step_size: Tensor
    sense: Tensor

    @property
    def langevin_step(self) -> float:
        """The step at the lowest level is not known here: a small one."""
        return 1e-3 * float(self.step_size)

    def jumped(self, x: Tensor, energy: Tensor, grad: Tensor, generator: Rng) -> "TravelState":
        """Travellers at z."""
        return self._replace(x=x, energy=energy, grad=grad)


@dataclass(frozen=True)
class Travel(Sampler[TravelState]):
    """A round of exact moves on the joint space: between levels, anew from the reference, MALA.

    *Between levels*, by ``t ± Δ`` with Δ = 1/rungs: up from a to b by ``y = x + √(b²-a²) ξ``;
    down by ``x = y - (b²-a²)∇E_b(y) + b√(1-b²/a²) ξ`` with the roles of a and b as in
    `wgflow.flows.heat.ancestral_sampling`. Accepted with the ratio of the joint densities and of
    both transitions. Lifted: a traveller goes on in its sense until a move is refused, then turns
    (Turitsyn, Chertkov and Vucelja 2011), so that a trip takes as many moves as there are rungs.

    *Anew*: at its own level t it is redrawn from the reference q_λ of the energy, by an
    independence step. At the highest level the reference is the distribution, so that travellers
    forget their past; where the reference is good they do so at every level.

    *Along the flow*: another level and a point of it, from the reference at the highest level by
    the probability flow of E, `wgflow.samplers.flow_map`. An independence step, accepted as far as
    E is the energy of a heat flow, wherever the reference is; and hundreds of gradients.

    *MALA* in x, with a step in units of ``σ² + r``.

    Args:
        step_size: ε of MALA, in units of ``σ² + r``; 0 for no such steps.
        rungs: of the ladder of levels; 0 for no moves between levels.
        trips: moves between levels in a round.
        redraw: whether they are redrawn.
        flow: steps of the probability flow that they are drawn by; 0 for no such moves.
        stiffness: r, the smallest variance of the data, in squared units of x.

    Raises:
        ValueError: when a setting is negative.
    """

    carry_types: ClassVar[tuple[type, ...]] = (TravelState,)

    step_size: float = LANGEVIN
    rungs: int = 64
    trips: int = 1
    redraw: bool = True
    stiffness: float = 0.0
    flow: int = 0

    def __post_init__(self) -> None:
        check_nonnegative(
            step_size=self.step_size,
            rungs=self.rungs,
            trips=self.trips,
            flow=self.flow,
            stiffness=self.stiffness,
        )

    def init(self, energy: Energy, x: Tensor, *, generator: Rng = None) -> TravelState:
        """Travellers at z, half of them on the way up."""
        joint_space(energy)
        value, grad = energy_and_grad(energy, x)
        sense = torch.ones_like(value)
        sense[::2] = -1
        return TravelState(x.detach(), value, grad, value.new_tensor(self.step_size), sense)

    def step(
        self, energy: Energy, state: TravelState, *, generator: Rng = None
    ) -> tuple[TravelState, Info]:
        """One round; the acceptance is that of the last move."""
        space, found = joint_space(energy), None
        for _ in range(self.trips if self.rungs else 0):
            state, found = between_levels(energy, space, state, 1 / self.rungs, generator)
        if self.step_size:
            state, found = langevin(energy, space, state, self.stiffness, generator)
        if self.redraw:
            state, found = redrawn(energy, space, state, generator)
        if self.flow:
            state, found = along_flow(energy, space, state, self.flow, generator)
        if found is None:
            found = Info(torch.zeros_like(state.energy), torch.zeros_like(state.energy))
        return state, found

    def time(self, state: TravelState) -> float:
        """ε at the lowest level alone, of σ² = r: a step of the proximal scheme."""
        check_positive(stiffness=self.stiffness)
        return float(state.step_size) * self.stiffness


def joint_space(energy: Energy) -> JointSpace:
    """The space that an energy is on. Raises ValueError for any other energy."""
    found = full_batch(energy)
    if not isinstance(found, JointSpace):
        raise ValueError(
            f"`energy` must be a JointSpace for moves between levels: got {type(found).__name__}."
        )
    return found


def between_levels(
    energy: Energy, space: JointSpace, state: TravelState, width: float, generator: Rng
) -> tuple[TravelState, Info]:
    """One lifted move of each traveller, from t to ``t + sense Δ``."""
    z, t = state.x, state.x[:, -1]
    there = t + state.sense * width
    inside = (there >= 0) & (there <= 1)
    a, b = (space.level(s.clamp(0, 1)).exp() for s in (t, there))  # variances here and there
    up = state.sense > 0
    noise = noise_like(z[:, :-1], generator=generator)
    x = z[:, :-1]
    mean, variance = transition(x, state.grad[:, :-1], a, b, up)
    y = mean + variance.sqrt()[:, None] * noise
    moved = torch.cat([y, there.clamp(0, 1)[:, None]], 1)
    value, grad = energy_and_grad(energy, moved)
    back, back_variance = transition(y, grad[:, :-1], b, a, ~up)
    forth = log_normal(noise * variance.sqrt()[:, None], variance)
    log_ratio = state.energy - value + log_normal(x - back, back_variance) - forth
    log_ratio = torch.where(inside, log_ratio, -torch.inf)
    # The reverse of a move travels the other way; refused, it turns.
    proposal = TravelState(moved, value, grad, state.step_size, state.sense)
    turned = state._replace(sense=-state.sense)
    log_uniform = log_uniform_like(log_ratio, generator=generator)
    return metropolis(turned, proposal, log_ratio, log_uniform)


def transition(x: Tensor, grad: Tensor, a: Tensor, b: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the move from variance a to b, (batch, d) and (batch,)."""
    down = (a - b).clamp(min=0)[:, None] * grad
    variance = torch.where(up, b - a, b * (1 - b / a))
    return x - down, variance.clamp(min=1e-30)


def redrawn(
    energy: Energy, space: JointSpace, state: TravelState, generator: Rng
) -> tuple[TravelState, Info]:
    """An independence step of each traveller, from the reference at its own level."""
    z, log_q = space.redrawn(state.x[:, -1], generator=generator)
    value, grad = energy_and_grad(energy, z)
    with torch.no_grad():  # what E is relative to cancels from both
        relative = space.relative()
        here = relative(state.x) + relative.log_reference(state.x)
        log_ratio = here - (value + log_q)
    log_uniform = log_uniform_like(log_ratio, generator=generator)
    proposal = state.jumped(z, value, grad, generator)
    return metropolis(state, proposal, log_ratio, log_uniform)


def along_flow(
    energy: Energy, space: JointSpace, state: TravelState, steps: int, generator: Rng
) -> tuple[TravelState, Info]:
    """An independence step of each traveller, to a uniform t, by the flow from the highest level.

    The density of a point is that of where it comes from over the Jacobian of the map; of where
    a traveller stands, by the inverse map. Pairs that are not seen to be invertible are refused.
    """

    def flat(x: Tensor, level: Values) -> Values:
        return space.energy(x.reshape(-1, *space.event_shape), level)

    here = state.x[:, -1]
    t = torch.rand(here.shape, generator=generator, device=here.device, dtype=here.dtype)
    top = torch.ones_like(t)
    first, forth = space.redrawn(top, generator=generator)
    here, there, highest = ((space.level(s) / 2).exp() for s in (here, t, top))
    down = carried(flat, first[:, :-1], highest, there, steps)
    up = carried(flat, state.x[:, :-1], here, highest, steps)
    z, last = (torch.cat([x, s[:, None]], 1) for x, s in ((down.x, t), (up.x, top)))
    value, grad = energy_and_grad(energy, z)
    with torch.no_grad():  # log q at the highest level, from what E is relative to
        relative = space.relative()
        back = relative(last) + relative.log_reference(last) - energy(last)
    log_ratio = state.energy + back + up.log_det - (value + forth - down.log_det)
    log_uniform = log_uniform_like(log_ratio, generator=generator)
    return metropolis(state, state.jumped(z, value, grad, generator), log_ratio, log_uniform)


def langevin(
    energy: Energy, space: JointSpace, state: TravelState, stiffness: float, generator: Rng
) -> tuple[TravelState, Info]:
    """A MALA step of x at each traveller's own level, of ``ε (σ² + r)``."""
    x, t = state.x[:, :-1], state.x[:, -1:]
    step = (state.step_size * (space.level(t[:, 0]).exp() + stiffness))[:, None]
    noise = noise_like(x, generator=generator)
    y = x - step * state.grad[:, :-1] + (2 * step).sqrt() * noise
    z = torch.cat([y, t], 1)
    value, grad = energy_and_grad(energy, z)
    backward = ((x - y + step * grad[:, :-1]) ** 2).sum(1) / (4 * step[:, 0])
    log_ratio = state.energy - value - backward + noise.square().sum(1) / 2
    log_uniform = log_uniform_like(log_ratio, generator=generator)
    return metropolis(state, state.jumped(z, value, grad, generator), log_ratio, log_uniform)


def log_normal(r: Tensor, variance: Tensor) -> Tensor:
    """``log N(r; 0, v I)``, (batch,)."""
    d = r.shape[1]
    return -r.square().sum(1) / (2 * variance) - d / 2 * (2 * math.pi * variance).log()
