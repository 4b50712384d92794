"""The hierarchical model: its evidence by quadrature, its draws, bad settings."""

import math

import pytest
import torch
from problems import F64, seeded

from wgflow.targets.hierarchical import HierarchicalNormal


def test_the_evidence_is_the_integral_of_the_energy():
    """Of one effect, over μ, log τ and ``z = (θ - μ)/τ``."""
    model = HierarchicalNormal([3.0], [2.0], mean_scale=1.5, scale=0.7)
    ends = (-9, 9, 91), (-16, 12, 281), (-8, 8, 81)
    axes = [torch.linspace(*each, dtype=F64) for each in ends]
    mu, log_tau, z = (a.flatten() for a in torch.meshgrid(*axes, indexing="ij"))
    x = torch.stack([mu, log_tau, mu + log_tau.exp() * z], 1)
    cell = math.prod(float(a[1] - a[0]) for a in axes)
    found = float((log_tau - model(x)).logsumexp(0)) + math.log(cell)
    assert found == pytest.approx(model.log_z, abs=1e-3)


def test_small_scales_of_effects_draw_them_together():
    x = HierarchicalNormal().sample(20_000, dtype=F64, generator=seeded(0))
    z = (x[:, 2:] - x[:, :1]) / x[:, 1:2].exp()
    narrow = x[:, 1] < -1.5  # the data hardly know θ from μ
    assert int(narrow.sum()) > 300
    # A chi-square of eight degrees for each, up to a shift by the data of a tenth.
    assert float(z[narrow].square().sum(1).mean()) == pytest.approx(8, abs=0.8)


def test_energies_are_finite_where_scales_are_tiny():
    x = torch.zeros(1, 10)
    x[0, 1] = -30.0
    assert HierarchicalNormal()(x).isfinite().all()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="`errors` must be 2: got 1"):
        HierarchicalNormal([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="`scale` must be"):
        HierarchicalNormal(scale=0.0)
    with pytest.raises(ValueError, match="`errors` must be"):
        HierarchicalNormal([1.0], [0.0])
