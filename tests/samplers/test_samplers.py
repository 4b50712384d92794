"""Samplers: exact laws with their bias, invariance, defining equations, order and seeds."""

import math
from itertools import islice

import pytest
import torch
from problems import F64, PROBLEMS, double, seeded, z_score
from scipy.stats import gaussian_kde
from torch.distributions import Normal

from wgflow.data.targets import two_gaussians_50d
from wgflow.energies.base import energy_and_grad
from wgflow.likelihood.gaussian import GaussianLaw, ula_law, ula_stationary
from wgflow.samplers import (
    HMC,
    MALA,
    ULA,
    CrankNicolson,
    Independence,
    Info,
    Underdamped,
    advance,
    iterate,
    refresh,
    sample,
)
from wgflow.samplers.independence import exchangeable, fitted_width, log_sum_exp, silverman

ANCHORS = 1.5 * torch.randn(6, 2, dtype=F64, generator=seeded(9)) + 0.5
METROPOLIS = {
    "mala": MALA(0.15, adaptation=0.0),
    "coarse mala": MALA(0.5, adaptation=0.0),
    "crank-nicolson": CrankNicolson(0.2, width=0.8, adaptation=0.0),
    "coarse crank-nicolson": CrankNicolson(0.5, width=0.6, adaptation=0.0),
    "hmc": HMC(0.45, leapfrog=3, adaptation=0.0),
    "one leapfrog": HMC(0.8, leapfrog=1, adaptation=0.0),
    "independence": Independence(ANCHORS, 1.0),
}
UNADJUSTED = {
    "ula": ULA(0.04),
    "underdamped": Underdamped(0.25, friction=2.0),
    "free": Underdamped(0.25, friction=0.1),
}
SAMPLERS = {**METROPOLIS, **UNADJUSTED}
LEAPFROG_ONLY = 1e-300  # friction: the momenta are not touched


def quadratic(precision):
    return lambda x: precision * x.flatten(1).square().sum(1) / 2


def flat(x):
    return x.flatten(1).sum(1) * 0


def quartic(x):
    x = x.flatten(1)
    return (x**4 / 4).sum(1) + x.sum(1).cos()


def normal(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, dtype=dtype, generator=seeded(seed))


def run(sampler, energy, x, steps, seed=1):
    """The last state and the accumulated log-weight of each chain."""
    chain = list(islice(iterate(sampler, energy, x, generator=seeded(seed)), steps))
    return chain[-1][0], torch.stack([info.log_weight for _, info in chain]).sum(0)


def variance_z(x, variance):
    """z-score of the second moment of normal numbers of mean zero."""
    return (float(x.square().mean()) / variance - 1) * math.sqrt(x.numel() / 2)


# Invariance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_know_their_moments(name):
    problem = PROBLEMS[name]
    statistics = problem.statistics(problem.draw(20_000))
    assert z_score(statistics, problem.expected).abs().max() < 4


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_weighted_chains_keep_the_target(name, problem):
    problem = PROBLEMS[problem]
    x = problem.draw(20_000, seed=2)
    state, log_weight = run(SAMPLERS[name], problem.target, x, 6)
    centred = problem.statistics(state.x) - problem.expected
    assert z_score(log_weight.exp()[:, None] * centred, 0).abs().max() < 4
    assert (state.x != x).any(1).double().mean() > 0.5


@pytest.mark.parametrize("name", METROPOLIS)
def test_a_metropolis_kernel_owes_nothing(name):
    problem = PROBLEMS["banana"]
    _, log_weight = run(METROPOLIS[name], problem.target, problem.draw(50), 3)
    assert not log_weight.any()


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", UNADJUSTED)
def test_work_obeys_jarzynski(name, problem):
    problem = PROBLEMS[problem]
    _, log_weight = run(UNADJUSTED[name], problem.target, problem.draw(20_000, seed=3), 6)
    assert abs(float(z_score(log_weight.exp(), 1))) < 4
    assert log_weight.std() > 0.01


