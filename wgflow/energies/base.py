"""Energies ``p(x) ∝ exp(-E(x))``: the one gradient in x, and how energies compose.

An energy is any callable ``(batch, *event) -> (batch,)``. There is no base class: a function, a
lambda or an `nn.Module` will do. Noise-conditional ones, `wgflow.energies.noise_levels`, take a
noise level λ as well, and so do their sums, tempered and rescaled. The compositions below are
modules, so that the parameters of their parts are found by an optimiser and follow ``.to(...)``.
Their constants are kept in double precision and follow the dtype of x.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from wgflow._check import check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.transforms import Transform
from wgflow.energies.gradient import own_gradient
from wgflow.energies.microbatch import MicroBatched

Energy = Callable[[Tensor], Tensor]


@runtime_checkable
class HasReference(Protocol):
    """An energy that starts as that of a distribution with exact draws and a known density."""

    def reference(
        self, like: Tensor, count: int, *, generator: Rng = None
    ) -> tuple[Points, Values]:
        """``count`` draws, shaped like the points of ``like``, and their log-density."""
        ...


class Relative(HasReference, Protocol):
    """``s = E + log b``: the energy of a density relative to another, b.

    Its `reference` gives draws of q and ``log q/b`` there: zeros where q is b.
    """

    def __call__(self, x: Points) -> Values:
        """``s(x)``, (batch,)."""
        ...

    def log_reference(self, x: Points) -> Values:
        """``log q/b``, (batch,), at any points."""
        ...

    def bound(self, ceiling: float) -> None:
        """Cut the density where the logarithm of a weight is beyond it, if it is finite."""
        ...


@runtime_checkable
class Tilted(HasReference, Protocol):
    """An energy ``E = -log b + s`` that gives s alone: b need not be evaluated where q is it."""

    def __call__(self, x: Points) -> Values:
        """``E(x)``, (batch,)."""
        ...

    def relative(self) -> Relative:
        """s, with the parameters of E."""
        ...


def check_energy(energy: Energy, x: Tensor) -> None:
    """Raise ValueError unless ``energy`` gives one finite, floating value per point of ``x``."""
    with torch.no_grad():
        value = energy(x)
    if not isinstance(value, Tensor) or value.shape != (len(x),):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"`energy` must return a tensor of shape {(len(x),)} for x of shape "
            f"{tuple(x.shape)}: got {got}."
        )
    if value.dtype != x.dtype:
        raise ValueError(f"`energy` must keep the dtype of x, {x.dtype}: got {value.dtype}.")
    if infinite := int((~value.isfinite()).sum()):
        raise ValueError(f"`energy` must be finite: got {infinite} of {len(x)} that are not.")


def energy_and_grad(
    energy: Energy, x: Points, *, create_graph: bool = False
) -> tuple[Values, Points]:
    """``E(x)`` of shape (batch,) and ``∇E(x)`` of the shape of x.

    Without ``create_graph`` both are detached and parameters receive nothing; with it both stay
    in the graph of the parameters, for losses that contain ``∇E``.
    """
    if isinstance(energy, MicroBatched):
        evaluate = partial(energy_and_grad, create_graph=create_graph)
        value, grad = energy.evaluate(evaluate, x.detach(), differentiable=create_graph)
        return value, grad
    if not create_graph and (own := own_gradient(energy, x)) is not None:
        return own
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = energy(x)
        (grad,) = torch.autograd.grad(value.sum(), x, create_graph=create_graph)
    return (value, grad) if create_graph else (value.detach(), grad)


def energy_at(energy: Callable[..., Values], x: Points, level: Values | None) -> Values:
    """``E(x, λ)``, or ``E(x)`` without a level, which any energy gives."""
    return energy(x) if level is None else energy(x, level)


class Sum(nn.Module):
    """Product of experts: ``E(x) = Σ_j c_j E_j(x)``, that is ``p ∝ Π p_j^{c_j}``.

    Args:
        energies: the parts ``E_j``.
        coefficients: ``c_j``, default all one.
    """

    def __init__(
        self, energies: Sequence[Energy], coefficients: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.energies = _parts(energies)
        self.coefficients = tuple(coefficients or [1.0] * len(energies))
        if len(self.coefficients) != len(energies):
            got = len(self.coefficients)
            raise ValueError(f"`coefficients` must be {len(energies)}, one per energy: got {got}.")

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``Σ_j c_j E_j(x)``."""
        parts = zip(self.coefficients, self.energies, strict=True)
        return torch.stack([c * energy_at(energy, x, level) for c, energy in parts]).sum(0)


