"""Stacked density estimates: their weights, and what they find."""

import math

import numpy as np
import pytest
import torch
from problems import F64, seeded

from wgflow.data import mixtures
from wgflow.data.estimates import BANDWIDTHS, FLOORS, Split, _of_size, _scores, kernels_of, value
from wgflow.data.gaussian_mixture import PLAIN, Prior
from wgflow.data.mixtures import (
    COARSE,
    Gaussians,
    _around,
    _chosen,
    _weights,
    open_minded,
    stacked,
    stacks,
)
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.data.toys import TOYS
from wgflow.energies.mixture import NoisyMixture


def log_density(families, x):
    """Of a mixture without noise."""
    return -NoisyMixture(families)(x, torch.full((len(x),), -60.0, dtype=torch.float64))


def test_weights_are_the_most_likely_ones(monkeypatch):
    """Kuhn and Tucker: ``mean_i p_k(x_i)/p(x_i)`` is 1 where w_k > 0, and at most 1 elsewhere."""
    monkeypatch.setattr(mixtures, "DOUBT", 0.0)
    scores = np.random.default_rng(0).normal(size=(200, 5)) + np.array([0, 0, 0.1, -4, -9])
    weights = _weights(scores, rounds=5_000)
    density = np.exp(scores)
    ratio = (density / (density @ weights)[:, None]).mean(0)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(ratio[weights > 1e-3], 1, atol=1e-3)
    assert (ratio < 1 + 1e-3).all()


def test_doubt_is_as_many_rows_that_only_the_first_explains():
    scores = np.random.default_rng(1).normal(size=(50, 3))
    alone = np.array([[0.0, -800.0, -800.0]] * int(mixtures.DOUBT))
    weights = _weights(scores, rounds=5_000)
    density = np.exp(np.concatenate([scores, alone]))
    ratio = (density / (density @ weights)[:, None]).mean(0)
    np.testing.assert_allclose(ratio[weights > 1e-3], 1, atol=1e-3)
    assert (ratio < 1 + 1e-3).all()


