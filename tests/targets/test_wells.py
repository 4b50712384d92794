"""Many wells: normaliser, gradient-free facts of draws, and dimensions that are none."""

import math

import pytest
import torch
from problems import F64, seeded, z_score

from wgflow.likelihood.quadrature import Grid
from wgflow.targets.catalogue import named
from wgflow.targets.wells import ManyWell


def test_log_z_is_that_of_pairs():
    grid = Grid.box([-4.5, -9.0], [4.5, 9.0], 800)
    pair = math.log(float((-ManyWell(2)(grid.nodes)).exp().sum() * grid.volume))
    assert ManyWell(2).log_z == pytest.approx(pair, abs=1e-6)
    assert ManyWell(8).log_z == pytest.approx(4 * pair, abs=1e-5)


def test_draws_have_the_moments_that_stein_s_identity_demands():
    """``E[∇·f - f·∇E] = 0`` of f = x and x³, a coordinate each: nothing but E is used."""
    law = ManyWell(6)
    x = law.sample(40_000, dtype=F64, generator=seeded(0)).requires_grad_()
    (grad,) = torch.autograd.grad(law(x).sum(), x)
    x = x.detach()
    for f, slope in ((x, torch.ones_like(x)), (x**3, 3 * x**2)):
        assert z_score(slope - f * grad, 0.0).abs().max() < 4
    right = (x[:, 0::2] > 0).double()
    assert z_score(right, 0.844307).abs().max() < 4


def test_dimensions_are_even():
    for dim in (3, 0):
        with pytest.raises(ValueError, match=f"`dim` must be even and at least 2: got {dim}"):
            ManyWell(dim)
    assert named("many-well").dim == 32
    assert named("many-well", 6).known.dim == 6
