"""A hostile energy ends with a sentence that names a point, and a fair one passes."""

import math
import re

import pytest
import torch
from problems import F64, seeded

from wgflow.data.targets import Gaussian
from wgflow.data.toys import Checkerboard
from wgflow.targets.base import TargetEnergy
from wgflow.targets.catalogue import ENTRIES, named
from wgflow.targets.checks import check_target
from wgflow.targets.external import wrapped
from wgflow.targets.failures import culprit
from wgflow.targets.symmetry import ParticleSystem

BY_NAME = [name for name, entry in ENTRIES.items() if not entry.file]


def target(energy, dim=2, system=None, scale=3.0):
    free = dim if system is None else system.free
    start = Gaussian(torch.zeros(free), scale**2 * torch.eye(free, dtype=F64))
    return TargetEnergy("mine.py:f", energy, dim, start, system=system)


def box(x):
    inside = (x.abs() < 1).all(1)
    return torch.where(inside, 0 * x.sum(1), math.inf)


def truncated(x):
    """Exponential on x > 0: NaN would come from log of a negative number, but is masked."""
    return torch.where((x > 0).all(1), x.sum(1), math.inf)


def student(nu):
    return lambda x: (nu + x.shape[1]) / 2 * torch.log1p(x.square().sum(1) / nu)


def steep(x):
    """With widths to ``e^{-5|v|}``: slopes of large energies overflow in single precision."""
    v, rest = x[:, 0], x[:, 1:]
    log_precision = 5 * torch.nn.functional.softplus(-v)
    narrow = (rest * log_precision.exp()[:, None]).square().sum(1) / 2
    return v.square() / 18 + narrow - rest.shape[1] * log_precision


FAIR = {
    "box": (box, 2),
    "half line": (truncated, 1),
    "checkerboard": (Checkerboard(), 2),
    "cauchy": (lambda x: torch.log1p(x.square()).sum(1), 1),
    "product of cauchy": (lambda x: torch.log1p(x.square()).sum(1), 20),
    "student": (student(0.5), 3),
    "laplace": (lambda x: x.abs().sum(1), 4),
    "distance": (lambda x: x.square().sum(1).sqrt(), 4),
    "capped": (lambda x: x.square().sum(1).clamp(max=1e4), 2),
    "stiff": (lambda x: 1e6 * x[:, 0] ** 2 + 1e-6 * x[:, 1] ** 2, 2),
    "constant added": (lambda x: x.square().sum(1) + 1e5, 2),
    "no mode at the start": (lambda x: (x - 50).square().sum(1), 3),
    "steep funnel": (steep, 3),
}


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", BY_NAME)
def test_energies_of_the_catalogue_pass(name, dtype):
    for seed in range(3):
        check_target(named(name), dtype=dtype, generator=seeded(seed))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", FAIR)
def test_fair_energies_pass(name, dtype):
    energy, dim = FAIR[name]
    for seed in range(5):
        check_target(wrapped(energy, dim), dtype=dtype, generator=seeded(seed))


def nan_in_a_region(x):
    return torch.where(x[:, 0] > 1, math.nan, x.square().sum(1))


def in_numpy(x):
    return torch.from_numpy(x.detach().numpy() ** 2).sum(1)


def raising(x):
    raise RuntimeError("no\n  licence")