@pytest.mark.parametrize("name", METROPOLIS)
def test_moves_happen_as_often_as_acceptance_says(name):
    problem = PROBLEMS["two_modes"]
    x = problem.draw(20_000, seed=4)
    state, info = next(iterate(METROPOLIS[name], problem.target, x, generator=seeded(5)))
    moved = (state.x != x).any(1).double()
    assert 0.05 < float(moved.mean()) < 0.99
    assert abs(float(z_score(moved - info.acceptance, 0))) < 4
    fast = info.acceptance > 0.7
    assert abs(float(z_score((moved - info.acceptance)[fast], 0))) < 4


def rayleigh(x):  # NaN where x < 0
    return (x**2 / 2 - x.log()).sum(1)


def half_normal(x):  # infinite where x < 0
    return torch.where(x > 0, x**2 / 2, math.inf).sum(1)


@pytest.mark.parametrize(
    ("energy", "mean", "square"),
    [(rayleigh, math.sqrt(math.pi / 2), 2.0), (half_normal, math.sqrt(2 / math.pi), 1.0)],
)
@pytest.mark.parametrize("sampler", [MALA(0.3, adaptation=0.0), HMC(0.5, 3, adaptation=0.0)])
def test_moves_out_of_the_support_are_rejected(sampler, energy, mean, square):
    z = normal(20_000, 2, seed=6)
    x = (z.norm(dim=1) if energy is rayleigh else z[:, 0].abs())[:, None]
    state, _ = run(sampler, energy, x, 6)
    assert state.x.min() > 0
    assert abs(float(z_score(state.x, mean))) < 4
    assert abs(float(z_score(state.x**2, square))) < 4


@pytest.mark.parametrize("sampler", [MALA(0.5), HMC(0.8, 3)])
def test_a_proposal_without_energy_counts_as_rejected_by_adaptation(sampler):
    x = normal(300, 2, seed=6).norm(dim=1, keepdim=True)
    state, info = next(iterate(sampler, rayleigh, x, generator=seeded(2)))
    assert (info.acceptance == 0).any()
    assert info.acceptance.isfinite().all()
    assert state.step_size.isfinite()


# Overdamped Langevin ---------------------------------------------------------------------------

TARGET = GaussianLaw(double([1.0, -0.5]), double([[1.0, 0.6], [0.6, 0.8]]))
DESCENT = PROBLEMS["gaussian"].target


@pytest.mark.parametrize("steps", [1, 4, 30])
def test_ula_has_its_exact_law(steps):
    chains, step = 20_000, 0.2
    start = GaussianLaw(double([3.0, 0.5]), torch.zeros(2, 2, dtype=F64))
    x = sample(ULA(step), DESCENT, start.mean.expand(chains, 2), steps, generator=seeded(steps))
    law = ula_law(start, TARGET, step, steps)
    whitened = torch.linalg.solve(torch.linalg.cholesky(law.covariance), (x - law.mean).T).T
    products = torch.stack([whitened[:, 0] ** 2, whitened.prod(1), whitened[:, 1] ** 2], 1)
    assert z_score(whitened, 0).abs().max() < 4
    assert z_score(products, double([1.0, 0.0, 1.0])).abs().max() < 4


@pytest.mark.parametrize(("precision", "step"), [(1.0, 0.5), (4.0, 0.4), (0.5, 1.0)])
def test_ula_keeps_its_biased_variance(precision, step):
    variance = 2 / (precision * (2 - step * precision))
    law = GaussianLaw(double([0.0]), double([[1 / precision]]))
    assert float(ula_stationary(law, step).covariance) == pytest.approx(variance)
    x = math.sqrt(variance) * normal(40_000, 1, seed=7)
    state, _ = run(ULA(step), quadratic(precision), x, 5)
    assert abs(variance_z(state.x, variance)) < 4
    assert abs(variance_z(state.x, 1 / precision)) > 10


