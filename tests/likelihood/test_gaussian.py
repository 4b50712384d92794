"""Closed forms against simulation, ODEs, direct minimisation and quadrature; quadrature itself."""

import math

import numpy as np
import ot
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from torch.distributions import MultivariateNormal, kl_divergence

from wgflow.likelihood.gaussian import (
    GaussianLaw,
    bures,
    gaussian_fisher,
    gaussian_kl,
    jko_scale,
    optimal_map,
    optimal_matrix,
    ou_law,
    psd_sqrt,
    ula_law,
    ula_stationary,
)
from wgflow.likelihood.quadrature import (
    Grid,
    fisher,
    kl,
    kl_both,
    kl_gap,
    log_density,
    log_z,
    tabulate,
)

F64 = torch.float64


def law(seed, dim=3):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(dim, dim, generator=generator, dtype=F64)
    mean = torch.randn(dim, generator=generator, dtype=F64)
    return GaussianLaw(mean, root @ root.T + 0.3 * torch.eye(dim, dtype=F64))


def line(mean, variance):
    return GaussianLaw(torch.tensor([mean], dtype=F64), torch.tensor([[variance]], dtype=F64))


def point(*x):
    return GaussianLaw(torch.tensor(x, dtype=F64), torch.zeros(len(x), len(x), dtype=F64))


def energy_of(p):
    precision = torch.linalg.inv(p.covariance)
    return lambda x: ((x - p.mean) @ precision * (x - p.mean)).sum(1) / 2


def log_z_of(p):
    return (len(p.mean) * math.log(2 * math.pi) + torch.logdet(p.covariance)) / 2


def same(p, q, tolerance=1e-10):
    torch.testing.assert_close(p.mean, q.mean, rtol=0, atol=tolerance)
    torch.testing.assert_close(p.covariance, q.covariance, rtol=0, atol=tolerance)


# ULA and OU ------------------------------------------------------------------------------------


def simulate_ula(target, x, step, steps, generator):
    precision = torch.linalg.inv(target.covariance)
    for _ in range(steps):
        noise = torch.randn(x.shape, generator=generator, dtype=F64)
        x = x - step * (x - target.mean) @ precision + math.sqrt(2 * step) * noise
    return x


@pytest.mark.parametrize("steps", [1, 7, 60])
def test_ula_law_is_the_law_of_the_simulated_chain(steps):
    generator = torch.Generator().manual_seed(steps)
    target = GaussianLaw(torch.tensor([1.0, -2.0], dtype=F64), law(4, 2).covariance)
    step, chains = 0.7 * float(torch.linalg.eigvalsh(target.covariance)[0]), 40_000
    start = torch.tensor([3.0, 0.5], dtype=F64)
    x = simulate_ula(target, start.expand(chains, 2), step, steps, generator)
    expected = ula_law(point(3.0, 0.5), target, step, steps)
    variance = expected.covariance.diagonal()
    z_mean = (x.mean(0) - expected.mean) / (variance / chains).sqrt()
    z_variance = (x.var(0) - variance) / (variance * math.sqrt(2 / chains))
    correlation = expected.covariance[0, 1] ** 2 + variance[0] * variance[1]
    z_cross = (torch.cov(x.T)[0, 1] - expected.covariance[0, 1]) / (correlation / chains).sqrt()
    z = torch.cat([z_mean, z_variance, z_cross[None]])
    assert z.abs().max() < 4, z


def test_ula_variance_has_the_known_bias():
    stationary = ula_stationary(line(0.0, 1 / 2.5), 0.3)
    assert float(stationary.covariance) == pytest.approx(2 / (2.5 * (2 - 0.3 * 2.5)), rel=1e-14)


def test_ula_stationary_law_is_a_fixed_point_and_the_limit():
    target, step = law(1), 0.2
    stationary = ula_stationary(target, step)
    same(ula_law(stationary, target, step, 1), stationary)
    same(ula_law(law(2), target, step, 5000), stationary, 1e-9)


def test_ula_steps_compose():
    target = law(1)
    halfway = ula_law(law(2), target, 0.2, 3)
    same(ula_law(halfway, target, 0.2, 4), ula_law(law(2), target, 0.2, 7))


