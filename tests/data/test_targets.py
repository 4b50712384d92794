"""The laws of the targets: their density integrates to one and is the law of their samples."""

import math

import pytest
import torch
from scipy.stats import chi2
from sklearn.datasets import make_moons
from torch.distributions import Independent, MultivariateNormal, Normal

from wgflow.data.targets import (
    Funnel,
    Gaussian,
    GaussianMixture,
    TargetMixture,
    two_gaussians_50d,
)
from wgflow.data.toys import TOYS, Banana, Checkerboard, Curve, Pinwheel, Ring
from wgflow.energies.base import energy_and_grad
from wgflow.likelihood.quadrature import Grid, log_z

MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=torch.float64)
SKEW = torch.tensor([[0.3, -0.1], [-0.1, 0.2]], dtype=torch.float64)

PLANAR = {
    **TOYS,
    "gaussian": lambda: Gaussian(MEAN, COVARIANCE),
    "mixture": lambda: GaussianMixture(
        [[1.0, 1.0], [-1.0, 0.0]], covariances=torch.stack([COVARIANCE, SKEW]), weights=[1.0, 3.0]
    ),
    "banana": lambda: Banana(scale=0.7, width=0.4, curvature=0.3),
    "ring": lambda: Ring(1.0, 0.5),
    "funnel": lambda: Funnel(2, 0.3),
    "unnormalised parts": lambda: TargetMixture(
        [Gaussian(MEAN, SKEW), Ring(2.0, 0.3)], [1.0, 2.0]
    ),
}
SMOOTH = [name for name in PLANAR if name != "checkerboard"]

STEP = 0.1  # midpoints of 10 x 10 small cells in each unit cell of [-6, 6]^2
AXIS = torch.arange(-6 + STEP / 2, 6, STEP, dtype=torch.float64)
GRID = torch.cartesian_prod(AXIS, AXIS)


@pytest.fixture(scope="module", params=PLANAR)
def planar(request):
    """A target of the plane, its log-density on the grid and 20,000 of its samples."""
    target = PLANAR[request.param]()
    with torch.no_grad():
        log_p = target.log_prob(GRID)
    generator = torch.Generator().manual_seed(1)
    return target, log_p, target.sample(20_000, dtype=torch.float64, generator=generator)


def z_score(samples, expected):
    return (samples.mean(0) - expected) / (samples.std(0) / math.sqrt(len(samples)))


def half_moon(t):
    phi = math.pi * t
    return torch.stack([phi.cos(), phi.sin()], 1)


def test_density_integrates_to_one(planar):
    _, log_p, _ = planar
    assert log_p.exp().sum().item() * STEP**2 == pytest.approx(1, abs=2e-5)


def test_samples_have_the_entropy_of_the_density(planar):
    target, log_p, x = planar
    entropy = -torch.xlogy(log_p.exp(), log_p.exp()).sum() * STEP**2
    with torch.no_grad():
        surprise = -target.log_prob(x[:5_000])
    if surprise.std() < 1e-9:  # uniform
        assert surprise[0].item() == pytest.approx(entropy.item(), abs=1e-9)
    else:
        assert z_score(surprise, entropy).abs() < 4