def test_weights_undo_the_bias_of_ula():
    precision, step, steps = 1.5, 0.3, 12
    x = normal(40_000, 1, seed=8) / math.sqrt(precision)
    state, log_weight = run(ULA(step), quadratic(precision), x, steps)
    target = GaussianLaw(double([0.0]), double([[1 / precision]]))
    plain = float(ula_law(target, target, step, steps).covariance)
    assert abs(variance_z(state.x, plain)) < 4
    assert abs(variance_z(state.x, 1 / precision)) > 10
    weighted = log_weight.exp()[:, None] * (state.x**2 - 1 / precision)
    assert abs(float(z_score(weighted, 0))) < 4
    # On a Gaussian the log ratios telescope.
    telescoped = step * precision**2 / 4 * (x**2 - state.x**2).sum(1)
    torch.testing.assert_close(log_weight, telescoped, rtol=0, atol=1e-10)


@pytest.mark.parametrize("step", [0.1, 0.7, 1.0, 1.6])
def test_crank_nicolson_is_exact_for_its_gaussian(step):
    """Accepted always, whatever the step and the dimension; and correlated with the past by ρ."""
    width = 1.7
    x = width * normal(400, 100)
    sampler = CrankNicolson(step * width**2, width=width, adaptation=0.0)
    state, info = next(iterate(sampler, quadratic(1 / width**2), x, generator=seeded(1)))
    torch.testing.assert_close(info.acceptance, torch.ones(400, dtype=F64))
    assert abs(variance_z(state.x, width**2)) < 4
    products = (state.x * x).flatten() / width**2
    assert abs(float(z_score(products, 1 - step))) < 4


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_crank_nicolson_ratio_is_its_definition(problem):
    problem, step, width = PROBLEMS[problem], 0.3, 0.8
    target, x, rho = problem.target, problem.draw(200), 1 - 0.3 / 0.8**2

    def log_q(y, x):
        _, grad = energy_and_grad(target, x)
        center = rho * x + (1 - rho) * (x - width**2 * grad)
        return Normal(center, width * math.sqrt(1 - rho**2)).log_prob(y).sum(1)

    sampler = CrankNicolson(step, width=width, adaptation=0.0)
    state, info = next(iterate(sampler, target, x, generator=seeded(3)))
    moved = (state.x != x).any(1)
    y = state.x[moved]
    before = x[moved]
    expected = target(before) - target(y) + log_q(before, y) - log_q(y, before)
    torch.testing.assert_close(info.acceptance[moved], expected.exp().clamp(max=1))


def test_crank_nicolson_adapts_up_to_the_step_that_forgets():
    sampler = CrankNicolson(0.9, width=1.0, adaptation=0.5)
    state, _ = next(iterate(sampler, quadratic(1.0), normal(50, 2), generator=seeded(1)))
    assert float(state.step_size) == 1.0
    sharp, _ = next(iterate(sampler, quadratic(40.0), normal(50, 2), generator=seeded(1)))
    assert float(sharp.step_size) < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.0}, "`width` must be > 0"),
        (
            {"width": 0.5, "step_size": 0.5},
            r"`step_size` must be < 2 width² = 0\.5, to contract: got 0\.5",
        ),
        ({"target": 1.5}, "`target` must be between 0 and 1"),
    ],
)
def test_crank_nicolson_says_what_it_needs(options, message):
    with pytest.raises(ValueError, match=message):
        CrankNicolson(**options)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_langevin_ratio_is_its_definition(problem):
    problem, step = PROBLEMS[problem], 0.3
    target, x = problem.target, problem.draw(200)

    def log_q(y, x):
        _, grad = energy_and_grad(target, x)
        return Normal(x - step * grad, math.sqrt(2 * step)).log_prob(y).sum(1)

    ula, ula_info = next(iterate(ULA(step), target, x, generator=seeded(3)))
    y = ula.x
    expected = target(x) - target(y) + log_q(x, y) - log_q(y, x)
    torch.testing.assert_close(ula_info.log_weight, expected, rtol=0, atol=1e-10)
    mala, info = next(iterate(MALA(step, adaptation=0.0), target, x, generator=seeded(3)))
    torch.testing.assert_close(info.acceptance, expected.exp().clamp(max=1))
    torch.testing.assert_close(ula_info.acceptance, info.acceptance)
    moved = (mala.x != x).any(1, keepdim=True)
    assert torch.equal(mala.x, torch.where(moved, y, x))