def test_kernels_are_the_density_that_was_scored():
    x = np.random.default_rng(1).normal(size=(300, 2)) * [1, 3]
    split = Split(x[50:], x[:50])
    for kernels, scores in kernels_of(split.seen, [split], Prior(2.0)):
        found = log_density([_around(kernels, 1.0)], torch.from_numpy(split.unseen))
        np.testing.assert_allclose(found.numpy(), scores, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("validated", [True, False])
def test_a_mixture_is_found_and_never_worse_than_the_gaussian(validated):
    truth = GaussianMixture([[-3.0, 0.0], [3.0, 0.0]], 0.5, weights=[0.7, 0.3])
    x = truth.sample(2000, generator=seeded(0), dtype=torch.float64)
    unseen, test = x[:300] if validated else None, truth.sample(4000, generator=seeded(1))
    found = stacked(x[300:], unseen)
    assert sum(float(g.weights.sum()) for g in found) == pytest.approx(1)
    gap = truth.log_prob(test.double()) - log_density(found, test.double())
    assert float(gap.mean()) > -4 * float(gap.std()) / 63
    assert float(gap.mean()) < 0.02


def test_gaussian_rows_do_not_lose_to_the_gaussian_of_their_moments():
    """Of 60 rows in twelve dimensions, where covariances are shrunk: by far, in fact."""
    x = torch.randn(60, 12, generator=seeded(0), dtype=torch.float64)
    test = torch.randn(4000, 12, generator=seeded(1), dtype=torch.float64)
    plain = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    gain = log_density(stacked(x, None), test) - plain.log_prob(test)
    assert float(gain.mean()) > 0.5


def test_many_dimensions_take_few_numbers():
    """Isotropic components in 40 dimensions: full covariances would cost 1.3 nats, measured."""
    means = torch.rand(5, 40, generator=seeded(0), dtype=torch.float64) * 2 - 1
    truth = GaussianMixture(means, 0.1)
    x = truth.sample(2500, generator=seeded(1), dtype=torch.float64)
    test = truth.sample(1000, generator=seeded(2), dtype=torch.float64)
    shift, scale = x.mean(0), x.std(0)
    found = stacked((x - shift) / scale, None)
    learned = log_density(found, (test - shift) / scale) - scale.log().sum()
    assert float((truth.log_prob(test) - learned).mean()) < 0.2


def test_few_rows_still_have_a_density():
    x = torch.randn(12, 3, generator=seeded(0), dtype=torch.float64)
    assert log_density(stacked(x, None), x).isfinite().all()


def test_constant_directions_have_a_floor():
    least = min(BANDWIDTHS) ** 2 * min(FLOORS)
    x = torch.randn(400, 1, generator=seeded(0), dtype=torch.float64).expand(-1, 2)
    for family in stacked(x, None):
        assert isinstance(family, Gaussians)
        assert float(torch.linalg.eigvalsh(family.covariances).min()) > 0.9 * least


def nearly_twice(count, *, thickness, seed):
    """Two columns that are one but for ``thickness``."""
    x = torch.randn(count, 2, generator=seeded(seed), dtype=torch.float64)
    return torch.stack([x[:, 0], x[:, 0] + thickness * x[:, 1]], 1)


@pytest.mark.parametrize("thickness", [0.3, 0.03, 0.003])
def test_the_floor_is_the_likeliest_on_unseen_rows(thickness):
    x = nearly_twice(600, thickness=thickness, seed=0).numpy()
    split = Split(x[100:], x[:100])
    found = _of_size(1, [split], PLAIN, seed=0)
    values = {f: _scores(found.fits, [split], found.prior._replace(floor=f)) for f in FLOORS}
    assert max(values, key=lambda floor: values[floor].mean()) == found.prior.floor
    np.testing.assert_array_equal(found.scores, values[found.prior.floor])


def test_one_row_far_out_chooses_no_bandwidth_and_no_size():
    """Rings need narrow ones or many; by the mean of ``log p`` alone they would lose .9 nats."""
    law = TOYS["rings"]()
    x, test = (law.sample(n, generator=seeded(s), dtype=F64) for n, s in ((2500, 0), (2000, 1)))
    far = torch.tensor([[0.0, 14.0]], dtype=F64)
    gaps = [
        law.log_prob(test) - log_density(stacked(x[:2100], unseen), test)
        for unseen in (x[2100:], torch.cat([x[2100:], far]))
    ]
    assert float((gaps[1] - gaps[0]).mean()) < 0.05


def test_a_row_speaks_against_an_estimate_by_log_n_at_most():
    plain, scores = np.full(99, -3.0), np.full(99, -1.0)
    before = value(scores, plain)
    scores[0] = -1e9
    assert before - value(scores, plain) == pytest.approx((np.log(100) + 2) / 99, abs=1e-3)
    assert value(scores, None) == scores.mean()


def test_directions_far_narrower_than_the_usual_floor_are_found():
    """With a floor of 10⁻⁴ a Gaussian would be 1.5 nats behind."""
    x, test = (nearly_twice(n, thickness=0.002, seed=s) for n, s in ((2500, 0), (4000, 1)))
    narrow = torch.distributions.Normal(0.0, 0.002).log_prob(test[:, 1] - test[:, 0])
    exact = torch.distributions.Normal(0.0, 1.0).log_prob(test[:, 0]) + narrow
    assert float((exact - log_density(stacked(x, None), test)).mean()) < 0.02


def test_of_a_gaussian_law_a_single_gaussian_is_left():
    """Without the rule the others have weights of .05 to .5, by chance."""
    kept = []
    for seed in range(4):
        x = torch.randn(1000, 2, generator=seeded(seed), dtype=torch.float64)
        families = stacked(x, None, seed=seed)
        kept.append([len(g.weights) for g in families] == [1])
    assert all(kept)


def test_the_single_gaussian_stays_unless_unseen_rows_are_a_hundred_times_likelier():
    """Whether the gain comes from all rows or, as of heavy tails, from a single one."""
    for gains in ([0.02] * 400, [0.0] * 399 + [20.0]):
        scores = np.stack([np.zeros(400), np.array(gains)], 1)
        assert _chosen(scores)[1] > 0
        few = np.stack([np.zeros(400), np.array(gains) / 4], 1)
        np.testing.assert_array_equal(_chosen(few), [1, 0])


@pytest.mark.parametrize("count", [300, 700])
def test_copies_do_not_judge_each_other(count):
    """Of 5 copies of every row; a row's group is the row. Few rows by folds, many by one split."""
    g = torch.Generator().manual_seed(3)
    law = Gaussian(torch.zeros(2), torch.eye(2))
    x, test = (law.sample(n, dtype=F64, generator=g) for n in (count, 4000))
    copies, groups = x.repeat(5, 1), torch.arange(count).repeat(5)
    gaps = [
        float((law.log_prob(test) - log_density(stacked(copies, None, groups=k), test)).mean())
        for k in (groups, None)
    ]
    assert gaps[0] < 0.03 < 0.1 < gaps[1]


def test_a_coarse_stack_has_few_components_and_a_share_of_what_is_drawn_in_its_place():
    x = TOYS["two-spirals"]().sample(4000, dtype=torch.float64, generator=seeded(0))
    found = stacks(x, None)
    assert (
        max(len(f.means) for f in found.coarse) <= COARSE < max(len(f.means) for f in found.stack)
    )
    for each in found.coarse, found.stack, found.defensive:
        assert sum(float(f.weights.sum()) for f in each) == pytest.approx(1)
    log_b, log_p, log_q = (log_density(f, x) for f in (found.coarse, found.stack, found.defensive))
    mixed = torch.logaddexp(math.log(0.1) + log_b, math.log(0.9) + log_p)
    torch.testing.assert_close(log_q, mixed)
    assert float((log_p - log_b).mean()) > 0.2


def test_copies_have_kernels_of_their_own():
    """A third of the unseen rows are seen too; one width cannot serve these and the others."""
    law = TOYS["rings"]()
    x, test = (law.sample(n, generator=seeded(s), dtype=F64) for n, s in ((3600, 0), (2000, 1)))
    train, unseen = x[:3000], torch.cat([x[3000:], x[:300]])
    found = stacked(train, unseen)
    widths = [float(g.covariances[0].trace()) for g in found if len(g.covariances) == 1]
    assert max(widths) > 4 * min(widths)  # BANDWIDTHS differ by more than a factor of two
    gap = law.log_prob(test) - log_density(found, test)
    assert float(gap.mean()) < 0.5  # 300 of 900 unseen rows are copies: log 1.5 = .41 for the rest


def test_a_row_unlike_any_other_is_as_likely_as_the_rule_of_succession_says():
    """Two columns that are one but for a millionth, and a row in which they are not."""
    x = torch.randn(1000, 1, generator=seeded(0), dtype=torch.float64)
    x = torch.cat([x, x + 1e-6 * torch.randn(1000, 1, generator=seeded(1))], 1)
    narrow = stacked(x, None)
    found = open_minded(narrow, len(x))
    assert float(sum(f.weights.sum() for f in found)) == pytest.approx(1)
    odd = torch.tensor([[0.5, -0.5]], dtype=torch.float64)
    assert float(log_density(narrow, odd)) < -1000
    expected = -math.log(1001) - math.log(2 * math.pi) - 0.25
    assert float(log_density(found, odd)) == pytest.approx(expected)
    loss = log_density(narrow, x) - log_density(found, x)
    assert float(loss.max()) <= -math.log1p(-1 / 1001) + 1e-12
    assert open_minded([], 10) == []
