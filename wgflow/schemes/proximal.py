"""The near-proximal Wasserstein gradient flow of the global relative entropy.

One step of Jordan, Kinderlehrer and Otto on ``F(ρ) = KL(ρ‖p_d)``, written in its dual. With ψ the
change of energy and the Hopf-Lax envelope ``Q_hψ(y) = min_x ψ(x) + |x-y|²/(2h)``,

    ψ_k = argmin_ψ  log E_d[e^ψ] - E_{ρ_k}[Q_hψ],               E_{k+1} = E_k + ψ_k.

Around equilibrium, ``ρ_k = p_d(1 + u_k)``, it is ``ψ_k = (I - hL)⁻¹ u_k``, L the generator of the
Langevin diffusion of p_d: the relative density after one implicit Euler step of the Fokker-Planck
equation. The model takes off what that step leaves, so that an error of eigenvalue λ of -L is
multiplied by ``hλ/(1+hλ)``: global errors (mode weights, λ ≈ 0) go first, fine detail follows; it
is stable for every h and zero exactly when ``ρ_k = p_d``, so without bias.

After Wu, Wei and Lin (arXiv 1910.14216).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wgflow._check import check_fraction, check_positive
from wgflow._random import Rng
from wgflow._tensor import sum_event
from wgflow.energies.base import Energy, energy_and_grad
from wgflow.energies.microbatch import full_batch, microbatched_like
from wgflow.samplers.particles import Particles, effective_fraction
from wgflow.schemes.base import Loss
from wgflow.schemes.dynamics import Carry, Dynamics, ParticleScheme, energies
from wgflow.schemes.population import Population
from wgflow.schemes.sample import Sample

GRAD = "grad"
"""Where gradients of ``E_k`` are, of particles and of what is kept besides."""


class Form(ABC):
    """Which relative entropy the change of energy ψ lowers, from values of ψ alone."""

    @abstractmethod
    def entropy(self, data: Tensor, particles: Tensor, log_weight: Tensor) -> Tensor:
        """The entropy part of the loss, from ψ at the data and at the weighted points."""


@dataclass(frozen=True)
class Forward(Form):
    """``mean_d ψ + log Σ w_i e^{-ψ(x_i)} = KL(p_d‖p_θ) - KL(p_d‖p_{θ_k})``: maximum likelihood."""

    def entropy(self, data: Tensor, particles: Tensor, log_weight: Tensor) -> Tensor:
        """``mean_d ψ + log Σ w_i e^{-ψ(x_i)}``."""
        return data.mean() + torch.logsumexp(log_weight.log_softmax(0) - particles, 0)


@dataclass(frozen=True)
class Reverse(Form):
    """``log mean_d e^ψ - Σ w_i ψ(x_i)``: the dual of the JKO step (Donsker-Varadhan)."""

    def entropy(self, data: Tensor, particles: Tensor, log_weight: Tensor) -> Tensor:
        """``log mean_d e^ψ - Σ w_i ψ(x_i)``."""
        return torch.logsumexp(data, 0) - math.log(len(data)) - log_weight.softmax(0) @ particles


class Envelope(ABC):
    """The transport cost ``Σ w_i (ψ - Q_hψ)(x_i) ≥ 0`` of a change of energy ψ."""

    def freeze(self, energy: Energy, p: Particles) -> dict[str, Tensor]:
        """What must be kept of ``E_k`` besides what its particles have cached: nothing."""
        return {}

    @abstractmethod
    def cost(self, energy: Energy, carry: Carry, values: Tensor, h: float) -> Tensor:
        """The cost of ``ψ = E_θ - E_k``, given ``E_θ`` at the particles."""


@dataclass(frozen=True)
class FirstOrder(Envelope):
    """``Q_hψ ≈ ψ - (h/2)|∇ψ|²``, so the cost is ``(h/2) Σ w_i |∇ψ(x_i)|²``: error O(h²).

    Args:
        share: share of the particles over which the weighted mean is taken, by a stride.

    Raises:
        ValueError: unless ``0 < share ≤ 1``.
    """

    share: float = 0.25

    def __post_init__(self) -> None:
        check_positive(share=self.share)
        check_fraction(share=self.share)

    def freeze(self, energy: Energy, p: Particles) -> dict[str, Tensor]:
        """``∇E_k`` where it is needed, of particles that do not move."""
        if hasattr(p.state, GRAD):
            return {}
        return {GRAD: energy_and_grad(energy, p.x[self.where(p)])[1]}

    def cost(self, energy: Energy, carry: Carry, values: Tensor, h: float) -> Tensor:
        """``(h/2) Σ w_i |∇E_θ(x_i) - ∇E_k(x_i)|²``."""
        p, where = carry.particles, self.where(carry.particles)
        before = carry.frozen[GRAD] if GRAD in carry.frozen else p.state.grad[where]
        _, grad = energy_and_grad(energy, p.x[where], create_graph=True)
        return h / 2 * (p.log_weight[where].softmax(0) @ sum_event((grad - before) ** 2))

    def where(self, p: Particles) -> Tensor:
        """The particles that the mean is over."""
        count = max(1, round(self.share * len(p.x)))
        # Resampling puts copies side by side: a stride reaches all families.
        return torch.arange(count, device=p.x.device) * len(p.x) // count


@dataclass(frozen=True)
class InnerDescent(Envelope):
    """``Q_hψ(y) = ψ(x̂) + |x̂-y|²/(2h)`` with x̂ by gradient descent from y: backward Euler.

    ``x̂ ← x̂ - η (x̂ - y + h∇ψ(x̂))``, whose fixed point is the proximal point when
    ``h ∇²ψ > -1``. By the envelope theorem ``∂_θ Q_hψ(y) = ∂_θ ψ(x̂)``: no double backward. Needs
    the parameters of ``E_k``, kept in the carry.

    Args:
        steps: descent steps.
        relaxation: η in (0, 1].

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    steps: int = 3
    relaxation: float = 1.0

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, relaxation=self.relaxation)
        check_fraction(relaxation=self.relaxation)

    def freeze(self, energy: Energy, p: Particles) -> dict[str, Tensor]:
        """A copy of the parameters and buffers of ``E_k``."""
        state = _module(energy).state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def cost(self, energy: Energy, carry: Carry, values: Tensor, h: float) -> Tensor:
        """``Σ w_i [ψ(x_i) - ψ(x̂_i) - |x̂_i - x_i|²/(2h)]``."""

        frozen = microbatched_like(
            energy,
            lambda x: functional_call(_module(energy), carry.frozen, (x,)),
            learned=False,
        )

        def change(x: Tensor) -> Tensor:
            return energy(x) - frozen(x)

        p = carry.particles
        y = x = p.x
        for _ in range(self.steps):
            _, grad = energy_and_grad(change, x)
            x = x - self.relaxation * (x - y + h * grad)
        drop = values - p.state.energy - change(x)
        return p.weights @ (drop - sum_event((x - y) ** 2) / (2 * h))


