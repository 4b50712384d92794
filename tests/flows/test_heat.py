"""Energies of levels of noise: exact derivatives, the flow of a Gaussian, and its normaliser."""

import itertools
import math

import pytest
import torch
from problems import F64, double, seeded, z_score
from torch import nn

from wgflow.energies.base import energy_and_grad
from wgflow.energies.microbatch import MicroBatched
from wgflow.energies.noise_levels import At, NoiseLevels, denoised, derivatives
from wgflow.energies.principal import (
    AUTOGUIDANCE,
    Principal,
    autoguided,
    knows_moments,
    principal_of,
)
from wgflow.flows import HeatFlow, heat_flow
from wgflow.flows.heat import (
    Start,
    ancestral_sampling,
    chains_at,
    probability_flow,
    start,
)
from wgflow.flows.log_z import drift, log_z, moved, works_down, works_up
from wgflow.schemes import DualScoreMatching, EnergyMatching, FromData, Joint, NearProximal
from wgflow.schemes.dual import expected_noise


@pytest.fixture(autouse=True)
def large_chunks(monkeypatch):
    """Chunks of the size that many independent points of few coordinates suit."""
    monkeypatch.setattr(heat_flow, "CHUNK", 7000)


LEVELS = NoiseLevels(0.1, 5.0)
NOISY = FromData(noisy=True)
MEAN = double([0.7, -0.3, 0.2])


class Blurred(nn.Module):
    """``N(m, (v + σ²)I)``, with an error of the normaliser that changes from level to level."""

    def __init__(self, variance, mean=MEAN, error=0.0, slip=0.0):
        super().__init__()
        self.variance = nn.Parameter(double(variance))
        self.error = nn.Parameter(double(error))
        self.mean, self.slip, self.levels = mean, slip, LEVELS

    def forward(self, x, level=None):
        if level is None:
            level = x.new_full((len(x),), 2 * math.log(self.levels.lowest))
        v = self.variance + level.exp()
        square = (x - self.mean).square().flatten(1).sum(1) / (2 * v)
        drift = self.error * level + self.slip * x.sin().flatten(1).sum(1)
        return square + x[0].numel() / 2 * (2 * math.pi * v).log() + drift


def draws(n, variance, seed=0):
    return MEAN + math.sqrt(variance) * torch.randn(n, 3, dtype=F64, generator=seeded(seed))