def test_samples_fill_unit_cells_as_the_density_says(planar):
    _, log_p, x = planar
    expected = log_p.exp().reshape(12, 10, 12, 10).sum((1, 3)).flatten() * STEP**2 * len(x)
    cell = ((x.floor() + 6).clamp(0, 11) @ torch.tensor([12.0, 1.0]).double()).long()
    counts = torch.bincount(cell, minlength=144)
    full = expected > 5
    statistic = ((counts - expected)[full] ** 2 / expected[full]).sum()
    assert statistic < chi2.ppf(1 - 1e-4, int(full.sum()) - 1)
    assert counts[~full].sum() <= expected[~full].sum() + 5 * expected[~full].sum().sqrt() + 1e-6


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_agrees_with_finite_differences(name):
    target = PLANAR[name]()
    x = target.sample(5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    _, grad = energy_and_grad(target, x)
    h = 1e-5
    for i in range(2):
        e = h * torch.eye(2, dtype=torch.float64)[i]
        difference = (target(x + e) - target(x - e)).detach() / (2 * h)
        torch.testing.assert_close(grad[:, i], difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", PLANAR)
def test_single_precision_agrees_with_double_and_keeps_its_dtype(name):
    target = PLANAR[name]()
    x = target.sample(20, generator=torch.Generator().manual_seed(3))
    value = target(x)
    assert x.dtype == value.dtype == torch.float32
    torch.testing.assert_close(value.double(), target(x.double()), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["gaussian", "mixture", "banana", "ring", "pinwheel", "moons"])
def test_second_derivatives_agree_with_finite_differences(name):
    target = PLANAR[name]()
    x = target.sample(2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.autograd.gradgradcheck(target, x.requires_grad_())


def test_gaussian_energy_is_a_square_and_its_log_z_the_determinant():
    target = Gaussian(MEAN, COVARIANCE)
    x = target.sample(10, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    square = torch.einsum("bi,ij,bj->b", x - MEAN, COVARIANCE.inverse(), x - MEAN) / 2
    torch.testing.assert_close(target(x), square)
    assert target.log_z == pytest.approx(0.5 * torch.logdet(2 * math.pi * COVARIANCE).item())
    torch.testing.assert_close(
        target.log_prob(x), MultivariateNormal(MEAN, COVARIANCE).log_prob(x)
    )


def test_gaussian_samples_have_its_mean_and_covariance():
    target = Gaussian(MEAN, COVARIANCE)
    x = target.sample(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    u = x - MEAN
    assert z_score(x, MEAN).abs().max() < 4
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert z_score(u[:, i] * u[:, j], COVARIANCE[i, j]).abs() < 4


def test_funnel_is_a_product_of_conditionals():
    target = Funnel(4)
    x = target.sample(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    v, rest = x[:, 0], x[:, 1:]
    neck = Independent(Normal(torch.zeros_like(rest), (v / 2).exp()[:, None].expand(-1, 3)), 1)
    expected = Normal(0.0, 3.0).log_prob(v) + neck.log_prob(rest)
    torch.testing.assert_close(target.log_prob(x), expected)
    assert z_score(v**2, 9).abs() < 4
    assert z_score((-v / 2).exp()[:, None] * rest, 0).abs().max() < 4
    assert z_score((-v).exp()[:, None] * rest**2, 1).abs().max() < 4


def test_carbone_masses_and_density():
    target = two_gaussians_50d()
    x = target.sample(20_000, generator=torch.Generator().manual_seed(8)).double()
    assert target.weights.tolist() == [0.25, 0.75]
    assert target.means[:, 0].tolist() == [-10, 6]
    assert z_score((x[:, 0] > 0).double(), 0.75).abs() < 4
    assert z_score(x[:, 1:], 0).abs().max() < 4.5
    # At a mean the other part is 16 standard deviations away.
    expected = torch.tensor([0.25, 0.75]).log().double() - 25 * math.log(2 * math.pi)
    torch.testing.assert_close(target.log_prob(target.means), expected, rtol=0, atol=1e-6)


def test_the_conditional_of_a_mixture_is_the_joint_density_over_the_marginal():
    """``p(x_A | x_B)`` has the differences of ``p(x_A, x_B)`` and is normalised."""
    g = torch.Generator().manual_seed(0)
    a = torch.randn(3, 4, 4, generator=g, dtype=torch.float64)
    covariances = a @ a.mT + 0.3 * torch.eye(4, dtype=torch.float64)
    means = torch.randn(3, 4, generator=g, dtype=torch.float64)
    target = GaussianMixture(means, covariances=covariances, weights=[1, 2, 3])
    hidden = torch.tensor([True, False, True, False])
    x = torch.randn(50, 4, generator=g, dtype=torch.float64)
    x[:, ~hidden] = x[0, ~hidden]
    law = target.conditional(x[0], hidden)
    gap = law.log_prob(x[:, hidden]) - target.log_prob(x)
    assert (gap - gap[0]).abs().max() < 1e-10
    grid = Grid.box([-30.0, -30.0], [30.0, 30.0], 400)
    assert abs(log_z(law, grid)) < 1e-6


def test_a_conditional_far_from_all_parts_is_one_of_them():
    eye = torch.eye(2, dtype=torch.float64)
    parts = torch.stack([eye, 4 * eye])
    target = GaussianMixture([[0.0, -1.0], [0.0, 1.0]], covariances=parts)
    law = target.conditional(torch.tensor([1e3, 0.0]), torch.tensor([False, True]))
    assert law.weights.tolist() == pytest.approx([0, 1])
    assert law.means[1].item() == 1


def test_ring_is_the_curve_of_a_circle():
    def circle(t):
        return 1.5 * torch.stack([(2 * math.pi * t).cos(), (2 * math.pi * t).sin()], 1)

    x = GRID[::97] / 2
    torch.testing.assert_close(Curve(circle, 0.2)(x), Ring(1.5, 0.2)(x), rtol=0, atol=1e-6)


def test_ring_is_flat_at_its_centre():
    _, grad = energy_and_grad(Ring(1.0, 0.3), torch.zeros(1, 2, dtype=torch.float64))
    assert grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("std", [0.02, 0.1, 1.0])
def test_curve_density_agrees_with_a_fine_rule_within_ten_standard_deviations(std):
    target = Curve(half_moon, std)
    noise = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    far = 10 * std * noise / noise.norm(dim=1, keepdim=True)
    x = half_moon(torch.linspace(0, 1, 12, dtype=torch.float64)) + far
    fine = half_moon((torch.arange(10**6, dtype=torch.float64) + 0.5) / 10**6)
    sums = [torch.logsumexp(-((p - fine) ** 2).sum(1) / (2 * std**2), 0) for p in x]
    exact = torch.stack(sums) - math.log(10**6 * 2 * math.pi * std**2)
    torch.testing.assert_close(target.log_prob(x), exact, rtol=0, atol=1e-6)


def test_curve_in_chunks_is_the_curve_at_once(monkeypatch):
    target = Curve(half_moon, 0.1)
    x = GRID[::101]
    whole = target(x)
    monkeypatch.setattr("wgflow.data.toys.ENTRIES", 7 * len(target.nodes))
    torch.testing.assert_close(target(x), whole, rtol=0, atol=1e-12)


def test_moons_are_those_of_scikit_learn():
    points, _ = make_moons(200, shuffle=False)
    t = torch.linspace(0, 1, 100, dtype=torch.float64)
    moons = torch.cat([part.curve(t) for part in TOYS["moons"]().parts])
    torch.testing.assert_close(
        moons, torch.from_numpy(points) - torch.tensor([0.5, 0.25]).double()
    )


def test_pinwheel_turns_its_arms_by_the_square_of_the_radius():
    straight, turned = Pinwheel(twist=0.0), Pinwheel(twist=0.25)
    angle = 0.25 * 1.5**2
    on_arm = torch.tensor([[1.5, 0.0]], dtype=torch.float64)
    image = 1.5 * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    torch.testing.assert_close(turned(image), straight(on_arm))


def test_pinwheel_arms_point_outwards():
    target = Pinwheel(radius=6.0, length=0.6, width=0.2, twist=0.0)
    angle = torch.tensor(2 * math.pi / 5, dtype=torch.float64)
    out = torch.stack([angle.cos(), angle.sin()])
    across = torch.stack([-angle.sin(), angle.cos()])
    x = torch.stack([6 * out, 6.6 * out, 6 * out + 0.2 * across])
    peak, along, beside = target.log_prob(x).tolist()
    assert peak - along == pytest.approx(0.5)
    assert peak - beside == pytest.approx(0.5)


def test_banana_has_its_moments():
    target = Banana(scale=2.0, width=0.5, curvature=0.3)
    generator = torch.Generator().manual_seed(12)
    x1, x2 = target.sample(20_000, dtype=torch.float64, generator=generator).unbind(1)
    assert z_score(x1**2, 2**2).abs() < 4
    assert z_score(x2, 0).abs() < 4
    assert z_score(x2**2, 0.5**2 + 2 * 0.3**2 * 2**4).abs() < 4
    assert z_score(x1**2 * x2, 2 * 0.3 * 2**4).abs() < 4


def test_checkerboard_is_one_eighth_on_dark_cells_and_nothing_else():
    x = torch.tensor([[-1.5, -1.5], [0.5, 0.5], [0.5, -0.5], [2.5, 0.5], [2.0, 0.0], [-2.0, 0.0]])
    eighth = -math.log(8)
    inf = float("inf")
    expected = torch.tensor([eighth, eighth, -inf, -inf, -inf, eighth])
    torch.testing.assert_close(Checkerboard().log_prob(x), expected)


def test_checkerboard_samples_stay_on_dark_cells_in_single_precision():
    x = Checkerboard().sample(500_000, generator=torch.Generator().manual_seed(10))
    _, grad = energy_and_grad(Checkerboard(), x)
    assert Checkerboard().log_prob(x).isfinite().all()
    assert not grad.any()


def test_mixture_samples_come_in_random_order():
    target = TargetMixture([Ring(0.0, 0.1), Ring(3.0, 0.1)], [1.0, 3.0])
    x = target.sample(20_000, generator=torch.Generator().manual_seed(11))
    outer = (x.norm(dim=1) > 1.5).double()
    for half in outer.chunk(2):
        assert z_score(half, 0.75).abs() < 4


@pytest.mark.parametrize("name", PLANAR)
def test_same_seed_same_samples(name):
    target = PLANAR[name]()
    first, second = (target.sample(9, generator=torch.Generator().manual_seed(3)) for _ in "ab")
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Gaussian([0.0], [[1.0, 0.0], [0.0, 1.0]]),
            r"must have shape \(1, 1\)",
        ),
        (lambda: Gaussian([[0.0]], [[1.0]]), "`mean` must have 1 axes"),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "got -1 as its smallest"),
        (lambda: Gaussian([0.0, 0.0], [[2.0, 0.9], [0.0, 2.0]]), "symmetric positive definite"),
        (lambda: GaussianMixture([[0.0]]), "`std` or `covariances`: got neither"),
        (lambda: GaussianMixture([[0.0]], 1.0, covariances=[[[1.0]]]), "got both"),
        (lambda: GaussianMixture([[0.0]], 0.0), "`std` must be > 0"),
        (lambda: GaussianMixture([[0.0]], 1.0, weights=[0.5, 0.5]), "must be 1 numbers"),
        (
            lambda: GaussianMixture([[0.0], [1.0]], 1.0, weights=[1.0, 0.0]),
            "must be 2 numbers > 0",
        ),
        (lambda: TargetMixture([Funnel(2), Funnel(3)]), r"got \[2, 3\]"),
        (lambda: Funnel(1), "`dim` must be ≥ 2: got 1"),
        (lambda: Ring(-1.0, 0.1), "`radius` must be ≥ 0 and finite: got -1"),
        (lambda: Ring(1.0, 0.0), "`std` must be > 0"),
        (lambda: Pinwheel(0), "`arms` must be > 0"),
        (lambda: Ring(1.0, 0.1)(torch.zeros(5, 1)), r"\(batch, 2\): got \(5, 1\)"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