class Wrong(torch.autograd.Function):
    """x² whose backward forgets the factor 2."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, *grads):
        return ctx.saved_tensors[0] * grads[0]


HOSTILE = {
    "must be computable: mine.py:f raises RuntimeError: no licence at x": raising,
    r"must be computable of torch.float64, its data by `.to\(x\)`: mine.py:f": lambda x: (
        (x @ torch.ones(2, 3)).square().sum(1)
    ),
    "must return a tensor: mine.py:f returns float": lambda x: 1.0,
    r"must return shape \(192,\): mine.py:f returns \(192, 1\) for 192 points, the first at x": (
        lambda x: x.square().sum(1, keepdim=True)
    ),
    r"must return shape \(192,\): mine.py:f returns \(\)": lambda x: x.square().sum(),
    "must keep the dtype torch.float64: mine.py:f returns torch.float16": (
        lambda x: x.square().sum(1).half()
    ),
    r"must be a number everywhere \(inf .* support\): mine.py:f is NaN at x": nan_in_a_region,
    "must be bounded below: mine.py:f is -inf at x": lambda x: torch.where(
        x[:, 0] > 0, -math.inf, x.sum(1)
    ),
    "must be finite where its start is, by `mean` and `scale`: mine.py:f is inf": lambda x: (
        math.inf + 0 * x.sum(1)
    ),
    "must be a function of x: mine.py:f changes between calls": lambda x: (
        x.square().sum(1) + torch.rand(len(x), dtype=x.dtype)
    ),
    "must be a function of one point: mine.py:f changes with the other": lambda x: (
        (x - x.mean(0)).square().sum(1)
    ),
    "must be differentiable by torch: mine.py:f has no graph": in_numpy,
    "must be differentiable by torch: mine.py:f raises RuntimeError: Can't call numpy": lambda x: (
        torch.from_numpy(x.numpy() ** 2).sum(1)
    ),
    "must leave x as it is: mine.py:f writes into it": lambda x: x.mul_(2).square().sum(1),
    "must be differentiable by torch: mine.py:f has no graph of autograd from x": lambda x: (
        x.detach().square().sum(1) * torch.ones(1, dtype=x.dtype, requires_grad=True)
    ),
    "must be differentiable: mine.py:f has a gradient that is not finite": lambda x: (
        x.square().sum(1) + (x[:, 0] - x[:, 0]).abs().sqrt()
    ),
    "must be differentiable: mine.py:f varies from .* with a gradient of zero": lambda x: (
        x.square().round().sum(1) + 0 * x.sum(1)
    ),
    "must be differentiable: mine.py:f has slope .* where its gradient says": lambda x: (
        x[:, 0] ** 2 + x[:, 1].detach() ** 2
    ),
    "must be bounded below: mine.py:f falls without end along a ray, to -": lambda x: (
        -x.square().sum(1)
    ),
    r"must grow far out: mine.py:f stays at .* along a ray": lambda x: x.tanh().square().sum(1),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_energies_are_refused_in_one_sentence(message):
    for seed in range(3):
        with pytest.raises(ValueError, match=f"^`target` {message}") as caught:
            check_target(target(HOSTILE[message]), generator=seeded(seed))
        assert re.search(r" at x = \(-?[\d.e+-]+, -?[\d.e+-]+\)\.$", str(caught.value))


def raising_in_a_region(x):
    if (x[:, 0] > 1).any():
        raise KeyError("off the map")
    return x.square().sum(1)


@pytest.mark.parametrize("energy", [nan_in_a_region, raising_in_a_region])
def test_the_named_point_is_where_it_happens(energy):
    with pytest.raises(ValueError, match=r"is NaN|raises KeyError: 'off the map'") as caught:
        check_target(target(energy), generator=seeded(0))
    first = float(re.findall(r"\((-?[\d.]+),", str(caught.value))[0])
    assert first > 1


def normal_of_scale(x):
    """A normal whose scale underflows to 0 at few draws, where PyTorch raises an error."""
    scale = (1.5e3 * x[:, 0] + 8e3).clamp(max=0).exp()
    return -torch.distributions.Normal(0.0, scale).log_prob(x[:, 1]) + x[:, 0] ** 2


def nan_at_few(x):
    return x.square().sum(1) + torch.where(x[:, 0] > 6, math.nan, 0.0)


def kink_at_few(x):
    return x.square().sum(1) + (x[:, 0] - 6).clamp(min=0).sqrt()


@pytest.mark.parametrize("energy", [normal_of_scale, nan_at_few, kink_at_few])
def test_few_draws_may_have_no_value(energy):
    check_target(target(energy), generator=seeded(0))


def test_an_error_of_a_batch_alone_is_told_at_its_first_point():
    def many(x):
        if len(x) > 1:
            raise RuntimeError("one at a time")
        return x.square().sum(1)

    x = torch.arange(6.0).reshape(3, 2)
    point, error = culprit(many, x, KeyError("of the batch"))
    assert torch.equal(point, x[0])
    assert str(error) == "one at a time"


@pytest.mark.parametrize(
    "energy",
    [
        lambda x: x.sum(1),
        lambda x: (x**3).sum(1),
        lambda x: -torch.log1p(x.square().sum(1)),
        lambda x: x[:, 1:].square().sum(1) - 1e-3 * x[:, 0] ** 2,
        lambda x: x[:, 1:].square().sum(1) - x[:, 0].exp(),
    ],
)
def test_energies_that_fall_without_bound_are_refused(energy):
    with pytest.raises(ValueError, match="must be bounded below"):
        check_target(target(energy, 10), generator=seeded(0))


def test_a_coordinate_without_a_prior_is_refused():
    with pytest.raises(ValueError, match=r"stays at .* along a ray, so that Z is infinite"):
        check_target(target(lambda x: x[:, 1:].square().sum(1), 10), generator=seeded(0))


def test_a_wrong_backward_is_seen_in_single_precision():
    energy = target(lambda x: Wrong.apply(x).sum(1))
    with pytest.raises(ValueError, match="has slope"):
        check_target(energy, dtype=torch.float32, generator=seeded(0))


PAIR = ParticleSystem(3, 2, centre_free=True, exchangeable=True)


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (lambda x: x.square().sum(1), "invariant under translations"),
        (lambda x: (x - x[:, :2].repeat(1, 3)).square().sum(1), "invariant under exchanges"),
    ],
)
def test_a_symmetry_that_is_not_there_is_refused(energy, message):
    with pytest.raises(ValueError, match=message):
        check_target(target(energy, 6, PAIR), generator=seeded(0))


def test_dimensions_must_fit():
    short = TargetEnergy("f", student(1.0), 6, Gaussian([0.0], [[1.0]]), system=PAIR)
    with pytest.raises(ValueError, match="`start` must have the dimension 4 of the free"):
        check_target(short)
    with pytest.raises(ValueError, match="`system` must have the dimension 8"):
        check_target(target(student(1.0), 8, PAIR))