def _module(energy: Energy) -> nn.Module:
    energy = full_batch(energy)
    if not isinstance(energy, nn.Module):
        raise ValueError(
            "`energy` must be an nn.Module, whose parameters the exact envelope copies: got "
            f"{type(energy).__name__}."
        )
    return energy


@dataclass(frozen=True)
class NearProximal(ParticleScheme):
    """Near-proximal step ``min_θ entropy(ψ) + Σ w_i (ψ - Q_hψ)(x_i)``, ``ψ = E_θ - E_{θ_k}``.

    Several optimiser steps on frozen particles approach the proximal point; they stop early when
    the particles, reweighted by ``e^{-ψ}``, keep less than ``trust`` of their effective size. An
    error of eigenvalue λ of -L is multiplied per exact step by ``hλ/(1+hλ)``: no bias.

    Args:
        dynamics: the particles; weighted by default.
        form: forward or reverse entropy.
        envelope: first-order or exact cost.
        h: proximal step, in squared units of x; None for the Langevin time of a learning step.
        inner_steps: optimiser steps per learning step, at most.
        trust: share of the particles' effective size under which the inner steps stop.

    Raises:
        ValueError: when a hyper-parameter is out of its range.
    """

    dynamics: Dynamics = field(default_factory=Population)
    form: Form = field(default_factory=Forward)
    envelope: Envelope = field(default_factory=FirstOrder)
    h: float | None = None
    inner_steps: int = 2
    trust: float = 0.7

    def __post_init__(self) -> None:
        check_positive(inner_steps=self.inner_steps)
        check_fraction(trust=self.trust)
        if self.h is not None:
            check_positive(h=self.h)

    def freeze(self, energy: Energy, p: Particles) -> dict[str, Tensor]:
        """What the envelope needs."""
        return self.envelope.freeze(self.dynamics.measured(energy), p)

    def loss(self, energy: Energy, carry: Carry, *, generator: Rng = None) -> Loss:
        """``J(θ)`` on the frozen batch and particles."""
        energy, sample = self.dynamics.measured(energy), carry.sample
        data, model = energies(energy, carry, sample)
        particles = model[: len(carry.particles.x)]
        cost = self.envelope.cost(energy, carry, particles, self.proximal_step(carry))
        return self._objective(carry, sample, data, model, cost)

    def first_loss(self, energy: Energy, carry: Carry, *, generator: Rng = None) -> Loss:
        """``J(θ)`` at ``θ_k``: ψ is zero, and so are the transport cost and its gradient."""
        sample = carry.sample
        data, model = energies(self.dynamics.measured(energy), carry, sample)
        return self._objective(carry, sample, data, model, model.new_zeros(()))

    def _objective(
        self, carry: Carry, sample: Sample, data: Tensor, model: Tensor, cost: Tensor
    ) -> Loss:
        """The entropy of ``E_θ`` at the batch and at the sample, and the cost."""
        psi, log_weight = model - sample.energy, sample.log_weight
        entropy = self.form.entropy(data - carry.batch_energy, psi, log_weight)
        trust = effective_fraction(log_weight - psi.detach()) / effective_fraction(log_weight)
        metrics = {
            "entropy": entropy.detach(),
            "cost": cost.detach(),
            "energy_gap": data.detach().mean() - sample.weights @ model.detach(),
            "trust": trust,
        }
        return Loss(entropy + cost, metrics)

    def trusted(self, loss: Loss) -> bool:
        """Whether the reweighted particles still represent the model."""
        return not loss.metrics["trust"] < self.trust

    def proximal_step(self, carry: Carry) -> float:
        """h."""
        return self.dynamics.time(carry) if self.h is None else self.h