def test_ula_tends_to_ou_at_order_one():
    start, target = law(2), law(1)
    exact = ou_law(start, target, 1.0).covariance
    errors = [
        float((ula_law(start, target, 1 / n, n).covariance - exact).norm()) for n in (200, 400)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.02)


def test_ou_law_solves_the_equations_of_the_moments():
    start, target, time = law(2), law(1), 0.8
    precision = torch.linalg.inv(target.covariance).numpy()
    b = target.mean.numpy()

    def rate(_, moments):
        mean, covariance = moments[:3], moments[3:].reshape(3, 3)
        spread = 2 * np.eye(3) - precision @ covariance - covariance @ precision
        return np.concatenate([-precision @ (mean - b), spread.ravel()])

    moments = np.concatenate([start.mean.numpy(), start.covariance.numpy().ravel()])
    end = solve_ivp(rate, (0, time), moments, rtol=1e-11, atol=1e-12, method="LSODA").y[:, -1]
    result = ou_law(start, target, time)
    np.testing.assert_allclose(result.mean.numpy(), end[:3], atol=1e-8)
    np.testing.assert_allclose(result.covariance.numpy(), end[3:].reshape(3, 3), atol=1e-8)


def test_ou_law_starts_at_the_start_and_ends_at_the_target():
    same(ou_law(law(2), law(1), 0.0), law(2))
    same(ou_law(law(2), law(1), 1000.0), law(1))


def test_fisher_information_is_the_dissipation_along_ou():
    start, target, h = law(2), law(1), 1e-4
    entropy = [gaussian_kl(ou_law(start, target, t), target) for t in (0.5 - h, 0.5 + h)]
    slope = float(entropy[1] - entropy[0]) / (2 * h)
    dissipation = float(gaussian_fisher(ou_law(start, target, 0.5), target))
    assert slope == pytest.approx(-dissipation, rel=1e-6)


# JKO -------------------------------------------------------------------------------------------

JKO = [(0.2, 1.0, 0.1), (3.0, 0.5, 1.0), (1.0, 4.0, 25.0), (0.0, 2.0, 0.01)]


@pytest.mark.parametrize(("s", "precision", "h"), JKO)
def test_jko_scale_is_stationary(s, precision, h):
    new = float(jko_scale(torch.tensor(s, dtype=F64), precision, h))
    assert precision * new - 1 / new + (new - s) / h == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("s", "precision", "h"), JKO)
def test_jko_scale_minimises_entropy_plus_transport(s, precision, h):
    target, start = line(0.0, 1 / precision), line(0.0, s**2)

    def objective(new):
        moved = line(0.0, new**2)
        return float(gaussian_kl(moved, target) + bures(moved, start) ** 2 / (2 * h))

    best = minimize_scalar(objective, bounds=(1e-3, 5), method="bounded", options={"xatol": 1e-9})
    assert float(jko_scale(torch.tensor(s, dtype=F64), precision, h)) == pytest.approx(
        best.x, abs=2e-6
    )


def test_jko_steps_follow_ou_at_order_one():
    exact = float(ou_law(line(0.0, 9.0), line(0.0, 0.5), 0.5).covariance.sqrt())

    def error(n):
        s = torch.tensor(3.0, dtype=F64)
        for _ in range(n):
            s = jko_scale(s, 2.0, 0.5 / n)
        return abs(float(s) - exact)

    assert math.log2(error(400) / error(800)) == pytest.approx(1, abs=0.02)


# Bures, KL, Fisher information -----------------------------------------------------------------


def test_psd_sqrt_squares_back_and_is_psd():
    matrix = law(5, 6).covariance
    root = psd_sqrt(matrix)
    torch.testing.assert_close(root @ root, matrix)
    torch.testing.assert_close(root, root.T)
    assert torch.linalg.eigvalsh(root)[0] > 0


def test_psd_sqrt_of_a_singular_matrix():
    ones = torch.ones(3, 3, dtype=F64)
    torch.testing.assert_close(psd_sqrt(ones), ones / math.sqrt(3))


