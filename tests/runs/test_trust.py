"""What tells whether a density can be trusted: one that is exact, and the same with one fault."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import double, seeded

from wgflow.config import Config, Data
from wgflow.data.dataset import Dataset
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.energies.base import Rescaled
from wgflow.likelihood.annealing import LogZ
from wgflow.metrics.alarms import ERRORS, SHARE, alarms
from wgflow.metrics.regions import Clusters, largest_difference
from wgflow.runs import trust
from wgflow.runs.evaluate import evaluate
from wgflow.runs.run import Run
from wgflow.runs.trust import (
    cut,
    defended,
    density_shares,
    gaussian_nll,
    halves,
    over_mixture,
    repeats,
    trust_scores,
)
from wgflow.samplers import MALA
from wgflow.samplers.particles import Particles
from wgflow.training.learner import load_data

MEANS = double([[-3.0, 0.0, 10.0], [3.0, 0.0, 10.0], [0.0, 3.0, 11.0]])
WEIGHTS = (0.5, 0.3, 0.2)
SAMPLES = 2000


def mixture(*weights):
    return GaussianMixture(MEANS, 0.4, weights=list(weights))


def draw(n, seed, *weights):
    return mixture(*weights).sample(n, dtype=torch.float32, generator=seeded(seed))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of points of `mixture` that learned it without any error."""
    path = tmp_path_factory.mktemp("exact")
    np.save(path / "x.npy", draw(1500, 0, *WEIGHTS).numpy())
    config = Config(data=Data(str(path / "x.npy"), transform=None))
    exact = energy(load_data(config), *WEIGHTS)
    run = Run(path, config, exact, None, None, (3,), steps=0, rollbacks=0)
    held_out = particles(run, draw(2000, 2, *WEIGHTS))
    return replace(run, particles=particles(run, draw(2000, 1, *WEIGHTS)), held_out=held_out)


def energy(data, *weights):
    """The energy of a mixture, around one in standardised units."""
    target = mixture(*weights)
    return Rescaled(lambda u: target(data.unstandardise(u).to(u)), data.shift, data.scale)


def particles(run, x, log_weight=None):
    state = MALA(0.01).init(run.energy.energy, run.standardise(x))
    weights = torch.zeros(len(x)) if log_weight is None else log_weight
    return Particles(state, weights, torch.zeros((), dtype=torch.float64))


def scored(run, x=None):
    return trust_scores(run, draw(SAMPLES, 3, *WEIGHTS) if x is None else x)


def rung(run, x=None):
    return [(alarm.name, alarm.sentence) for alarm in alarms({"nll": 0.0} | scored(run, x))]


def test_an_exact_density_can_be_trusted(run):
    scores = scored(run)
    assert alarms({"nll": 0.0} | scores) == []
    sources = ("density", "samples", "particles", "held_out")
    assert all(abs(scores[f"modes_{s}"]) < 4 * scores[f"modes_{s}_error"] for s in sources)
    assert scores["modes_density_draws"] > 300
    assert scored(run) == scores


WRONG = (0.3, 0.3, 0.4)


def test_a_density_without_the_shares_of_the_data_is_seen(run):
    wrong = replace(run, energy=energy(run.dataset, *WRONG))
    ((name, sentence),) = rung(wrong)
    assert name == "modes"
    assert "in the density" in sentence
    assert "samples" not in sentence


def test_particles_and_samples_without_the_shares_of_the_data_are_seen(run):
    moved = replace(run, particles=particles(run, draw(2000, 4, *WRONG)))
    ((name, sentence),) = rung(moved)
    assert (name, sentence.endswith("in training particles.")) == ("modes", True)
    ((name, sentence),) = rung(run, draw(2000, 5, *WRONG))
    assert (name, sentence.endswith("in model samples.")) == ("modes", True)
    # The same points with weights that restore the shares are no fault.
    x = draw(2000, 6, *WRONG)
    log_weight = mixture(*WRONG)(x) - mixture(*WEIGHTS)(x)
    assert rung(replace(run, held_out=particles(run, x, log_weight.float()))) == []


def unrelated(n, generator):
    """Flags, counts and numbers, of which none tells of another: exact points are no cluster."""
    flags = torch.rand(n, 3, generator=generator) < torch.tensor([0.5, 0.15, 0.6])
    counts = torch.poisson(torch.full((n, 1), 20.0), generator=generator)
    return torch.cat([flags.double(), counts, torch.randn(n, 4, generator=generator)], 1)


def off_by_chance(split, seed):
    """Whether exact points ring as samples, with clusters and shares of the rows of a split."""
    generator = seeded(seed)
    u, x = unrelated(100, generator), unrelated(2000, generator)
    seen, others = split((u - u.mean(0)) / u.std(0))
    clusters = Clusters(seen)
    shares = clusters.shares((x - u.mean(0)) / u.std(0)), clusters.shares(others)
    off = largest_difference(*shares)
    return abs(off.value) > max(SHARE, ERRORS * off.error)


