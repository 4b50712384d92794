"""Annealed sequential Monte Carlo: exact weights, masses of modes, works of matched kernels."""

import math
from itertools import pairwise

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.likelihood.sequential import LENGTH, LONGEST, _next, annealed, log_z
from wgflow.samplers import MALA
from wgflow.samplers.particles import resample

D = 3
REFERENCE = Gaussian(torch.zeros(D, dtype=F64), 3 * torch.eye(D, dtype=F64))
TARGET = Gaussian(double([1.0, -0.5, 0.0]), double([[1.0, 0.6, 0], [0.6, 0.8, 0], [0, 0, 0.3]]))
MODES = GaussianMixture(double([[-4.0, 0, 0], [4.0, 0, 0]]), 0.7, weights=[0.25, 0.75])
MOVE = MALA(0.3)


def like(count):
    return torch.empty(count, D, dtype=F64)


def test_log_z_of_the_weights_is_unbiased_enough():
    """``E[Z]`` is exact, so over repetitions ``mean Z/Z_exact`` is one within its error."""
    found = [
        annealed(TARGET, REFERENCE, like(60), MOVE, generator=seeded(s)).particles.log_z
        for s in range(10)
    ]
    ratio = (torch.stack(found) - TARGET.log_z).exp()
    assert z_score(ratio[:, None], 1.0).abs() < 4
    assert ratio.std() < 0.5


def test_modes_get_their_masses_where_no_chain_crosses():
    way = annealed(MODES, REFERENCE, like(1000), MOVE, generator=seeded(1))
    p = resample(way.particles, generator=seeded(2))
    # Of fewer independent chains than there are: those that were copied count once or so.
    assert float((p.x[:, 0] > 0).double().mean()) == pytest.approx(0.75, abs=0.05)
    right = p.x[p.x[:, 0] > 0]
    assert ((right - double([4.0, 0, 0])) ** 2).mean() == pytest.approx(0.49, rel=0.1)


def test_values_of_beta_rise_from_0_to_1_with_a_step_size_each():
    way = annealed(TARGET, REFERENCE, like(200), MOVE, generator=seeded(0))
    assert (way.betas[0], way.betas[-1]) == (0, 1)
    assert all(a < b for a, b in pairwise(way.betas))
    assert len(way.steps) == len(way.betas)
    assert way.steps[0] == pytest.approx(0.3)


def test_changes_of_beta_are_equal_steps_of_length():
    slopes = 3 * torch.randn(1000, dtype=F64, generator=seeded(3))
    weight = torch.where(slopes > 0, 0.0, -torch.inf)  # what has no weight has no say
    deviation = float(slopes[slopes > 0].std(correction=0))
    assert _next(slopes, weight, 0.2, 1) == pytest.approx(0.2 + LENGTH / deviation)
    assert _next(0.01 * slopes, weight, 0.2, 1) == 1
    assert _next(0 * slopes, weight, 0.2, 1) == 1
    assert _next(1e9 * slopes, weight, 0.2, LONGEST) == 0.2 + 1 / LONGEST


def test_works_both_ways_give_the_normaliser():
    """The kernels down are those up, so that Bennett's ratio is consistent."""
    gaps = []
    for s in range(4):
        g = seeded(s)
        way = annealed(TARGET, REFERENCE, like(100), MOVE, generator=g)
        model = TARGET.sample(100, dtype=F64, generator=g)
        z = log_z(TARGET, REFERENCE, model, way, generator=g)
        gaps.append((z.value - TARGET.log_z) / z.error)
    gaps = double(gaps)
    assert abs(gaps.mean()) * math.sqrt(4) < 4
    assert gaps.abs().max() < 4


def test_refusals():
    with pytest.raises(ValueError, match="`chains` must be > 0 and finite: got 0"):
        annealed(TARGET, REFERENCE, like(0), MOVE)