def test_bures_of_commuting_laws_is_the_distance_of_their_scales():
    p = GaussianLaw(
        torch.tensor([0.0, 3.0], dtype=F64), torch.diag(torch.tensor([4.0, 1.0])).to(F64)
    )
    q = GaussianLaw(
        torch.tensor([1.0, 3.0], dtype=F64), torch.diag(torch.tensor([9.0, 0.0])).to(F64)
    )
    assert float(bures(p, q)) == pytest.approx(math.sqrt(1 + (3 - 2) ** 2 + 1**2), rel=1e-14)


def test_bures_agrees_with_pot_and_is_symmetric():
    p, q = law(6, 5), law(7, 5)
    peer = ot.gaussian.bures_wasserstein_distance(p.mean, q.mean, p.covariance, q.covariance)
    assert float(bures(p, q)) == pytest.approx(float(peer), rel=1e-10)
    assert float(bures(p, q)) == pytest.approx(float(bures(q, p)), rel=1e-12)


def test_bures_keeps_its_digits_between_close_laws():
    p = law(6)
    assert float(bures(p, p)) < 1e-12
    shifted = GaussianLaw(p.mean + 1e-9, p.covariance)
    assert float(bures(p, shifted)) == pytest.approx(1e-9 * math.sqrt(3), rel=1e-3)


def test_optimal_map_pushes_the_law_and_costs_the_bures_distance():
    p, q = law(6), law(7)
    matrix = optimal_matrix(p, q)
    torch.testing.assert_close(matrix @ p.covariance @ matrix, q.covariance)
    torch.testing.assert_close(optimal_map(p.mean[None], p, q)[0], q.mean)
    assert torch.linalg.eigvalsh(matrix)[0] > 0
    step = torch.eye(3, dtype=F64) - matrix
    cost = torch.trace(step @ p.covariance @ step) + (p.mean - q.mean).square().sum()
    assert float(bures(p, q) ** 2) == pytest.approx(float(cost), rel=1e-10)


def test_optimal_map_moves_points_by_its_matrix():
    p, q = law(6), law(7)
    x = torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([q.mean + optimal_matrix(p, q) @ (row - p.mean) for row in x])
    torch.testing.assert_close(optimal_map(x, p, q), expected)


def test_gaussian_kl_agrees_with_torch():
    p, q = law(6, 4), law(7, 4)
    peer = kl_divergence(
        MultivariateNormal(p.mean, p.covariance), MultivariateNormal(q.mean, q.covariance)
    )
    assert float(gaussian_kl(p, q)) == pytest.approx(float(peer), rel=1e-12)
    assert float(gaussian_kl(p, p)) == pytest.approx(0, abs=1e-12)


P2 = GaussianLaw(
    torch.tensor([0.3, -0.2], dtype=F64), torch.tensor([[1.0, 0.4], [0.4, 0.6]], dtype=F64)
)
Q2 = GaussianLaw(
    torch.tensor([-0.5, 0.4], dtype=F64), torch.tensor([[0.8, -0.2], [-0.2, 1.3]], dtype=F64)
)
GRID2 = Grid.box([-9.0, -9.0], [9.0, 9.0], 120)
PAIRS = [
    pytest.param(line(0.4, 0.7), line(-0.6, 2.0), Grid.box([-14.0], [14.0], 400), id="1-D"),
    pytest.param(P2, Q2, GRID2, id="2-D"),
]


@pytest.mark.parametrize(("p", "q", "grid"), PAIRS)
def test_gaussian_kl_agrees_with_quadrature(p, q, grid):
    log_p, log_q = log_density(energy_of(p), grid), log_density(energy_of(q), grid)
    assert float(kl(log_p, log_q, grid)) == pytest.approx(float(gaussian_kl(p, q)), abs=1e-9)


@pytest.mark.parametrize(("p", "q", "grid"), PAIRS)
def test_gaussian_fisher_agrees_with_quadrature(p, q, grid):
    result = float(fisher(energy_of(p), energy_of(q), grid))
    assert result == pytest.approx(float(gaussian_fisher(p, q)), abs=1e-9)