# Kinetic ---------------------------------------------------------------------------------------


def verlet(energy, x, v, step, steps):
    for _ in range(steps):
        v = v - step / 2 * energy_and_grad(energy, x)[1]
        x = x + step * v
        v = v - step / 2 * energy_and_grad(energy, x)[1]
    return x, v


def hamiltonian(energy, x, v):
    return energy(x).detach() + v.flatten(1).square().sum(1) / 2


def flow(energy, state, steps):
    """The leapfrog map alone, through the public contract."""
    sampler = Underdamped(float(state.step_size), friction=LEAPFROG_ONLY)
    return next(islice(advance(sampler, energy, state), steps - 1, None))[0]


def start(energy, x, step):
    return Underdamped(step).init(energy, x, generator=seeded(4))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_leapfrog_is_of_order_two(problem):
    energy, x = PROBLEMS[problem].target, PROBLEMS[problem].draw(32)

    def ends(n):
        state = flow(energy, begin := start(energy, x, 1 / n), n)
        before = hamiltonian(energy, x, begin.momentum)
        return hamiltonian(energy, state.x, state.momentum) - before, state.x

    (coarse, x1), (fine, x2), (_, x4) = ends(64), ends(128), ends(256)
    assert float(coarse.norm() / fine.norm()) == pytest.approx(4, abs=0.15)
    assert float((x1 - x2).norm() / (x2 - x4).norm()) == pytest.approx(4, abs=0.15)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_leapfrog_is_reversible(problem):
    energy, x = PROBLEMS[problem].target, PROBLEMS[problem].draw(32)
    begin = start(energy, x, 0.2)
    there = flow(energy, begin, 25)
    back = flow(energy, there._replace(momentum=-there.momentum), 25)
    assert (there.x - x).norm() > 1
    torch.testing.assert_close(back.x, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(-back.momentum, begin.momentum, rtol=0, atol=1e-10)


def test_leapfrog_conserves_its_shadow_energy():
    precision, step = 2.0, 0.5
    begin = start(quadratic(precision), normal(16, 3), step)
    end = flow(quadratic(precision), begin, 1000)

    def shadow(s):
        return (s.momentum**2 + precision * (1 - step**2 * precision / 4) * s.x**2).sum(1)

    torch.testing.assert_close(shadow(end), shadow(begin), rtol=1e-10, atol=0)


def test_hmc_is_its_definition():
    energy, step, steps = PROBLEMS["banana"].target, 0.5, 4
    x = PROBLEMS["banana"].draw(400)
    sampler, generator = HMC(step, steps, adaptation=0.0), seeded(5)
    begin = sampler.init(energy, x, generator=generator)
    v = torch.randn(x.shape, dtype=F64, generator=seeded(0).set_state(generator.get_state()))
    state, info = sampler.step(energy, begin, generator=generator)
    y, w = verlet(energy, x, v, step, steps)
    ratio = (hamiltonian(energy, x, v) - hamiltonian(energy, y, w)).exp()
    torch.testing.assert_close(info.acceptance, ratio.clamp(max=1))
    moved = (state.x != x).any(1, keepdim=True)
    torch.testing.assert_close(state.x, torch.where(moved, y, x))
    assert 0.1 < float(moved.double().mean()) < 0.95


@pytest.mark.parametrize("step", [0.6, 1.2])
def test_underdamped_has_a_bias_of_order_two(step):
    precision = 1.5
    x = normal(20_000, 1, seed=1) / math.sqrt(precision)
    state, _ = run(Underdamped(step, friction=2.0), quadratic(precision), x, int(24 / step))
    assert abs(variance_z(state.x, 1 / (precision * (1 - step**2 * precision / 4)))) < 4
    assert abs(variance_z(state.x, 1 / precision)) > 10
    assert abs(variance_z(state.momentum, 1.0)) < 4
    cross = state.x * state.momentum
    assert abs(float(z_score(cross, 0))) < 4


def test_underdamped_work_is_the_error_of_leapfrog():
    step, precision = 0.7, 2.0
    begin = start(quadratic(precision), normal(16, 3), step)
    sampler = Underdamped(step, friction=LEAPFROG_ONLY)
    end, info = sampler.step(quadratic(precision), begin)
    lost = hamiltonian(quadratic(precision), begin.x, begin.momentum) - hamiltonian(
        quadratic(precision), end.x, end.momentum
    )
    torch.testing.assert_close(info.log_weight, lost, rtol=0, atol=1e-12)
    torch.testing.assert_close(info.acceptance, lost.exp().clamp(max=1))


def test_momenta_forget_at_the_rate_of_the_friction():
    step, friction = 0.5, 1.4
    begin = start(flat, torch.zeros(40_000, 1, dtype=F64), step)
    end, _ = Underdamped(step, friction).step(flat, begin, generator=seeded(6))
    kept = math.exp(-friction * step)
    assert abs(float(z_score(end.momentum * begin.momentum, kept))) < 4
    assert abs(variance_z(end.momentum, 1.0)) < 4
    assert abs(float(z_score(end.x * begin.momentum, step * math.sqrt(kept)))) < 4


@pytest.mark.parametrize(
    "sampler",
    [
        ULA(0.3),
        MALA(0.3),
        CrankNicolson(0.5, width=0.9),
        Underdamped(0.4, 50.0),
        HMC(0.3, leapfrog=4),
    ],
)
def test_time_is_half_the_mean_square_displacement_on_a_plain(sampler):
    begin = sampler.init(flat, torch.zeros(40_000, 1, dtype=F64), generator=seeded(7))
    end, _ = sampler.step(flat, begin, generator=seeded(8))
    assert abs(variance_z(end.x, 2 * sampler.time(begin))) < 4


@pytest.mark.parametrize("friction", [0.2, 3.0])
def test_time_of_momenta_that_last_is_what_a_step_adds_in_the_long_run(friction):
    sampler, generator = Underdamped(0.5, friction), seeded(7)
    begin = now = sampler.init(flat, torch.zeros(20_000, 1, dtype=F64), generator=generator)
    for _ in range(60):
        before, (now, _) = now, sampler.step(flat, now, generator=generator)
    added = now.x.square() - before.x.square()
    assert abs(float(z_score(added, 2 * sampler.time(begin)))) < 4
    assert sampler.time(begin) > 0.5**2 / 2


# Global moves ----------------------------------------------------------------------------------


def brute_force(anchors, s, x):
    parts = Normal(anchors.flatten(1), s).log_prob(x.flatten(1)[:, None]).sum(2)
    return parts.logsumexp(1) - math.log(len(anchors))


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("s", [0.05, 1.3])
def test_proposal_density_is_the_mixture(s, shape):
    anchors, x = normal(30, *shape, seed=1), normal(50, *shape, seed=2)
    expected = brute_force(anchors, s, x)
    result = Independence(anchors, s).log_density(x)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-10)