def test_clusters_of_few_rows_have_their_shares_of_others():
    assert not any(off_by_chance(halves, seed) for seed in range(12))
    assert any(off_by_chance(lambda u: (u, u), seed) for seed in range(12))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_fewest_rows_are_one_cluster(count):
    u = unrelated(count, seeded(5))
    seen, others = halves(u)
    assert len(seen) == 2
    assert torch.equal(torch.cat([seen, others]), u)
    assert len(Clusters(seen)) == 1


def test_rows_that_share_one_value_are_seen(run):
    train = run.dataset.train[:].clone()
    train[::4, 1] = 0.0
    atomic = replace(run)
    atomic.__dict__["dataset"] = replace(run.dataset, train=train)
    assert scored(atomic)["atom"] == pytest.approx(0.25, abs=0.01)
    assert "25 % of the rows have the very same value" in dict(rung(atomic))["atom"]


def test_columns_that_follow_from_others_are_seen(run):
    train = run.dataset.train[:].clone()
    train[:, 1] = 3 * train[:, 0] - 1
    flat = replace(run)
    flat.__dict__["dataset"] = replace(run.dataset, train=train)
    assert scored(flat)["determined"] == 1
    assert "1 column follows from others" in dict(rung(flat))["determined"]
    assert "determined" not in scored(run)


def test_a_row_far_from_all_others_is_seen(run):
    train = run.dataset.train[:].clone()
    train[7, 1] = -3e4
    odd = replace(run)
    odd.__dict__["dataset"] = replace(run.dataset, train=train)
    assert scored(odd)["isolated"] == 1
    assert "1 row lies" in dict(rung(odd))["isolated"]


def test_mass_outside_the_data_is_seen(run):
    x = draw(2000, 7, *WEIGHTS)
    x[:100] += 50
    sentence = dict(rung(replace(run, held_out=particles(run, x))))["outside"]
    assert sentence.startswith("Farther out than any row of the data lie 5.")
    assert sentence.endswith(" % of held-out particles.")
    assert dict(rung(run, x))["outside"].endswith(" % of model samples.")


def test_particles_that_disagree_about_log_z_are_seen(run):
    banked = torch.tensor(5.0, dtype=torch.float64)
    apart = replace(run, held_out=run.held_out._replace(banked=banked))
    ((name, sentence),) = rung(apart)
    assert name == "log_z_gap"
    assert "5.0 nats below" in sentence
    both = replace(apart, particles=run.particles._replace(banked=banked))
    assert rung(both) == []


def test_shares_of_a_density_are_those_of_its_weights(run):
    """Also where the chains start with other shares: those of the data."""
    u = run.standardise(draw(1500, 8, *WEIGHTS))
    clusters = Clusters(u)
    wrong = energy(run.dataset, *WRONG).energy
    found = density_shares(wrong, clusters, u, MALA(0.01), generator=seeded(9))
    labels = clusters.labels(run.standardise(MEANS.float()))
    error = math.sqrt(0.25 / found.points)
    assert (found.of[labels] - double(WRONG)).abs().max() < 4 * error
    assert error < 0.04


def test_the_gaussian_of_the_moments_by_hand():
    """On the law itself the mean is the entropy, in any units."""
    covariance = double([[4.0, 1.9, 0.0], [1.9, 1.0, 0.0], [0.0, 0.0, 1e-6]])
    target = Gaussian(double([100.0, 0.0, -1.0]), covariance)
    train, test = target.sample(50_000, generator=seeded(10)).split(25_000)
    data = Dataset("gaussian", train, test, train.mean(0), train.std(0))
    found = gaussian_nll(data)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
    assert abs(found["nll_gaussian"] - entropy) < 4 * found["nll_gaussian_error"]
    assert found["nll_gaussian_error"] == pytest.approx(math.sqrt(1.5 / 25_000), rel=0.05)
    images = train.reshape(-1, 1, 3, 1)
    assert gaussian_nll(Dataset("images", images, images, train.mean(), train.std())) == {}


# Against a mixture ------------------------------------------------------------------------------


@pytest.fixture
def normalised(run):
    return known(run, 0.0)


def known(run, error):
    """With the normaliser in units of learning of a density that is normalised in the others."""
    value = -float(run.dataset.scale.double().log().sum())
    told = replace(run)
    told.__dict__["normaliser"] = LogZ(value, error, value, value)
    return told