# Quadrature ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "q", "grid"), PAIRS)
def test_log_z_of_gaussians_and_of_a_mixture(p, q, grid):
    def mixture(x):
        parts = [-energy_of(p)(x) + math.log(2.0), -energy_of(q)(x) + math.log(0.1)]
        return -torch.stack(parts).logsumexp(0)

    expected = torch.logaddexp(log_z_of(p) + math.log(2.0), log_z_of(q) + math.log(0.1))
    assert float(log_z(energy_of(p), grid)) == pytest.approx(float(log_z_of(p)), abs=1e-6)
    assert float(log_z(mixture, grid)) == pytest.approx(float(expected), abs=1e-6)


def test_box_holds_cell_centers_and_their_volume():
    grid = Grid.box([0.0, 10.0], [2.0, 14.0], 2)
    expected = torch.tensor([[0.5, 11.0], [0.5, 13.0], [1.5, 11.0], [1.5, 13.0]], dtype=F64)
    assert torch.equal(grid.nodes, expected)
    assert grid.volume == 2.0


def test_log_density_integrates_to_one_whatever_the_offset():
    shifted = log_density(lambda x: energy_of(P2)(x) + 1e4, GRID2)
    assert float(shifted.exp().sum() * GRID2.volume) == pytest.approx(1, abs=1e-10)
    torch.testing.assert_close(shifted, log_density(energy_of(P2), GRID2), rtol=0, atol=1e-8)


def test_chunks_change_nothing():
    grid = Grid.box([-9.0, -9.0], [9.0, 9.0], 120, chunk=977)
    p, q = energy_of(P2), energy_of(Q2)
    torch.testing.assert_close(log_z(p, grid), log_z(p, GRID2))
    torch.testing.assert_close(fisher(p, q, grid), fisher(p, q, GRID2))


def test_chunks_bound_what_an_energy_sees():
    sizes = []
    log_z(
        lambda x: sizes.append(len(x)) or x.square().sum(1), Grid.box([-5.0], [5.0], 100, chunk=40)
    )
    assert sizes == [40, 40, 20]


def test_quadrature_leaves_no_graph_on_parameters():
    scale = torch.ones((), dtype=F64, requires_grad=True)
    assert not log_z(lambda x: scale * x.square().sum(1), GRID2).requires_grad
    assert not fisher(lambda x: scale * x.square().sum(1), energy_of(Q2), GRID2).requires_grad
    assert scale.grad is None


def test_a_float32_energy_is_summed_in_float64():
    grid = Grid.box([-9.0, -9.0], [9.0, 9.0], 120, dtype=torch.float32)
    result = log_z(lambda x: x.square().sum(1) / 2, grid)
    assert result.dtype == F64
    assert float(result) == pytest.approx(math.log(2 * math.pi), abs=1e-6)


def uniform(low, high):
    def log_prob(x):
        inside = ((x > low) & (x < high)).all(1)
        return torch.where(inside, x.new_tensor(-math.log(high - low)), -math.inf)

    return log_prob


def test_kl_where_densities_vanish():
    grid = Grid.box([0.0], [4.0], 64)
    narrow, wide = (tabulate(uniform(0.0, b), grid.nodes) for b in (1.0, 4.0))
    assert float(kl(narrow, wide, grid)) == pytest.approx(math.log(4), abs=1e-12)
    assert float(kl(wide, narrow, grid)) == math.inf


def test_kl_both_ways_tells_forward_from_reverse():
    model, target = line(0.2, 0.5), line(0.0, 1.5)
    result = kl_both(
        energy_of(model), lambda x: -energy_of(target)(x) - log_z_of(target), PAIRS[0].values[2]
    )
    assert float(result.forward) == pytest.approx(float(gaussian_kl(target, model)), abs=1e-9)
    assert float(result.reverse) == pytest.approx(float(gaussian_kl(model, target)), abs=1e-9)


def test_kl_gap_estimates_forward_kl_with_its_error():
    generator = torch.Generator().manual_seed(3)
    root = torch.linalg.cholesky(P2.covariance)
    exact = float(gaussian_kl(P2, Q2))
    results = []
    for _ in range(200):
        x = P2.mean + torch.randn(500, 2, generator=generator, dtype=F64) @ root.T
        target = lambda x: -energy_of(P2)(x) - log_z_of(P2)  # noqa: E731
        results.append(kl_gap(lambda x: energy_of(Q2)(x) + 7, target, x, GRID2))
    z = torch.stack([(r.value - exact) / r.error for r in results])
    assert abs(float(z.mean())) < 4 / math.sqrt(200)
    assert float(z.std()) == pytest.approx(1, abs=4 / math.sqrt(400))