class Mixture(nn.Module):
    """Mixture of experts: ``E(x) = -log Σ_j a_j exp(-E_j(x))``.

    With normalised parts (``log Z_j = 0``) this is the density ``Σ_j a_j p_j`` itself.

    Args:
        energies: the parts ``E_j``.
        weights: ``a_j > 0``, normalised to sum to one; default equal.
    """

    log_weights: Tensor

    def __init__(self, energies: Sequence[Energy], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.energies = _parts(energies)
        a = torch.tensor(weights or [1.0] * len(energies), dtype=torch.float64)
        if len(a) != len(energies) or not (a > 0).all():
            raise ValueError(
                f"`weights` must be {len(energies)} positive numbers, one per energy: "
                f"got {a.tolist()}."
            )
        self.register_buffer("log_weights", (a / a.sum()).log())

    def forward(self, x: Points) -> Values:
        """``-log Σ_j a_j exp(-E_j(x))``."""
        values = torch.stack([-energy(x) for energy in self.energies])
        return -torch.logsumexp(values + self.log_weights.to(values.dtype)[:, None], 0)


class Tempered(nn.Module):
    """Tempering: ``E(x)/T``, that is ``p^{1/T}``; ``T > 1`` flattens, ``T < 1`` sharpens."""

    def __init__(self, energy: Energy, temperature: float) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.energy = as_module(energy)
        self.temperature = temperature

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E(x)/T``."""
        return energy_at(self.energy, x, level) / self.temperature


class Rescaled(nn.Module):
    """The same distribution in other units: ``E(x) = E_u(u) + Σ log s`` with ``u = (x - m)/s``.

    The log-Jacobian makes ``log Z`` the same in both units.

    Args:
        energy: ``E_u``, in standardised units.
        shift: ``m``, broadcasting over events.
        scale: ``s > 0``, of the shape of ``m``.
        precision: of u, where x is in double precision to keep its digits; None for that of x.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        energy: Energy,
        shift: Tensor,
        scale: Tensor,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.energy = as_module(energy)
        self.precision = precision
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float64))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float64))
        check_positive(scale=float(self.scale.min()))

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E_u((x - m)/s) + Σ log s``; a level λ = log σ² is ``λ - 2 log s`` in those units."""
        shift, scale = self.shift.to(self.outer(x)), self.scale.to(self.outer(x))
        if level is not None and scale.ndim:
            raise ValueError(
                "`scale` must be one number for an energy with a noise level, as for images "
                f"scaled by range: got shape {tuple(scale.shape)}."
            )
        inner = None if level is None else level - 2 * scale.log()
        u = ((x - shift) / scale).to(self.precision or x.dtype)
        value = energy_at(self.energy, u, inner)
        return value + scale.log().expand(x.shape[1:]).sum()

    @property
    def transform(self) -> Transform | None:
        """Maps of the columns that come before; none."""
        return None

    def outer(self, points: Tensor) -> torch.dtype:
        """The type of the x of points, standardised or not."""
        return points.dtype if self.precision is None else torch.float64

    def standardise(self, x: Points) -> Points:
        """``u = (x - m)/s``."""
        return ((x - self.shift) / self.scale).to(self.precision or x.dtype)

    def unstandardise(self, u: Points) -> Points:
        """``x = m + s u``; leading axes may be any."""
        return (self.shift + self.scale * u).to(self.outer(u))

    def around(self, energy: Energy) -> "Rescaled":
        """Another energy of standardised points, in the same units."""
        return Rescaled(energy, self.shift, self.scale, self.precision)

    def undone(self, energy: Energy) -> nn.Module:
        """An energy in the units of x as one of standardised points."""
        if self.precision is None:
            return Rescaled(energy, -self.shift / self.scale, 1 / self.scale)

        def standardised(u: Points, level: Values | None = None) -> Values:
            value = energy_at(energy, self.unstandardise(u), level)
            return value.to(u.dtype) - self.scale.log().expand(u.shape[1:]).sum()

        return Callback(standardised)


class Callback(nn.Module):
    """A plain function as a module, so that compositions hold modules only."""

    def __init__(self, function: Callable[..., Values]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """The function's value."""
        return energy_at(self.function, x, level)


def as_module(energy: Energy) -> nn.Module:
    """An energy as a module."""
    return energy if isinstance(energy, nn.Module) else Callback(energy)


def _parts(energies: Sequence[Energy]) -> nn.ModuleList:
    if not energies:
        raise ValueError("`energies` must be at least one: got none.")
    return nn.ModuleList(as_module(energy) for energy in energies)
