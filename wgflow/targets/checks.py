"""Checks of a given energy before any work: each error is one sentence that names a point."""

import math
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.targets.base import TargetEnergy
from wgflow.targets.failures import culprit, values_at

DRAWS = 64  # of the start, at each of the scales
SCALES = (0.3, 1.0, 2.0)
FEW = 0.1
"""Share of the draws at which V may have no value or no gradient, as where a scale underflows."""
RAYS = 32  # in random directions, and at most twice as many along axes
FARTHEST = 1e8
"""Energy beyond which a gradient may overflow: ``e^{-V}`` is zero there in any precision."""
DOUBLINGS, LAST = 20, 8  # of the radius along a ray, and those that must show where V goes


class _Probe(NamedTuple):
    """What is checked, and where: free coordinates u, points x = B u and V there."""

    target: TargetEnergy
    u: Tensor
    x: Points
    values: Values


def check_target(
    target: TargetEnergy, *, dtype: torch.dtype = torch.float64, generator: Rng = None
) -> None:
    """Raise ValueError unless the energy is one that methods can sample.

    It is evaluated at draws of its start and along rays from them. ``+inf`` is a value, of
    points outside the support, whose gradient does not matter. A `FEW` of the draws may have no
    value, as where a scale underflows, or no gradient: V counts as infinite there.

    Args:
        target: the energy, its start and the symmetries that it claims.
        dtype: of the points.
        generator: source of randomness.

    Raises:
        ValueError: V has another shape or dtype than one number a point, is ``-inf`` somewhere or
            infinite everywhere; raises an error that is not of numbers somewhere, or any, or is
            NaN, at more than a few draws; depends on the other points of a batch or changes
            between calls; has no gradient by autograd, at more than a few draws one that is not
            finite, or one that is not its own; lacks a symmetry; or along a ray falls without
            bound or stays level, so that ``e^{-V}`` has no finite integral.
    """
    _check_dims(target)
    draws = target.start.sample(DRAWS * len(SCALES), dtype=dtype, generator=generator)
    mean = target.start.mean.to(dtype)
    scales = torch.tensor(SCALES, dtype=dtype).repeat_interleave(DRAWS)
    u = mean + scales[:, None] * (draws - mean)
    x = target.lift(u)
    probe = _Probe(target, u, x, _values(target, x))
    _check_numbers(probe)
    _check_alone(probe)
    _check_gradient(probe, generator)
    _check_symmetries(probe, generator)
    _check_rays(probe, generator)


def _check_dims(target: TargetEnergy) -> None:
    if target.system is not None and target.system.dim != target.dim:
        raise ValueError(
            f"`system` must have the dimension {target.dim} of its energy: "
            f"got {target.system.dim}."
        )
    if target.start.dim != target.free:
        raise ValueError(
            f"`start` must have the dimension {target.free} of the free coordinates: "
            f"got {target.start.dim}."
        )


def _values(target: TargetEnergy, x: Points) -> Values:
    """V(x), one number a point in its dtype, of which nothing else is known."""
    given = x.clone()
    try:
        found = values_at(target.energy, given)
    except Exception as error:
        hint = f" of {x.dtype}, its data by `.to(x)`" if "dtype" in str(error) else ""
        at, error = culprit(target.energy, x, error)
        _refuse(target, f"be computable{hint}", f"raises {_said(error)}", at)
    if not isinstance(found, Tensor):
        _refuse(target, "return a tensor", f"returns {type(found).__name__}", x[0])
    if found.shape != (len(x),):
        shapes = f"{tuple(found.shape)} for {len(x)} points, the first"
        _refuse(target, f"return shape ({len(x)},)", f"returns {shapes}", x[0])
    if found.dtype != x.dtype:
        _refuse(target, f"keep the dtype {x.dtype}", f"returns {found.dtype}", x[0])
    if not torch.equal(given, x):
        _refuse(target, "leave x as it is", "writes into it", x[0])
    return found.detach()


