"""The benchmark of flows: its score, its problems, and its learners are what they say."""

import json
import math
import sys

import pytest
import torch

from benchmarks import flow
from benchmarks.flow import cases, symmetric_kl
from benchmarks.flow_learners import LEARNERS, SETTINGS, Density, with_moments
from benchmarks.flow_problems import Mixture, OrnsteinUhlenbeck, density
from benchmarks.flow_shown import shown
from wgflow.data.mixtures import Gaussians
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.likelihood.gaussian import GaussianLaw, gaussian_kl

F64 = torch.float64
SKEWED = Gaussian([0.2, -0.1], [[1.3, 0.2], [0.2, 0.8]])
ROUND = Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def law(target):
    return GaussianLaw(target.mean, target.factor @ target.factor.T)


def test_the_score_is_the_symmetric_divergence_with_its_error():
    p, q = law(SKEWED), law(ROUND)
    exact = float(gaussian_kl(p, q) + gaussian_kl(q, p))
    found = [symmetric_kl(density(SKEWED), density(ROUND), 500, 2 * s) for s in range(60)]
    values, errors = torch.tensor(found, dtype=F64).T
    assert abs(values.mean() - exact) < 4 * values.std() / math.sqrt(len(values))
    assert values.std() == pytest.approx(float(errors.mean()), rel=0.35)
    assert symmetric_kl(density(ROUND), density(ROUND), 100, 0) == (0, 0)


def test_an_error_of_log_z_enters_squared():
    shifted = Density(lambda x: ROUND.log_prob(x) + 0.01, density(ROUND).sample)
    value, _ = symmetric_kl(density(ROUND), shifted, 100, 0)
    assert value == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize("d", [1, 5])
def test_ornstein_uhlenbeck_ends_at_a_covariance_within_its_bounds(d):
    problem = OrnsteinUhlenbeck(d, 3)
    assert isinstance(problem.target, Gaussian)
    values = torch.linalg.eigvalsh(problem.target.factor @ problem.target.factor.T)
    assert values.min() >= 0.25 - 1e-9
    assert values.max() <= 4 + 1e-9
    x = problem.start.sample(7, dtype=F64, generator=seeded(0))
    assert torch.allclose(problem.law(0.0).log_prob(x), problem.start.log_prob(x))
    assert torch.allclose(problem.law(50.0).log_prob(x), problem.target.log_prob(x))


def test_the_floor_and_the_error_of_the_step():
    problem = OrnsteinUhlenbeck(3, 1)
    told = problem.beside(torch.zeros(1000, 3, dtype=F64), 1.0, 0.02)
    assert told["floor"] == 3 * 6 / 2000
    coarse = problem.beside(torch.zeros(10, 3, dtype=F64), 1.0, 0.04)["bias"]
    assert coarse / told["bias"] == pytest.approx(16, rel=0.15)  # a divergence is of order 2 · 2


def test_masses_of_particles_and_their_divergence():
    problem = Mixture(12, 0)
    target = problem.target
    assert isinstance(target, GaussianMixture)
    assert target.means.shape == (10, 12)
    shares = torch.tensor([0.19, 0.01, *[0.1] * 8], dtype=F64)
    skewed = GaussianMixture(target.means, std=1.0, weights=shares)
    x = skewed.sample(20_000, dtype=F64, generator=seeded(2))
    told = problem.beside(x, 4.0, 0.02)
    apart = float(((shares - 0.1) * (shares / 0.1).log()).sum())  # of modes without an overlap
    assert told["masses"] == pytest.approx(apart, rel=0.05)
    assert told["least"] == pytest.approx(0.01, abs=0.003)
    assert told["most"] == pytest.approx(0.19, abs=0.012)


QUICK = ("energy.width=16", "energy.depth=1", "energy.features=8", "training.steps=3")


@pytest.mark.parametrize("name", LEARNERS)
def test_learned_densities_are_normalised_and_drawn_from(name, tmp_path, monkeypatch):
    monkeypatch.setattr("wgflow.data.estimates.SIZES", (1,))
    monkeypatch.setattr("wgflow.data.estimates.CENTERS", 200)
    few = (*SETTINGS, *QUICK, "scheme.scheme.dynamics.size=64", "training.batch_size=64")
    monkeypatch.setattr("benchmarks.flow_learners.SETTINGS", few)
    x = 3 + 2 * torch.randn(2600, 1, dtype=F64, generator=seeded(5))
    learned = LEARNERS[name](x, 0, tmp_path)
    nodes = torch.linspace(-12, 18, 1001, dtype=F64)[:, None]
    p = learned.log_prob(nodes).exp()
    assert float(p.sum() * 0.03) == pytest.approx(1, abs=0.01)
    mean = float((p * nodes[:, 0]).sum() / p.sum())
    draws = learned.sample(2000, 1)
    assert draws.shape == (2000, 1)
    assert abs(float(draws.mean()) - mean) < 4 * 2 / math.sqrt(2000)
    assert torch.equal(draws, learned.sample(2000, 1))


def test_the_network_learns_at_the_last_time_alone():
    found = list(cases("ou", ["gaussian", "residual"], 2))
    assert {c["t"] for c in found if c["name"] == "residual"} == {1.0}
    assert {c["t"] for c in found if c["name"] == "gaussian"} == {0.1, 0.5, 1.0}
    assert len(found) == 2 * 8 * (3 + 1)


def test_the_command_keeps_rows_and_prints_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(flow, "PARTICLES", 400)
    monkeypatch.setattr(flow, "DRAWS", 500)
    out = tmp_path / "rows.jsonl"
    given = ["flow", "--only", "gaussian", "--dims", "2", "--times", "1", "4", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.setattr(flow, "STEP", 0.25)
    flow.main()
    first = out.read_text()
    rows = [json.loads(line) for line in first.splitlines()]
    assert [(r["problem"], r["d"], r["t"]) for r in rows] == [("ou", 2, 1.0), ("mixture", 2, 4.0)]
    flow.main()
    assert out.read_text() == first
    text = capsys.readouterr().out
    assert shown(rows) in text
    assert "| 2 | 1.0 |" in text
    assert "0.0037" in text  # what is published beside it


def test_a_stack_is_mapped_to_the_moments_of_the_particles():
    means = torch.randn(3, 2, dtype=F64, generator=seeded(6))
    roots = torch.randn(3, 2, 2, dtype=F64, generator=seeded(7))
    part = Gaussians(torch.tensor([0.2, 0.3, 0.1], dtype=F64), means, roots @ roots.mT + 0.1)
    shared = Gaussians(
        torch.full((2,), 0.2, dtype=F64), 2 - means[:2], torch.eye(2, dtype=F64)[None]
    )
    wanted = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=F64)
    found = with_moments([part, shared], wanted)
    weights = torch.cat([f.weights for f in found])
    centers = torch.cat([f.means for f in found])
    within = torch.cat([f.covariances.expand(len(f.means), 2, 2) for f in found])
    torch.testing.assert_close(weights @ centers, torch.zeros(2, dtype=F64), atol=1e-12, rtol=0)
    second = centers[:, :, None] * centers[:, None] + within
    torch.testing.assert_close((weights[:, None, None] * second).sum(0), wanted)