def test_no_mixture_is_likelier_than_the_law_itself(normalised):
    found = over_mixture(normalised)
    assert found["nll_over_mixture"] < 2 * found["nll_over_mixture_error"]
    # Its few numbers, of 1350 rows, cost little.
    assert found["nll_over_mixture"] > -0.2


def test_no_point_speaks_against_the_mixture_without_bound():
    """With a share ε of p, ``log r/p`` is ``log((1-ε) q/p + ε)``, whatever p expects far away."""
    ratio = torch.tensor([0.5, 1.0, 2.0, 1e-300], dtype=torch.float64)
    torch.testing.assert_close(defended(ratio.log()), (0.8 * ratio + 0.2).log())
    far = torch.tensor([0.3] * 2000 + [-1e12], dtype=torch.float64)
    assert float(defended(far).mean()) == pytest.approx(0.3, abs=0.005)
    assert defended(far[:1]).isfinite()


def test_no_point_hides_what_the_others_say():
    """A mean is cut where it says most, which a bound from below allows; others stay whole."""
    gain = torch.full((500,), 0.5, dtype=torch.float64) + 0.1 * (torch.arange(500) % 2)
    assert torch.equal(cut(gain), gain)
    gain[7] = 1e12
    found, most = cut(gain), math.log(501)
    assert float(found.max()) == pytest.approx(most)
    assert float(found.mean()) == pytest.approx(0.55 + (most - 0.6) / 500)
    gain[::50] = 50.0  # many enough to be believed
    assert float(cut(gain).max()) == pytest.approx(10 * most)
    gain[7] = math.inf
    assert float(cut(gain).max()) == pytest.approx(10 * most)
    assert torch.equal(cut(gain[1:2]), gain[1:2])  # no error is known of one


def test_what_a_wrong_density_loses_to_a_mixture(normalised):
    """``E[log q - log p']`` is ``E[log q - log p]`` and ``E[log p - log p']`` on the same rows."""
    wrong = known(replace(normalised, energy=energy(normalised.dataset, *WRONG)), 0.3)
    exact, found = over_mixture(normalised), over_mixture(wrong)
    test = normalised.dataset.test.double()
    lost = float((mixture(*WRONG)(test) - mixture(*WEIGHTS)(test)).mean())
    assert found["nll_over_mixture"] - exact["nll_over_mixture"] == pytest.approx(lost, abs=1e-4)
    assert lost > 0.05
    assert found["nll_over_mixture_error"] == pytest.approx(0.3, abs=0.02)  # of log Z


def test_a_mixture_of_one_is_the_gaussian_of_the_moments(normalised, monkeypatch):
    monkeypatch.setattr(trust, "COMPONENTS", 1)
    monkeypatch.setattr(trust, "defended", lambda gain: gain)
    nll = float(-normalised.log_prob(normalised.dataset.test).mean())
    gaussian = gaussian_nll(normalised.dataset)["nll_gaussian"]
    found = over_mixture(normalised)["nll_over_mixture"]
    assert found == pytest.approx(nll - gaussian, abs=2e-3)


def test_rows_that_lack_a_coordinate_are_left_out(run):
    data = run.dataset
    train = data.train[:]
    train[::2, 1] = math.nan
    whole = replace(data, train=train[1::2])
    holes = replace(data, train=train)
    assert gaussian_nll(holes) == pytest.approx(gaussian_nll(whole), rel=1e-6)


# Without a likelihood --------------------------------------------------------------------------


def test_a_run_without_a_normaliser_says_why(run):
    refuted = replace(run)
    refuted.__dict__["normaliser"] = LogZ(math.nan, math.inf, 18.0, -2.0)
    with pytest.raises(ValueError, match="which is not known: the lower and the upper bound"):
        refuted.log_prob(run.dataset.test)
    scores = evaluate(refuted, samples=200)
    assert not {"nll", "log_z"} & set(scores)
    (alarm, *_) = alarms(scores)
    assert alarm.name == "bounds"
    assert "18 and −2, have crossed" in alarm.sentence


@pytest.mark.parametrize("asked", [None, False])
def test_a_likelihood_that_is_not_there_is_not_dropped_silently(run, asked, monkeypatch):
    lone = replace(run, particles=None, held_out=None) if asked is None else run
    x = draw(200, 11, *WEIGHTS)
    monkeypatch.setattr(Run, "sample", lambda self, count, generator: x)
    assert alarms(evaluate(lone, likelihood=asked))[-1].name == "likelihood"
    if asked is None:
        with pytest.raises(ValueError, match="expected a scheme that has some"):
            evaluate(lone, likelihood=True)


def test_copies_are_counted_once_for_each_value_less():
    x = draw(10, 0, *WEIGHTS)
    assert repeats(x) == 0
    assert repeats(torch.cat([x, x[:5], x[:1]])) == pytest.approx(6 / 16)