def _check_numbers(probe: _Probe) -> None:
    target, _, x, values = probe
    if (bottomless := values == -math.inf).any():
        _refuse(target, "be bounded below", "is -inf", x[bottomless][0])
    nan = values.isnan()
    if nan.double().mean() > FEW:
        point = x[nan][0]
        try:
            target.energy(point[None])
        except Exception as error:
            _refuse(target, "be computable", f"raises {_said(error)}", point)
        rule = "be a number everywhere (inf outside the support)"
        _refuse(target, rule, "is NaN", point)
    if not values.isfinite().any():
        said = f"is infinite at all {len(x)} draws, as"
        rule = "be finite where its start is, by `mean` and `scale`"
        _refuse(target, rule, said, x[0])


def _check_alone(probe: _Probe) -> None:
    """V must be a function, and of one point at a time."""
    target, _, x, values = probe
    if len(other := _differ(values, _values(target, x))):
        _refuse(target, "be a function of x", "changes between calls", x[other[0]])
    there = values.isfinite().nonzero()[:, 0]
    few = there[:: max(1, len(there) // 8)]
    alone = torch.cat([_values(target, x[i : i + 1]) for i in few.tolist()])
    if len(other := _differ(values[few], alone)):
        said = "changes with the other points of a batch"
        _refuse(target, "be a function of one point", said, x[few[other[0]]])


def _check_gradient(probe: _Probe, generator: Rng) -> None:
    target, _, x, values = probe
    grad = torch.zeros_like(x)
    grad[values.isfinite()] = _gradient(target, x[values.isfinite()])
    steep = ~grad.isfinite().all(1)
    bad = steep & (values <= FARTHEST)
    if bad.double().mean() > FEW:
        _refuse(target, "be differentiable", "has a gradient that is not finite", x[bad][0])
    probe = probe._replace(values=values.masked_fill(steep, math.inf))
    inside = probe.values.isfinite()
    flat = values[inside]
    if not grad[inside].any() and len(_differ(flat, flat[:1].expand_as(flat))):
        said = f"varies from {flat.min():.3g} to {flat.max():.3g} with a gradient of zero, as"
        _refuse(target, "be differentiable", said, x[inside][0])
    _check_slopes(probe, grad, generator)


def _gradient(target: TargetEnergy, x: Points) -> Points:
    """∇V(x) by autograd."""
    try:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = target.energy(x)
            if values.requires_grad:
                (grad,) = torch.autograd.grad(values.sum(), x, allow_unused=True)
            else:
                grad = None
    except Exception as error:
        _refuse(target, "be differentiable by torch", f"raises {_said(error)}", x[0])
    if grad is None:
        hint = "has no graph of autograd from x (if it is constant, add 0 * x.sum(1))"
        _refuse(target, "be differentiable by torch", hint, x[0])
    return grad


def _check_slopes(probe: _Probe, grad: Points, generator: Rng) -> None:
    """Where V is smooth, its slope by differences along a direction is that of autograd."""
    target, u, x, values = probe
    narrowest = float(torch.linalg.matrix_norm(target.start.whiten, ord=2)) ** -1
    step = (1e-4 if x.dtype == torch.float64 else 1e-2) * narrowest
    unit = target.lift(_units(len(u), u, generator))
    ahead = (_values(target, x + step * unit) - values) / step
    behind = (values - _values(target, x - step * unit)) / step
    found, slope = (ahead + behind) / 2, (grad * unit).sum(1)
    error = (found - slope).abs()
    noise = 100 * torch.finfo(x.dtype).eps * (1 + values.abs()) / step
    # A convex kink between the three points gives at least 2 in place of 1/2. A comparison with
    # a difference of infinities is false.
    wrong = (error > 0.1 * (found.abs() + slope.abs()) + noise) & (
        (ahead - behind).abs() < 0.5 * error
    )
    if wrong.any():
        i = int(wrong.nonzero()[0])
        said = f"has slope {found[i]:.3g} where its gradient says {slope[i]:.3g},"
        _refuse(target, "be differentiable", said, x[i])


def _check_symmetries(probe: _Probe, generator: Rng) -> None:
    target, _, x, values = probe
    system = target.system
    if system is None:
        return
    if system.centre_free:
        shift = torch.randn(len(x), system.space, dtype=x.dtype, generator=generator)
        moved = x + _scale(target) * shift.repeat(1, system.particles)
        if len(other := _differ(values, _values(target, moved))):
            said = "changes when all particles move together,"
            _refuse(target, "be invariant under translations", said, x[other[0]])
    exchanged = system.exchanged(x, generator=generator)
    if len(other := _differ(values, _values(target, exchanged))):
        said = "changes when particles are exchanged,"
        _refuse(target, "be invariant under exchanges", said, x[other[0]])


def _check_rays(probe: _Probe, generator: Rng) -> None:
    """Along rays from draws of the start, V must end by growing."""
    target, u, _, values = probe
    axes = torch.eye(target.free, dtype=u.dtype)[:RAYS]
    directions = torch.cat([_units(RAYS, u, generator), axes, -axes])
    radii = _scale(target) * 2.0 ** torch.arange(DOUBLINGS + 1, dtype=u.dtype)
    origin = u[DRAWS + torch.arange(len(directions)) % DRAWS]
    points = origin[:, None] + radii[:, None] * directions[:, None]
    x = target.lift(points.flatten(0, 1))
    along = _values(target, x).reshape(len(directions), -1)
    if len(found := (along == -math.inf).nonzero()):
        i, k = found[0].tolist()
        _refuse(target, "be bounded below", "is -inf", target.lift(points[i, k : k + 1])[0])
    last = along.diff(dim=1)[:, -LAST:]
    slack = 1e-3 + 4 * torch.finfo(u.dtype).eps * along[:, -1:].abs()
    falls = (last < -slack).all(1) & (last[:, -1] <= last[:, 0] / 2)
    # Level from a point at random, where e^{-V} is not lost to how much volume lies far out.
    growth = along[:, -1] - values[values.isfinite()].median()
    level = (last.sum(1).abs() < math.log(2)) & (growth < target.free * math.log(2) * DOUBLINGS)
    for where, rule, said in (
        (falls, "be bounded below", "falls without end along a ray, to {:.3g}"),
        (level, "grow far out", "stays at {:.3g} along a ray, so that Z is infinite,"),
    ):
        if where.any():
            i = int(where.nonzero()[0])
            end = target.lift(points[i, -1:])[0]
            _refuse(target, rule, said.format(float(along[i, -1])), end)


def _differ(a: Values, b: Values) -> Tensor:
    """Where two values of V are not the same but for rounding, as indices; none is infinite."""
    a, b = (values.masked_fill(values.isnan(), math.inf) for values in (a, b))
    size = 1 + a.abs()
    tolerance = 4 * math.sqrt(torch.finfo(a.dtype).eps) * size
    same = (a == b) | ((a - b).abs() <= tolerance)
    return (~same).nonzero()[:, 0]


def _scale(target: TargetEnergy) -> float:
    """The root mean square of the standard deviations of the start."""
    return float(target.start.factor.square().sum() / target.free) ** 0.5


def _units(count: int, like: Tensor, generator: Rng) -> Tensor:
    """Uniform directions, (count, d)."""
    z = torch.randn(count, like.shape[1], dtype=like.dtype, generator=generator)
    return z / torch.linalg.vector_norm(z, dim=1, keepdim=True)


def _said(error: Exception) -> str:
    """Its kind and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _refuse(target: TargetEnergy, rule: str, said: str, point: Tensor) -> NoReturn:
    """One sentence: the rule, what the energy does instead, and where."""
    numbers = ", ".join(f"{value:.3g}" for value in point[:3].tolist())
    where = f"({numbers}{', …' if len(point) > 3 else ''})"
    raise ValueError(f"`target` must {rule}: {target.name} {said} at x = {where}.")