def test_kl_gap_of_the_truth_is_zero():
    x = torch.randn(50, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    result = kl_gap(energy_of(P2), lambda x: -energy_of(P2)(x) - log_z_of(P2), x, GRID2)
    assert abs(float(result.value)) < 1e-9
    assert float(result.error) < 1e-9


def test_fisher_ignores_nodes_without_mass():
    def chi(x):  # p ∝ x³ exp(-x²/2) for x > 0; its gradient at x < 0 is NaN
        return (x.square() / 2 - 3 * (x * (x > 0)).log()).sum(1)

    result = fisher(chi, lambda x: x.square().sum(1) / 2, Grid.box([-9.0], [9.0], 2000))
    assert float(result) == pytest.approx(9 / 2, abs=1e-4)  # E|3/x|² where E[1/x²] = 1/2


# Errors ----------------------------------------------------------------------------------------

SKEW = torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=F64)
ERRORS = [
    (
        lambda: GaussianLaw(torch.zeros(2), torch.eye(3)),
        r"`covariance` must be \(2, 2\) .* \(3, 3\)",
    ),
    (lambda: GaussianLaw(torch.zeros(2, dtype=F64), SKEW), "must be symmetric.* got a gap of 0.5"),
    (lambda: psd_sqrt(torch.diag(torch.tensor([1.0, -2.0]))), r"semi-definite.* eigenvalue -2\.0"),
    (lambda: bures(law(1, 2), law(1, 3)), "must be equal: got 2 and 3"),
    (
        lambda: gaussian_kl(point(0.0), line(0.0, 1.0)),
        r"must be nonsingular: got 0\.0",
    ),
    (lambda: gaussian_fisher(line(0.0, 1.0), point(0.0)), "must be nonsingular"),
    (lambda: optimal_matrix(point(0.0), line(0.0, 1.0)), "must be nonsingular"),
    (lambda: ou_law(law(1), law(2), -0.1), r"expected >= 0, got -0\.1"),
    (lambda: ula_stationary(line(0.0, 0.5), 1.0), r"`step` must be between 0 and 1\.0: got 1\.0"),
    (lambda: ula_law(law(1), law(2), 0.01, -1), "`steps` must be ≥ 0 and finite: got -1"),
    (lambda: jko_scale(torch.tensor(1.0), 1.0, 0.0), r"`step` must be > 0 and finite: got 0\.0"),
    (lambda: Grid.box([0.0], [0.0], 4), r"must be < `high`.* got \(0\.0,\) and \(0\.0,\)"),
    (lambda: Grid.box([0.0], [1.0, 2.0], 4), "of the same axes"),
    (lambda: Grid.box([0.0], [1.0], 0), "`points` must be > 0 and finite: got 0"),
    (lambda: log_z(lambda x: x, GRID2), r"must return shape \(14400,\): got \(14400, 2\)"),
    (lambda: log_z(lambda x: x[:, 0] * math.nan, GRID2), "got 14400 NaN"),
    (lambda: log_z(lambda x: x[:, 0] * 0 + math.inf, GRID2), "must be finite: got -inf"),
    (
        lambda: kl(torch.zeros(3), torch.zeros(14400), GRID2),
        r"must have shape \(14400,\): got \(3,\)",
    ),
    (
        lambda: kl_both(lambda x: x[:, 0] ** 2, uniform(0.0, 9.0), Grid.box([0.0], [3.0], 50)),
        r"must hold p: got mass 0\.3333",
    ),
    (
        lambda: kl_gap(energy_of(P2), energy_of(P2), torch.zeros(1, 2, dtype=F64), GRID2),
        "2 or more: got 1",
    ),
    (
        lambda: fisher(lambda x: x.abs().sqrt().sum(1), energy_of(line(0.0, 1.0)), ODD),
        "finite where p > 0: got 1",
    ),
]
ODD = Grid.box([-1.5], [1.5], 3)  # a node at the kink


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(call, match):
    with pytest.raises(ValueError, match=match):
        call()