def test_chunks_do_not_matter():
    anchors, x = normal(2**17, 1, dtype=torch.float32), normal(5, 1, dtype=torch.float32)
    sampler = Independence(anchors, 0.5)
    whole = sampler.log_density(x)  # 4 and 1
    torch.testing.assert_close(whole[3:], sampler.log_density(x[3:]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_log_sum_exp_where_terms_underflow(scale, dtype):
    values = scale * normal(40, 3000, dtype=dtype)
    expected = values.logsumexp(1)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(log_sum_exp(values), expected, rtol=2 * eps, atol=8 * eps)


def test_proposals_have_their_law():
    x = Independence(ANCHORS, 0.7).propose(20_000, generator=seeded(3))
    assert z_score(x, ANCHORS.mean(0)).abs().max() < 4
    second = ANCHORS.T @ ANCHORS / len(ANCHORS) + 0.7**2 * torch.eye(2, dtype=F64)
    products = (x[:, :, None] * x[:, None]).flatten(1)
    assert z_score(products, second.flatten()).abs().max() < 4


@pytest.mark.parametrize(("count", "least", "most"), [(12, 3, 3), (10, 2, 4), (3, 0, 2)])
def test_proposals_take_anchors_equally_often(count, least, most):
    anchors = torch.arange(4, dtype=F64)[:, None]
    sampler, generator = Independence(anchors, 1e-9), seeded(5)
    rows = torch.stack([sampler.propose(count, generator=generator).round() for _ in range(2000)])
    times = (rows == anchors.T).sum(1)
    assert times.min() >= least
    assert times.max() <= most
    # Each proposal alone is of q, wherever it stands among the others.
    assert z_score((rows == anchors.T).double()[:, 0], 0.25).abs().max() < 4


def test_the_fitted_width_makes_points_likeliest():
    thin = torch.where(normal(400, 2, seed=7)[:, :1] > 0, 5.0, -5.0) + 0.1 * normal(400, 2, seed=8)
    for x in (thin, normal(400, 2, seed=9)):
        anchors, points = x[:300], x[300:]
        largest = silverman(anchors)
        found = fitted_width(anchors, points, largest)
        widths = [largest / math.sqrt(2) ** k for k in range(8)]
        means = [-brute_force(anchors, s, points).mean() for s in widths]
        assert found == pytest.approx(widths[int(torch.stack(means).argmin())])
    assert found > 0.6 * largest  # Silverman's is made for Gaussians
    assert fitted_width(thin[:300], thin[300:], silverman(thin)) < 0.3 * silverman(thin)


def test_the_independence_ratio_is_its_definition():
    target, x = PROBLEMS["two_modes"].target, PROBLEMS["two_modes"].draw(300)
    sampler = Independence(ANCHORS, 0.8)
    state, info = next(iterate(sampler, target, x, generator=seeded(4)))
    y = sampler.propose(300, generator=seeded(4))
    forward, backward = brute_force(ANCHORS, 0.8, y), brute_force(ANCHORS, 0.8, x)
    expected = (target(x) - target(y) + backward - forward).exp().clamp(max=1)
    torch.testing.assert_close(info.acceptance, expected)
    moved = (state.x != x).any(1, keepdim=True)
    assert torch.equal(state.x, torch.where(moved, y, x))


def test_global_moves_recover_the_masses_of_modes():
    target = two_gaussians_50d()  # 1/4 at -10, 3/4 at +6: no diffusion joins them
    x = target.means[0] + normal(4000, 50, seed=5)  # all in the lesser mode
    y = sample(Independence(target.means, 1.0), target, x, 25, generator=seeded(6))
    greater = (y[:, 0] > -2).double()
    assert abs(float(z_score(greater, 0.75))) < 4
    local = sample(MALA(0.02), target, x, 25, generator=seeded(6))
    assert not (local[:, 0] > -2).any()


def test_a_global_move_serves_the_state_of_any_sampler():
    target, x = PROBLEMS["two_modes"].target, PROBLEMS["two_modes"].draw(500)
    begin = Underdamped(0.3).init(target, x, generator=seeded(1))
    sampler = Independence(ANCHORS, 0.8)
    end, _ = sampler.step(target, begin, generator=seeded(2))
    assert type(end) is type(begin)
    jumped = (end.x != x).any(1)
    assert torch.equal(end.momentum[~jumped], begin.momentum[~jumped])
    assert (end.momentum[jumped] != begin.momentum[jumped]).all()  # fresh where they jump
    assert torch.equal(end.step_size, begin.step_size)
    assert 0 < jumped.sum() < len(jumped)
    assert sampler.time(begin) == 0
    _assert_cached(target, end)


@pytest.mark.parametrize(("n", "d"), [(2, 1), (100, 3)])
def test_silverman_agrees_with_scipy(n, d):
    x = normal(n, 1, seed=3).expand(n, d)  # every axis of one spread
    expected = float(x[:, 0].std()) * (4 / ((d + 2) * n)) ** (1 / (d + 4))
    assert silverman(x) == pytest.approx(expected, rel=1e-12)
    jittered = normal(n + d, d).numpy()
    factor = gaussian_kde(jittered.T).silverman_factor()
    spread = math.sqrt((jittered.var(0, ddof=1)).mean())
    assert silverman(torch.from_numpy(jittered)) == pytest.approx(spread * factor, rel=1e-12)


# Adaptation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [
        MALA(1e-3, adaptation=0.3),
        MALA(50.0, target=0.7, adaptation=0.3),
        HMC(1e-2, leapfrog=3, adaptation=0.3),
        HMC(8.0, leapfrog=3, target=0.8, adaptation=0.3),
    ],
)
def test_the_step_adapts_to_the_target_acceptance(sampler):
    problem = PROBLEMS["gaussian"]
    chain = iterate(sampler, problem.target, problem.draw(400), generator=seeded(1))
    last = [info.acceptance.mean() for _, info in islice(chain, 100, 150)]
    assert float(torch.stack(last).mean()) == pytest.approx(sampler.target, abs=0.02)


