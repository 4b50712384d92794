"""Conditioning on a class: mixtures, whose classes are Gaussians by Bayes' rule."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import GaussianMixture
from wgflow.energies.base import energy_and_grad
from wgflow.energies.conditional import Conditional
from wgflow.likelihood.quadrature import Grid, log_density
from wgflow.samplers import MALA, sample
from wgflow.tasks.condition import PATIENCE, reject

MEANS, DEVIATION = double([[-1.0, 0.0], [1.0, 0.5], [0.0, 1.5]]), 0.8
WEIGHTS = double([0.2, 0.5, 0.3])
TARGET = GaussianMixture(MEANS, DEVIATION, weights=WEIGHTS)


def log_prob(x):
    """``log p(c|x)`` of the mixture."""
    joint = WEIGHTS.log() - (x[:, None] - MEANS).square().sum(2) / (2 * DEVIATION**2)
    return joint.log_softmax(1)


def begin(seed):
    generator = seeded(seed)
    return lambda n: TARGET.sample(n, dtype=F64, generator=generator)


def moments(x):
    return torch.cat([x, x**2, x[:, :1] * x[:, 1:]], 1)


def assert_component(x, label):
    """z-scores of the moments of ``N(m_c, s²I)``."""
    m = MEANS[label]
    expected = torch.stack([*m, *(m**2 + DEVIATION**2), m.prod()])
    assert z_score(moments(x), expected).abs().max() < 4


def test_accepted_draws_of_a_mixture_are_of_its_components():
    labels = [2, 0, 1]
    chosen = reject(begin(0), log_prob, labels, 4000, generator=seeded(1))
    assert chosen.x.shape == (3, 4000, 2)
    for x, label in zip(chosen.x, labels, strict=True):
        assert_component(x, label)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_class_takes_as_many_draws_as_it_is_rare(label):
    chosen = reject(begin(2), log_prob, [label], 2000, chunk=64, generator=seeded(3))
    p = float(WEIGHTS[label])
    assert abs(2000 / chosen.draws - p) < 4 * math.sqrt(p * (1 - p) / chosen.draws) + 0.003
    assert chosen.ended == chosen.draws


def test_guidance_sharpens_to_the_law_with_a_power():
    """Moments of ``p(x) p(c|x)^5`` by quadrature, which are not those of the class."""
    grid = Grid.box([-7.0, -7.0], [7.0, 7.0], 300)
    law = Conditional(TARGET, log_prob, 0, guidance=5.0)
    p = log_density(law, grid).exp() * grid.volume
    expected = (p[:, None] * moments(grid.nodes)).sum(0)
    x = reject(begin(4), log_prob, [0], 4000, guidance=5.0, generator=seeded(5)).x[0]
    assert z_score(moments(x), expected).abs().max() < 4
    assert z_score(x, MEANS[0]).abs().max() > 10


def marked(log_prob_on_the_way):
    """Draws and log-probabilities of points whose last coordinate tells whether they arrived."""
    draw = begin(6)

    def start(n):
        return torch.cat([draw(n), torch.zeros(n, 1, dtype=F64)], 1)

    def both(x):
        there = log_prob(x[:, :2])
        return torch.where(x[:, 2:] == 1, there, log_prob_on_the_way(x[:, :2], there))

    return start, both


def test_looks_on_the_way_save_work_and_leave_the_law():
    start, both = marked(lambda x, there: there.logaddexp(double(math.log(0.01))))
    followed = []

    def leg(x):
        followed.append(len(x))
        return torch.cat([x[:, :2], torch.ones(len(x), 1, dtype=F64)], 1)

    chosen = reject(start, both, [0], 4000, legs=[leg], generator=seeded(7))
    assert_component(chosen.x[0, :, :2], 0)
    assert (chosen.x[..., 2] == 1).all()
    assert chosen.ended == sum(followed) < 0.8 * chosen.draws


def test_looks_that_mislead_cost_what_is_said():
    """Right of zero they see a hundredth of the truth, so a κ/100 = fifth is left there."""
    start, both = marked(lambda x, there: there - math.log(100) * (x[:, :1] > 0))
    chosen = reject(
        start,
        both,
        [0],
        4000,
        legs=[lambda x: torch.cat([x[:, :2], torch.ones(len(x), 1, dtype=F64)], 1)],
        generator=seeded(8),
    )
    right = 0.5 * math.erfc(1 / (DEVIATION * math.sqrt(2)))  # of N(-1, s²)
    expected = 0.2 * right / (0.2 * right + 1 - right)
    found = (chosen.x[0, :, :1] > 0).double()
    assert z_score(found, expected).abs() < 4


def test_legs_may_lose_everyone_and_classes_may_fill_at_different_times():
    turn = iter([0.0, 1.0, 1.0, 1.0])

    def start(n):
        return torch.full((n, 1), next(turn), dtype=F64)

    def certain(x):
        """Nobody is of class 1 at first, then everybody is."""
        return torch.cat([1 - x, x], 1).log()

    chosen = reject(start, certain, [1], 3, legs=[lambda x: x], generator=seeded(9))
    assert (chosen.x == 1).all()
    assert (chosen.draws, chosen.ended) == (60, 30)
    turn = iter([0.0, 1.0])
    both = reject(start, certain, [1, 0], 3, generator=seeded(9)).x
    assert both.flatten().tolist() == [1, 1, 1, 0, 0, 0]


def test_the_energy_of_a_class_is_that_of_its_component():
    x = 2 * torch.randn(50, 2, generator=seeded(10), dtype=F64)
    for label in range(3):
        difference = Conditional(TARGET, log_prob, label)(x)
        difference -= (x - MEANS[label]).square().sum(1) / (2 * DEVIATION**2)
        assert float(difference.std()) < 1e-12


def test_chains_of_the_energy_of_a_class_are_of_its_component():
    law = Conditional(TARGET, log_prob, 2)
    x = torch.randn(4000, 2, generator=seeded(11), dtype=F64)
    assert_component(sample(MALA(0.3, adaptation=0.0), law, x, 80, generator=seeded(12)), 2)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_guidance_of_paths_gives_the_velocity_of_a_class(t):
    """Of paths from ``N(0, s²I)`` to class c: ``m + (tσ² - (1-t)s²)/v (x - tm)`` at time t.

    There ``v = t²σ² + (1-t)²s²`` is the variance, and the potential of all classes has the
    gradient ``-x/t - s²(1-t)/t ∇log p_t``.
    """
    s, epsilon = 1.3, 0.0125
    v = t**2 * DEVIATION**2 + (1 - t) ** 2 * s**2
    law = GaussianMixture(t * MEANS, math.sqrt(v), weights=WEIGHTS)

    def energy(x):
        return (s**2 * (1 - t) / t * law(x) - x.square().sum(1) / (2 * t)) / epsilon

    def posterior(x):
        joint = WEIGHTS.log() - (x[:, None] - t * MEANS).square().sum(2) / (2 * v)
        return joint.log_softmax(1)

    x = torch.randn(20, 2, generator=seeded(13), dtype=F64)
    guidance = s**2 * (1 - t) / (epsilon * t)
    for label, m in enumerate(MEANS):
        _, grad = energy_and_grad(Conditional(energy, posterior, label, guidance), x)
        velocity = m + (t * DEVIATION**2 - (1 - t) * s**2) / v * (x - t * m)
        torch.testing.assert_close(-epsilon * grad, velocity)


def test_seeds_repeat():
    a, b, c = (
        reject(begin(14), log_prob, [1], 50, generator=seeded(seed)).x for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


ERRORS = [
    ([0], {"guidance": 0.5}, "`guidance` must be ≥ 1 for rejection: got 0.5"),
    ([0], {"guidance": math.nan}, "`guidance` must be ≥ 1 for rejection: got nan"),
    ([3], {}, "different classes from 0 to 2: got 3"),
    ([-1], {}, "different classes from 0 to 2: got -1"),
    ([1, 1], {}, "different classes from 0 to 2: got 1, 1"),
    ([], {}, "labels"),
    ([0], {"slack": 0.0}, "slack"),
]


@pytest.mark.parametrize(("labels", "options", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(labels, options, match):
    with pytest.raises(ValueError, match=match):
        reject(begin(15), log_prob, labels, 5, generator=seeded(0), **options)


def test_a_class_that_never_comes_ends_the_wait():
    def never(x):
        return double([[0.0, -math.inf]]).expand(len(x), 2)

    match = rf"expected class 1 at least 2 times in {2 * PATIENCE} draws, got it 0 times"
    with pytest.raises(ValueError, match=match):
        reject(begin(16), never, [0, 1], 2, generator=seeded(0))


def test_an_energy_of_a_class_checks_its_numbers():
    with pytest.raises(ValueError, match="guidance"):
        Conditional(TARGET, log_prob, 0, guidance=0.0)
    with pytest.raises(ValueError, match="different classes from 0 to 2: got 7"):
        Conditional(TARGET, log_prob, 7)(MEANS)