@pytest.mark.parametrize("bad", [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_levels_rise_from_above_zero(bad):
    with pytest.raises(
        ValueError, match=f"0 < lowest < highest and finite: got {bad[0]} and {bad[1]}"
    ):
        NoiseLevels(*bad)


def test_grids_fall_in_equal_steps_of_their_power():
    for sigmas, power in ((LEVELS.grid(8), 7.0), (LEVELS.grid(8, 3.0), 3.0)):
        steps = torch.tensor(sigmas, dtype=F64).pow(1 / power).diff()
        torch.testing.assert_close(steps, steps.mean().expand(8))
    ratios = torch.tensor(LEVELS.ladder(8), dtype=F64).log().diff()
    torch.testing.assert_close(ratios, ratios.mean().expand(8))
    for sigmas in (LEVELS.grid(1), LEVELS.grid(8), LEVELS.ladder(1), LEVELS.ladder(8)):
        assert (sigmas[0], sigmas[-1]) == (5.0, 0.1)


def test_both_derivatives_are_finite_differences():
    energy, x = Blurred(0.4, error=0.3, slip=0.2), draws(4, 1.0)
    level, h = torch.linspace(-3, 2, 4, dtype=F64), 1e-5
    value, grad, rate = derivatives(energy, x, level)
    torch.testing.assert_close(value, energy(x, level).detach())
    along = (energy(x, level + h) - energy(x, level - h)).detach() / (2 * h)
    torch.testing.assert_close(rate, along, rtol=1e-7, atol=1e-8)
    e = torch.eye(3, dtype=F64)[0] * h
    first = (energy(x + e, level) - energy(x - e, level)).detach() / (2 * h)
    torch.testing.assert_close(grad[:, 0], first, rtol=1e-7, atol=1e-8)


def test_derivatives_in_parts_are_those_of_the_whole():
    energy, x = Blurred(0.4, error=0.3, slip=0.2), draws(5, 1.0)
    level = torch.linspace(-3, 2, 5, dtype=F64)

    def gradients(e):
        found = derivatives(e, x, level, create_graph=True)
        loss = sum((part**2).sum() for part in found)
        return torch.autograd.grad(loss, list(energy.parameters()))

    parted = gradients(MicroBatched(energy, 2, energy.parameters()))
    for a, b in zip(parted, gradients(energy), strict=True):
        torch.testing.assert_close(a, b)


def test_denoising_is_the_mean_of_what_was_under_the_noise():
    v, sigma = 0.4, double([0.1, 0.5, 2.0])
    x = draws(3, 1.0)
    share = (v / (v + sigma**2))[:, None]
    found = denoised(Blurred(v), x, sigma)
    torch.testing.assert_close(found, MEAN + share * (x - MEAN))
    torch.testing.assert_close(denoised(Blurred(v), x[1:2], 0.5), found[1:2])


def test_an_energy_at_a_level_is_an_energy():
    energy, x = Blurred(0.4), draws(4, 1.0)
    _, grad = energy_and_grad(At(energy, 0.5), x)
    torch.testing.assert_close(grad, (x - MEAN) / (0.4 + 0.25))
    torch.testing.assert_close(At(energy, LEVELS.lowest)(x), energy(x))


def test_at_a_point_both_derivatives_match_exactly():
    # The energy of one point with noise knows the noise, so nothing is left of the loss.
    scheme, batch = DualScoreMatching(), MEAN.expand(500, 3)
    exact = Blurred(0.0)
    assert scheme.loss(exact, scheme.init(exact, batch), generator=seeded(1)).value < 1e-20


@pytest.mark.parametrize(
    ("changed", "term"), [({"variance": 0.5}, "space"), ({"error": 0.1}, "time")]
)
def test_the_law_of_the_heat_flow_is_where_both_terms_are_stationary(changed, term):
    x = draws(200_000, 0.4)
    scheme = DualScoreMatching()
    right, wrong = (Blurred(**({"variance": 0.4} | k)) for k in ({}, changed))

    def slopes(energy):
        values = []
        for part in x.split(500):
            loss = scheme.loss(energy, scheme.init(energy, part), generator=seeded(len(values)))
            values.append(torch.stack(torch.autograd.grad(loss.value, [*energy.parameters()])))
        return torch.stack(values)

    assert z_score(slopes(right), 0.0).abs().max() < 4
    assert z_score(slopes(wrong), 0.0).abs().max() > 10
    plain = DualScoreMatching(recent=0)  # the others would compare all points with all
    found = [plain.loss(e, plain.init(e, x), generator=seeded(7)) for e in (right, wrong)]
    assert found[1].metrics[term] > found[0].metrics[term]


def test_the_two_terms_are_weighted_as_they_say():
    energy, batch = Blurred(0.4, error=0.3, slip=0.2), draws(64, 0.4)
    scheme = DualScoreMatching(time_weight=0.7, recent=0)
    level = scheme.draw(LEVELS, batch, generator=skipped(batch))
    noise = torch.randn(batch.shape, dtype=F64, generator=seeded(3))
    sigma = (level / 2).exp()
    _, grad, rate = derivatives(energy, batch + sigma[:, None] * noise, level)
    space = (sigma[:, None] * grad - noise).square().sum(1)
    time = (rate - (3 - noise.square().sum(1)) / 2) ** 2
    expected = ((1 + sigma) ** 2 * space + 0.7 * time).mean()
    loss = scheme.loss(energy, scheme.init(energy, batch), generator=seeded(3))
    torch.testing.assert_close(loss.value.detach(), expected)
    torch.testing.assert_close(loss.metrics["space"], space.mean() / 3)
    torch.testing.assert_close(loss.metrics["time"], time.mean() / 3)


@pytest.mark.parametrize("count", [64, 90])
def test_noise_is_what_can_be_expected_of_it(count):
    data = draws(count, 0.4, seed=1)
    sigma = torch.linspace(0.1, 5.0, 7, dtype=F64)
    y = draws(7, 2.0, seed=2)
    noise, square = expected_noise(y, sigma, data)
    for i in range(7):
        each = (y[i] - data) / sigma[i]
        weights = (-each.square().sum(1) / 2).exp()
        weights = weights / weights.sum()
        torch.testing.assert_close(noise[i], weights @ each)
        torch.testing.assert_close(square[i], weights @ each.square().sum(1))


class Points(nn.Module):
    """The exact energy of finitely many points along the heat flow."""

    def __init__(self, points):
        super().__init__()
        self.points, self.levels = points, LEVELS

    def forward(self, x, level):
        square = (x[:, None] - self.points).square().sum(2)
        d = self.points.shape[1]
        log = (
            -square / (2 * level.exp()[:, None]) - d * (math.log(2 * math.pi) + level)[:, None] / 2
        )
        return math.log(len(self.points)) - log.logsumexp(1)


def test_nothing_is_left_of_the_loss_where_all_points_have_been_seen():
    points = draws(60, 0.4)
    energy, scheme = Points(points), DualScoreMatching()
    carry = scheme.init(energy, points[:20])
    for k in (20, 40):
        assert scheme.loss(energy, carry, generator=seeded(1)).value > 1e-3
        carry = scheme.advance(energy, points[k : k + 20], carry)
    assert scheme.loss(energy, carry, generator=seeded(1)).value < 1e-20
    plain = DualScoreMatching(recent=0)
    carry = plain.init(energy, points)
    assert plain.loss(energy, carry, generator=seeded(1)).value > 1e-3


def test_what_was_seen_leaves_the_gradient_in_the_mean_and_takes_its_noise():
    energy, x = Blurred(0.7, error=0.1), draws(40_000, 0.4)

    def slopes(recent):
        scheme, found, carry = DualScoreMatching(recent=recent), [], None
        for k, part in enumerate(x.split(20)):
            carry = scheme.advance(energy, part, carry) if k else scheme.init(energy, part)
            loss = scheme.loss(energy, carry, generator=seeded(k))
            found.append(torch.stack(torch.autograd.grad(loss.value, [*energy.parameters()])))
        return torch.stack(found[10:])

    few, none = slopes(200), slopes(0)
    assert z_score(few - none, 0.0).abs().max() < 4
    assert (few.var(0) < 0.9 * none.var(0)).all()


def test_the_latest_points_are_kept():
    scheme, energy = DualScoreMatching(recent=7), Blurred(0.4)
    first, second, third = draws(12, 1.0).split(4)
    carry = scheme.init(energy, first)
    assert torch.equal(carry.seen, first)
    carry = scheme.advance(energy, third, scheme.advance(energy, second, carry))
    assert torch.equal(carry.batch, third)
    assert torch.equal(carry.seen, torch.cat([third, second])[:7])
    wide = scheme.advance(energy, draws(9, 1.0), carry)
    assert torch.equal(wide.seen, wide.batch)  # x itself is always one of them
    assert DualScoreMatching(recent=0).init(energy, first).seen is None


def skipped(batch):
    """A generator after the noise of a batch."""
    generator = seeded(3)
    torch.randn(batch.shape, dtype=F64, generator=generator)
    return generator


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_levels_are_drawn_uniformly_in_time_and_in_their_logarithm(share):
    x = torch.empty(40_000, 1, dtype=F64)
    sigma = (DualScoreMatching(uniform=share).draw(LEVELS, x, generator=seeded(2)) / 2).exp()
    count = round(share * len(x))
    low, high = math.log(0.1), math.log(5.0)
    first = (sigma[:count].log() - low) / (high - low)
    t = (1 / (1 + sigma[count:]) - 1 / 6) / (1 / 1.1 - 1 / 6)
    for u in (first, t):
        assert not len(u) or (float(u.min()) > -1e-9 and float(u.max()) < 1 + 1e-9)
        for power in (1, 2):
            assert not len(u) or z_score(u**power, 1 / (power + 1)).abs() < 4


@pytest.mark.parametrize(
    ("pair", "own", "other"),
    [
        ((DualScoreMatching(), NearProximal()), "DualScoreMatching", "NearProximal"),
        ((EnergyMatching(), NearProximal(NOISY)), "NearProximal", "EnergyMatching"),
    ],
)
def test_it_shares_its_data_with_schemes_that_add_noise_too(pair, own, other):
    with pytest.raises(ValueError, match=f"got {own}, which does, and {other}, which does not"):
        Joint(*pair)
    assert Joint(DualScoreMatching(), NearProximal(NOISY)).adds_noise
    assert not Joint(EnergyMatching(), NearProximal()).adds_noise


def test_only_energies_of_levels_are_matched():
    with pytest.raises(ValueError, match=r"`energy` must be noise-conditional.*got Linear"):
        DualScoreMatching().init(nn.Linear(3, 1), draws(4, 1.0))


@pytest.mark.parametrize(
    "bad", [{"time_weight": 0.0}, {"uniform": 1.5}, {"inner_steps": 0}, {"recent": -1}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DualScoreMatching(**bad)


def test_the_flow_of_a_gaussian_is_that_of_its_deviation_with_order_two():
    v, x = 0.4, draws(4, 25.0)
    exact = MEAN + (x - MEAN) * math.sqrt((v + 0.01) / (v + 25))

    def error(steps):
        *_, end = probability_flow(Blurred(v), x, LEVELS.grid(steps))
        return float((end - exact).norm())

    errors = [error(n) for n in (20, 40, 80)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(1.8 < order < 2.3 for order in orders)


def test_ancestral_sampling_keeps_the_law_of_a_point_exactly_and_of_a_gaussian_by_its_recursion():
    n, sigmas = 40_000, LEVELS.grid(6, 3.0)
    for v in (0.0, 0.4):
        *_, y = ancestral_sampling(Blurred(v), draws(n, v + 25.0), sigmas, generator=seeded(2))
        variance = v + 25.0
        for a, b in itertools.pairwise(sigmas):
            slope = 1 - (a**2 - b**2) / (v + a**2)
            variance = slope**2 * variance + b**2 * (1 - b**2 / a**2)
        assert z_score(y, MEAN).abs().max() < 4
        assert z_score((y - MEAN).square(), variance).abs().max() < 4
    assert variance < 0.35  # what is under the noise is not its mean, but after few steps
    *_, fine = ancestral_sampling(
        Blurred(0.4), draws(n, 25.4), LEVELS.grid(300, 3.0), generator=seeded(2)
    )
    spread = float((fine - MEAN).square().mean())
    assert spread == pytest.approx(0.41, rel=0.03)


def test_the_start_is_noise_of_the_highest_level_around_the_mean():
    first = start(Blurred(0.01), LEVELS, torch.empty(7, 3, dtype=F64))
    torch.testing.assert_close(first.center, MEAN * 25 / 25.01)
    assert first.sigma == 5.0
    x = first.sample(20_000, generator=seeded(1))
    assert z_score(x, first.center).abs().max() < 4
    assert z_score((x - first.center).square(), 25.0).abs().max() < 4
    law = torch.distributions.Normal(first.center, double(5.0))
    torch.testing.assert_close(first.log_prob(x), law.log_prob(x).sum(1))


def test_the_start_has_the_variances_of_the_data_where_the_energy_knows_them():
    covariance = double([[9.0, 4.0, 0.0], [4.0, 9.0, 0.0], [0.0, 0.0, 0.5]])
    energy = Blurred(0.4)
    energy.principal = Principal((3,), 2, covariance, MEAN).to(F64)
    first = start(energy, LEVELS, torch.empty(1, 3, dtype=F64))
    x = first.sample(40_000, generator=seeded(1))
    expected = covariance + 25 * torch.eye(3, dtype=F64)
    products = ((x - MEAN)[:, :, None] * (x - MEAN)[:, None, :]).flatten(1)
    assert z_score(x, MEAN).abs().max() < 4
    assert z_score(products, expected.flatten()).abs().max() < 4
    law = torch.distributions.MultivariateNormal(MEAN, expected)
    torch.testing.assert_close(first.log_prob(x), law.log_prob(x), rtol=1e-6, atol=1e-6)


def known(v, count=2):
    """The energies of white data of variance v, and their moments."""
    energy = Blurred(v)
    energy.principal = Principal((3,), count, v * torch.eye(3, dtype=F64), MEAN).to(F64)
    return energy


def test_autoguidance_is_linear_in_both_energies():
    covariance = double([[9.0, 4.0, 0.0], [4.0, 9.0, 0.0], [0.0, 0.0, 0.5]])
    energy = Blurred(0.4)
    energy.principal = Principal((3,), 2, covariance, MEAN).to(F64)
    x, level = draws(50, 4.0), torch.linspace(-3, 3, 50, dtype=F64)
    laws = [
        torch.distributions.MultivariateNormal(
            MEAN, covariance + lam.exp() * torch.eye(3, dtype=F64)
        )
        for lam in level
    ]
    reference = -torch.stack([law.log_prob(y) for law, y in zip(laws, x, strict=True)])
    expected = 1.3 * energy(x, level) - 0.3 * reference
    found = autoguided(energy, 0.3)(x, level)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert autoguided(energy, 0.0) is energy


def test_autoguidance_to_itself_changes_nothing():
    """Of data that are Gaussian to begin with, samples are the same."""
    energy, like = known(0.4), torch.empty(100, 3, dtype=F64)
    for stochastic in (False, True):
        plain, other = (
            HeatFlow(energy, LEVELS, stochastic=stochastic, autoguidance=c).sample(
                like, generator=seeded(1)
            )
            for c in (0.0, 0.7)
        )
        torch.testing.assert_close(plain, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stochastic", [False, True])
def test_autoguidance_leads_away_from_the_moments(stochastic):
    """Of an energy that is narrower than the moments say, samples get narrower still."""
    energy, like = Blurred(0.4), torch.empty(4000, 3, dtype=F64)
    energy.principal = Principal((3,), 3, 0.9 * torch.eye(3, dtype=F64), MEAN).to(F64)
    plain, other = (
        HeatFlow(energy, LEVELS, stochastic=stochastic, autoguidance=c).sample(
            like, generator=seeded(1)
        )
        for c in (0.0, 0.5)
    )
    assert float(other.var()) < 0.95 * float(plain.var())
    flow = HeatFlow(energy, LEVELS, autoguidance=0.5)
    *_, stage = flow.trajectory(like[:5], generator=seeded(1))
    torch.testing.assert_close(stage, flow.sample(like[:5], generator=seeded(1)))


@pytest.mark.parametrize(
    ("energy", "scale", "message"),
    [
        (known(0.4), -0.1, r"≥ 0.*got -0.1"),
        (known(0.4), math.inf, r"≥ 0.*got inf"),
        (Blurred(0.4), 0.1, r"`autoguidance` must be 0 .*got 0.1"),
    ],
)
def test_autoguidance_says_what_it_needs(energy, scale, message):
    with pytest.raises(ValueError, match=message):
        HeatFlow(energy, LEVELS, autoguidance=scale).sample(torch.empty(2, 3, dtype=F64))


def test_without_a_covariance_there_is_no_autoguidance():
    energy = Blurred(0.4)
    energy.principal = Principal((3,), 2, None, MEAN).to(F64)
    assert not knows_moments(energy)
    assert knows_moments(known(0.4))


def test_chains_that_stay_do_not_drift_and_others_do():
    """By the mean change of a quadratic energy, known in closed form; σ = .4 is four times .1."""
    v, n = 0.4, 4000
    energy, start = Blurred(v), draws(n, v + 0.01)
    still, error = drift(energy, LEVELS, start, draws(n, v + 0.01, seed=1), generator=seeded(2))
    assert abs(still) < 4 * error
    moved, error = drift(energy, LEVELS, start, 2 * (start - MEAN) + MEAN, generator=seeded(2))
    expected = 3 * 3 * (v + 0.01) / (2 * (v + 0.16))
    assert abs(moved - expected) < 4 * error
    shifted, error = drift(energy, LEVELS, start, start + 1.0, generator=seeded(2))
    assert abs(shifted - 3 / (2 * (v + 0.16))) < 4 * error
    noise = torch.randn(n, 3, dtype=F64, generator=seeded(2))  # the same for both
    y = start - MEAN + math.sqrt(0.15) * noise
    change = (3 + 2 * y.sum(1)) / (2 * (v + 0.16))
    assert shifted == pytest.approx(float(change.mean()))
    assert error == pytest.approx(float(change.std()) / math.sqrt(n))


def test_axes_that_have_no_more_than_the_others_are_no_start_of_nan():
    principal = Principal((3,), 2, torch.eye(3, dtype=F64), None)
    principal.variances[1] -= 1e-6  # as by rounding
    assert torch.equal(principal.deviations[1], torch.zeros(3))
    assert principal.deviations.isfinite().all()


def test_products_start_where_their_first_factor_does():
    energy = Blurred(0.4)
    energy.principal = Principal((3,), 2, torch.eye(3, dtype=F64), MEAN).to(F64)
    product = nn.Sequential(nn.Identity(), energy)
    assert principal_of(product) is energy.principal
    assert principal_of(lambda x, level: x) is principal_of(Blurred(0.4)) is None


def test_generated_points_are_means_or_draws_of_the_lowest_level():
    v, n = 0.4, 20_000
    like = torch.empty(n, 3, dtype=F64)
    flow = HeatFlow(Blurred(v), LEVELS, steps=80)
    x = flow.sample(like, generator=seeded(1))
    shrunk = (v / (v + 0.01)) ** 2 * (v + 0.01) * 25 / (v + 25)  # white noise lacks v
    assert z_score(x, MEAN).abs().max() < 4
    assert z_score((x - MEAN).square(), shrunk).abs().max() < 4
    y = flow.configured(langevin=1).sample(like, generator=seeded(1))
    h = 0.01 / 8
    kept = (1 - h / (v + 0.01)) ** 2 * (v + 0.01) * 25 / (v + 25) + 2 * h
    assert z_score((y - MEAN).square(), kept).abs().max() < 4


@pytest.mark.parametrize(
    ("options", "evaluations"), [({}, 21), ({"stochastic": True}, 41), ({"langevin": 3}, 24)]
)
def test_evaluations_are_those_that_are_told(options, evaluations):
    seen = []

    def energy(x, level):
        seen.append(len(x))
        return Blurred(0.4)(x, level)

    flow = HeatFlow(energy, LEVELS, **options)
    flow.sample(torch.empty(5, 3, dtype=F64), generator=seeded(1))
    assert sum(seen) == 1 + 5 * evaluations


@pytest.mark.parametrize("bad", [{"steps": 0}, {"langevin": -1}])
def test_bad_paths_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        HeatFlow(Blurred(0.4), LEVELS, **bad)


@pytest.mark.parametrize("moves", [0, 2])
@pytest.mark.parametrize("slip", [0.0, 0.1])
def test_works_are_unbiased_both_ways_however_wrong_the_levels_are(slip, moves):
    # Z of the lowest level by quadrature; with a slip no level has the law that the next expects.
    energy = Blurred(0.4, slip=slip, error=0.05).requires_grad_(False)
    sigmas, n = LEVELS.ladder(12), 20_000
    z = quadrature(energy)
    # Along no axis, and along some: the start may be any law that is known.
    for axes in (torch.zeros(1, 3, dtype=F64), double([[2.0, 1.0, 0.0]])):
        first = Start(MEAN, axes, 5.0)
        x = first.sample(n, generator=seeded(1))
        down = works_down(energy, x, first, sigmas, moves, seeded(2))
        model = exact_draws(energy, n)
        up = works_up(energy, model, first, sigmas, moves, seeded(3))
        assert z_score(down.exp(), z).abs() < 4
        assert z_score((-up).exp(), 1 / z).abs() < 4
        assert down.std() < 2


def quadrature(energy):
    """Z, a product over coordinates, since the slip is a sum over them."""
    t = torch.linspace(-12, 12, 4001, dtype=F64)
    v = float(energy.variance) + 0.01
    drift = float(energy.error) * 2 * math.log(0.1)
    z = math.exp(-drift)
    for m in MEAN:
        density = (-((t - m) ** 2) / (2 * v) - energy.slip * t.sin()).exp()
        z *= float(torch.trapezoid(density, t)) / math.sqrt(2 * math.pi * v)
    return z


def exact_draws(energy, n):
    """By rejection from the Gaussian: the slip is bounded."""
    x = draws(20 * n, float(energy.variance) + 0.01, seed=5)
    log_accept = -energy.slip * (x.sin().sum(1) + 3)
    keep = torch.rand(len(x), dtype=F64, generator=seeded(6)).log() < log_accept
    return x[keep][:n]


def test_log_z_has_a_sandwich_and_no_error_where_the_levels_are_right():
    energy = Blurred(0.4).requires_grad_(False)
    model = draws(16, 0.41)
    found = log_z(energy, LEVELS, model, steps=300, generator=seeded(1))
    assert found.error < 0.2
    assert abs(found.value) < 4 * found.error
    assert abs(found.upper - found.lower) < 1


@pytest.mark.parametrize("bad", [{"steps": 0}, {"model": torch.zeros(1, 3, dtype=F64)}])
def test_bad_annealing_is_refused(bad):
    options = {"model": torch.zeros(4, 3, dtype=F64)} | bad
    with pytest.raises(ValueError, match=r"steps|at least 2"):
        log_z(Blurred(0.4), LEVELS, **options)


@pytest.mark.parametrize("sigma", [0.1, 5.0])
def test_moves_leave_the_law_of_a_level(sigma):
    energy = Blurred(0.0).requires_grad_(False)
    x = draws(40_000, sigma**2)
    y = moved(energy, chains_at(energy, x, sigma), sigma, 5, seeded(4)).x
    assert 0.3 * sigma < float((y - x).std()) < 2 * sigma
    assert z_score(y - x, 0.0).abs().max() < 4
    assert z_score((y - MEAN).square(), sigma**2).abs().max() < 4


def test_a_bridge_fills_what_is_hidden_by_its_law_given_the_rest():
    # Coordinates of this Gaussian are independent: what is hidden comes down as if alone.
    energy, v = Blurred(0.4).requires_grad_(False), 0.4
    x = torch.zeros(20_000, 3, dtype=F64)
    hidden = torch.tensor([True, False, True])
    flow = HeatFlow(energy, LEVELS)
    y = flow.bridge(x, hidden, steps=200, visits=1, generator=seeded(1))
    assert torch.equal(y[:, 1], x[:, 1])
    assert z_score(y[:, hidden], MEAN[hidden]).abs().max() < 4
    spread = (y[:, hidden] - MEAN[hidden]).square().mean(0)
    torch.testing.assert_close(spread, torch.full((2,), v + 0.01, dtype=F64), rtol=0.06, atol=0)


TOGETHER = double([[1.0, 0.9], [0.9, 1.0]])
KNOWN = 1.5


class Correlated(nn.Module):
    """``N(0, C + σ²I)``, in the plane."""

    def forward(self, x, level):
        precision = torch.linalg.inv(TOGETHER + level.exp()[0] * torch.eye(2, dtype=F64))
        return (x @ precision * x).sum(1) / 2


def bridged(steps, visits):
    """Mean and variance of the hidden first coordinate after a bridge, by hand."""
    eye, sigmas = torch.eye(2, dtype=F64), LEVELS.grid(steps, 3.0)
    mean, covariance = double([0.0, KNOWN]), sigmas[0] ** 2 * eye
    for a, b in itertools.pairwise(sigmas):
        step = eye - (a**2 - b**2) * torch.linalg.inv(TOGETHER + a**2 * eye)
        for visit in range(visits):
            above = covariance + (a**2 - b**2) * eye * (visit > 0)
            below = step @ above @ step.T + b**2 * (1 - b**2 / a**2) * eye
            mean = torch.stack([(step @ mean)[0], double(KNOWN)])
            covariance = torch.diag(torch.stack([below[0, 0], double(b**2)]))
    return mean[0], covariance[0, 0]


@pytest.mark.parametrize(("steps", "visits"), [(3, 1), (3, 4), (10, 8)])
def test_a_bridge_has_the_law_of_its_steps(steps, visits):
    x, hidden = double([0.0, KNOWN]).expand(20_000, 2), torch.tensor([True, False])
    options = {"steps": steps * visits, "visits": visits, "generator": seeded(1)}
    y = HeatFlow(Correlated(), LEVELS).bridge(x, hidden, **options)
    mean, variance = bridged(steps, visits)
    assert abs(z_score(y[:, :1], mean)) < 4
    assert abs(z_score((y[:, :1] - mean).square(), variance)) < 4


def test_visits_bring_a_bridge_to_the_law_given_what_is_known():
    exact = 0.9 / 1.01 * KNOWN
    once, often = (float(bridged(*numbers)[0]) for numbers in ((80, 1), (10, 8)))
    assert (once, often) == pytest.approx((0.906, 1.248), abs=1e-3)
    mean, variance = bridged(80, 80)
    assert float(mean) == pytest.approx(exact, rel=0.01)
    assert float(variance) == pytest.approx(1.01 - 0.81 / 1.01, rel=0.1)


def test_a_path_between_points_is_an_arc_of_the_gaussian():
    # The flow scales what is about the mean, so an arc of noise is one of points.
    energy, (a, b) = Blurred(0.4).requires_grad_(False), draws(2, 0.41)
    x = HeatFlow(energy, LEVELS).interpolate(a, b, 5)
    u, v = a - MEAN, b - MEAN
    angle = torch.arccos(torch.cosine_similarity(u, v, dim=0))
    t = torch.linspace(0, 1, 5, dtype=F64)[:, None]
    arc = (torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v) / torch.sin(angle)
    torch.testing.assert_close(x, MEAN + arc, rtol=0, atol=1e-3)
    assert torch.equal(x[[0, -1]], torch.stack([a, b]))


def test_a_path_has_two_ends():
    a, b = draws(2, 0.41)
    with pytest.raises(ValueError, match="two different points: got the same"):
        HeatFlow(Blurred(0.4), LEVELS).interpolate(a, a, 5)
    with pytest.raises(ValueError, match="`points` must be > 0 and finite: got 0"):
        HeatFlow(Blurred(0.4), LEVELS).interpolate(a, b, 1)


def test_what_is_known_sees_the_noise_of_every_level(monkeypatch):
    seen = []

    def energy(x, level):
        seen.append((x[:, 1], float(level[0])))
        return Blurred(0.4)(x, level)

    x, hidden = torch.full((4000, 3), 2.0, dtype=F64), torch.tensor([True, False, True])
    monkeypatch.setattr(heat_flow, "CHUNK", 4000)
    HeatFlow(energy, LEVELS).bridge(x, hidden, steps=6, visits=2, generator=seeded(1))
    _, *path = seen  # the first look is for the centre of white noise
    assert len(path) == 6
    for value, level in path:
        assert abs(z_score((value[:, None] - 2.0).square(), math.exp(level))) < 4


def test_langevin_steps_are_not_autoguided_unless_asked_to_be():
    energy, like = Blurred(0.4), torch.empty(50, 3, dtype=F64)
    energy.principal = Principal((3,), 3, 0.9 * torch.eye(3, dtype=F64), MEAN).to(F64)

    def drawn(autoguidance, **options):
        flow = HeatFlow(energy, LEVELS, autoguidance=autoguidance, **options)
        return flow.sample(like, generator=seeded(1))

    assert torch.equal(drawn(None), drawn(AUTOGUIDANCE))
    assert torch.equal(drawn(None, langevin=1), drawn(0.0, langevin=1))
    assert not torch.equal(drawn(None, langevin=1), drawn(AUTOGUIDANCE, langevin=1))