@pytest.mark.parametrize("kind", [MALA, HMC])
def test_one_update_of_the_step_is_its_formula(kind):
    problem = PROBLEMS["banana"]
    sampler = kind(0.4, target=0.6, adaptation=0.25)
    state, info = next(iterate(sampler, problem.target, problem.draw(50), generator=seeded(1)))
    expected = 0.4 * math.exp(0.25 * (float(info.acceptance.mean()) - 0.6))
    assert float(state.step_size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["mala", "hmc", "independence", "ula", "underdamped"])
def test_without_adaptation_the_step_stays(name):
    problem = PROBLEMS["banana"]
    state, _ = run(SAMPLERS[name], problem.target, problem.draw(50), 5)
    assert float(state.step_size) == SAMPLERS[name].step_size


# The contract ----------------------------------------------------------------------------------


def _assert_cached(energy, state):
    value, grad = energy_and_grad(energy, state.x)
    torch.testing.assert_close(state.energy, value)
    torch.testing.assert_close(state.grad, grad)


CONTRACT = {**SAMPLERS, "adaptive mala": MALA(0.2), "adaptive hmc": HMC(0.3)}


@pytest.mark.parametrize("name", CONTRACT)
def test_a_state_caches_the_energy_where_it_stands(name):
    problem = PROBLEMS["ring"]
    x = problem.draw(50)
    kept = x.clone()
    state, _ = run(CONTRACT[name], problem.target, x, 4)
    _assert_cached(problem.target, state)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_chain_is_its_seed_and_leaves_the_global_one_alone(name):
    problem = PROBLEMS["two_modes"]
    x = problem.draw(30)
    before = torch.get_rng_state()
    first, again, other = (
        sample(CONTRACT[name], problem.target, x, 5, generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", CONTRACT)
def test_sample_is_the_end_of_iterate(name):
    problem = PROBLEMS["two_modes"]
    x = problem.draw(30)
    chain = iterate(CONTRACT[name], problem.target, x, generator=seeded(1))
    thinned = [state.x for state, _ in islice(chain, 2, 9, 3)]  # after 3, 6 and 9 steps
    for steps, kept in zip((3, 6, 9), thinned, strict=True):
        end = sample(CONTRACT[name], problem.target, x, steps, generator=seeded(1))
        assert torch.equal(kept, end)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_resumed_chain_is_the_uninterrupted_one(name):
    problem, sampler = PROBLEMS["two_modes"], CONTRACT[name]
    whole = sample(sampler, problem.target, problem.draw(30), 6, generator=seeded(1))
    generator = seeded(1)
    chain = iterate(sampler, problem.target, problem.draw(30), generator=generator)
    state, _ = next(islice(chain, 3, None))
    rest = advance(sampler, problem.target, state, seeded(0).set_state(generator.get_state()))
    assert torch.equal(next(islice(rest, 1, None))[0].x, whole)


@pytest.mark.parametrize("name", [n for n in CONTRACT if n != "independence"])
def test_the_shape_of_events_does_not_matter(name):
    x = normal(20, 16)
    images = sample(CONTRACT[name], quartic, x.reshape(20, 1, 4, 4), 4, generator=seeded(1))
    points = sample(CONTRACT[name], quartic, x, 4, generator=seeded(1))
    torch.testing.assert_close(images.flatten(1), points, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in CONTRACT if n != "independence"])
def test_a_chain_keeps_its_dtype_and_no_graph(name):
    scale = torch.ones((), requires_grad=True)
    x = normal(20, 2, dtype=torch.float32)
    state, log_weight = run(CONTRACT[name], lambda x: scale * quartic(x), x, 3)
    assert {f.dtype for f in (*state, log_weight)} == {torch.float32}
    assert not any(f.requires_grad for f in (*state, log_weight))
    assert scale.grad is None


@pytest.mark.parametrize("name", CONTRACT)
def test_refresh_keeps_the_chains_under_another_energy(name):
    problem = PROBLEMS["ring"]
    state, _ = run(CONTRACT[name], problem.target, problem.draw(20), 3)
    other = refresh(quadratic(3.0), state)
    _assert_cached(quadratic(3.0), other)
    back = refresh(problem.target, other)
    assert all(torch.equal(a, b) for a, b in zip(back, state, strict=True))


def test_a_ratio_is_computed_once_and_when_it_is_asked_for():
    asked = []
    ratio = normal(3, seed=1)
    info = Info(lambda: asked.append(ratio) or ratio)
    assert not asked
    assert info.log_weight is info.log_ratio is ratio
    assert torch.equal(info.acceptance, ratio.clamp(max=0).exp())
    assert len(asked) == 1
    weight = normal(3, seed=2)
    assert Info(ratio, weight).log_weight is weight


# Errors ----------------------------------------------------------------------------------------

ERRORS = [
    (lambda: ULA(0.0), r"`step_size` must be > 0 and finite: got 0\.0"),
    (lambda: ULA(math.inf), "`step_size` must be > 0 and finite: got inf"),
    (lambda: MALA(-1.0), r"`step_size` must be > 0 and finite: got -1\.0"),
    (
        lambda: MALA(target=1.5),
        r"`target` must be between 0 and 1: got 1\.5",
    ),
    (lambda: MALA(adaptation=-0.1), r"`adaptation` must be between 0 and 1: got -0\.1"),
    (lambda: HMC(math.nan), "`step_size` must be > 0 and finite: got nan"),
    (lambda: HMC(leapfrog=0), "`leapfrog` must be > 0 and finite: got 0"),
    (
        lambda: HMC(target=-0.5),
        r"`target` must be between 0 and 1: got -0\.5",
    ),
    (lambda: HMC(adaptation=2.0), r"`adaptation` must be between 0 and 1: got 2\.0"),
    (lambda: Underdamped(0.0), "`step_size` must be > 0"),
    (lambda: Underdamped(friction=0.0), "`friction` must be > 0"),
    (lambda: Independence(ANCHORS, 0.0), "`step_size` must be > 0"),
    (lambda: sample(ULA(), flat, normal(3, 1), 0), "A chain needs steps: .* at least 1, got 0"),
]


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_exchangeable_proposals_can_trade_places():
    t, r = normal(200, seed=1), normal(200, seed=2)
    group = exchangeable(t, r)
    assert t[group].max() < r[group].min()
    assert not (group & (t >= r)).any()
    sizes = [int(((t < c) & (c <= r)).sum()) for c in r]
    assert int(group.sum()) == max(sizes) > 20
    assert not exchangeable(r.clamp(min=9), r).any()
