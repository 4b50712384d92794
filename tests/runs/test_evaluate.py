"""Scores of laws whose scores are known, of exact samples, and of tiny runs from end to end."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import double, seeded, z_score

from wgflow.config import Config, Data, Training
from wgflow.data.dataset import Dataset, load
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.data.transforms import Column, Transform
from wgflow.energies.base import Tempered
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.unet import UNetSpec
from wgflow.likelihood.annealing import LogZ
from wgflow.likelihood.quadrature import box, log_density, log_z, tabulate
from wgflow.metrics.alarms import STANDARDISED
from wgflow.metrics.chance import QUICK
from wgflow.metrics.samples import Wasserstein, halves
from wgflow.runs import evaluate as evaluation
from wgflow.runs.evaluate import (
    density_scores,
    evaluate,
    mode_error,
    plane,
    sample_scores,
    temperature,
)
from wgflow.runs.fit import fit
from wgflow.runs.image_scores import classifier_of, image_features, image_scores, sharp
from wgflow.runs.run import Run
from wgflow.samplers import HMC
from wgflow.schemes import EnergyMatching, NearProximal, Population
from wgflow.storage import folder

TINY = Config(
    seed=3,
    data=Data(size=2000),
    energy=MLPSpec(width=16, depth=1, features=8),
    scheme=NearProximal(dynamics=Population(size=256, held_out=128)),
    training=Training(steps=3, batch_size=100, evaluate_every=3),
)
MEASURED = [STANDARDISED + end for end in ("", "_floor", "_chance")]
EIGHT = replace(load("eight-gaussians", size=2000), name="eight")


def exact(energy, dataset):
    """The normaliser by quadrature."""
    value = float(log_z(energy, plane(dataset)))
    return LogZ(value, 0.0, value, value)


def gaussian_data(n=4000, variance=1.0):
    """Points of a Gaussian of the plane, as a data set that knows its law."""
    target = Gaussian([3.0, -1.0], [[variance, 0.0], [0.0, variance]])
    x = target.sample(n, generator=seeded(0))
    shift, scale = target.mean.float(), torch.full((2,), math.sqrt(variance))
    return Dataset("gaussian", x, x, shift, scale, target=target)


# Likelihoods -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eight-gaussians", "rings"])
def test_the_exact_energy_scores_perfectly(name):
    data = load(name, size=2000)
    scores = density_scores(data.target, data, exact(data.target, data))
    assert scores["log_z"] == pytest.approx(0, abs=1e-4)
    assert abs(scores["kl"]) <= 4 * scores["kl_error"] + 1e-4
    assert scores["kl_reverse"] == pytest.approx(0, abs=1e-4)
    assert scores["fisher"] == pytest.approx(0, abs=1e-6)
    assert scores["nll"] == pytest.approx(-float(data.target.log_prob(data.test).mean()), abs=1e-4)
    assert not {"log_z_lower", "log_z_upper"} & set(scores)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.5])
def test_temperature_is_the_factor_of_the_energy(factor):
    energy = Tempered(EIGHT.target, 1 / factor)
    scores = density_scores(energy, EIGHT, exact(energy, EIGHT))
    assert scores["temperature"] == pytest.approx(factor, rel=0.02)


def test_a_flat_energy_has_no_temperature_and_its_other_scores():
    data = load("checkerboard", size=2000)
    scores = density_scores(data.target, data, exact(data.target, data))
    assert math.isnan(scores["temperature"])
    assert scores["nll"] == pytest.approx(math.log(8), abs=0.02)  # the grid cuts its cells
    assert (scores["kl"], scores["fisher"]) == pytest.approx((0, 0), abs=0.02)


@pytest.mark.parametrize("variance", [1.0, 0.25])
def test_twice_the_energy_of_a_gaussian_by_hand(variance):
    """KL, its reverse and the Fisher information between N(m, s²I) and N(m, s²I/2)."""
    data = gaussian_data(variance=variance)
    energy = Tempered(data.target, 0.5)
    scores = density_scores(energy, data, exact(energy, data))
    assert abs(scores["kl"] - (1 - math.log(2))) < 4 * scores["kl_error"]
    assert scores["kl_error"] == pytest.approx(1 / math.sqrt(len(data.test)), rel=0.1)
    assert scores["kl_reverse"] == pytest.approx(math.log(2) - 0.5, abs=1e-4)
    assert scores["fisher"] == pytest.approx(2 / variance, rel=1e-4)
    assert scores["log_z"] == pytest.approx(math.log(math.pi * variance), abs=1e-4)
    nll = 2 + math.log(math.pi * variance)
    assert abs(scores["nll"] - nll) < 4 * scores["nll_error"]
    assert scores["nll_error"] == pytest.approx(2 / math.sqrt(len(data.test)), rel=0.1)


def test_one_test_point_has_a_likelihood_without_an_error():
    test = torch.ones(1, 3)
    data = Dataset("one", test, test, torch.zeros(3), torch.ones(3))
    scores = density_scores(lambda x: x[:, 0], data, LogZ(0.5, 2.0, 0.1, 0.7))
    assert scores["nll"] == 1.5
    assert math.isnan(scores["nll_error"])


def test_errors_of_the_mean_and_of_the_normaliser_add_in_squares():
    test = torch.tensor([[1.0] * 3, [3.0] * 3])
    data = Dataset("three", test, test, test.mean(0), test.std(0))
    scores = density_scores(lambda x: x[:, 0], data, LogZ(0.5, 2.0, 0.1, 0.7))
    assert scores == pytest.approx(
        {
            "nll": 2.5,
            "nll_error": math.sqrt(1 + 4),
            "log_z": 0.5,
            "log_z_error": 2.0,
            "log_z_lower": 0.1,
            "log_z_upper": 0.7,
        }
    )


def test_the_plane_is_for_one_and_two_dimensions():
    assert plane(EIGHT).nodes.shape == (400**2, 2)
    for event, size in (((1,), 400), ((3,), None), ((1, 2, 1), None)):
        x = torch.randn(5, *event, generator=seeded(0))
        grid = plane(Dataset("points", x, x, x.mean(0), x.std(0)))
        assert (grid and len(grid.nodes)) == size


# Samples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_exact_samples_score_their_floors(seed):
    data = replace(load("eight-gaussians", size=2000, seed=seed), name="eight")
    data = replace(data, test=data.test[:1000])
    x = data.target.sample(1000, generator=seeded(77))
    scores = sample_scores(x, data, seed)
    for name in ("w2", "sliced_w2"):
        assert 1 / 1.5 < scores[name] / scores[f"{name}_floor"] < 1.5
    ours, floor, chance = (scores[STANDARDISED + end] for end in ("", "_floor", "_chance"))
    assert ours < chance < 3 * floor
    for name in ("energy_distance", "mmd"):
        assert scores[f"{name}_floor"] != 0
        assert max(abs(scores[name]), abs(scores[f"{name}_floor"])) < 0.02
    assert scores["mode_error"] == mode_error(x, data.target)
    noise = math.sqrt(7 / 64 / 1000)
    assert 0 < scores["mode_error_floor"] < 4 * noise


@pytest.mark.parametrize("seed", [0, 3])
def test_the_second_reference_is_independent_of_the_data(seed, monkeypatch):
    """Also where the seed of the scores is the one that drew the data."""
    data = load("eight-gaussians", size=2000, seed=seed)
    seen = []

    def record(x, reference):
        seen.append((x, reference))
        return torch.zeros(())

    monkeypatch.setattr(evaluation, "DISTANCES", {"recorded": record})
    x = data.target.sample(300, generator=seeded(99))
    sample_scores(x, data, seed)
    (second, reference), scored = sorted(seen, key=lambda pair: pair[0] is not seen[0][0])
    assert torch.equal(scored[0], x)
    assert torch.equal(reference, data.test[:300])
    assert torch.equal(scored[1], reference)
    assert second.shape == x.shape
    for other in (data.test, data.train, x):
        assert not torch.isin(second, other).all(1).any()
    spread = (second * reference).flatten()
    assert abs(float(z_score(spread, 0))) < 4


def test_without_a_law_the_test_points_are_halved(monkeypatch):
    data = replace(EIGHT, target=None, test=EIGHT.test[:600])
    monkeypatch.setattr(evaluation, "DISTANCES", {"w2": Wasserstein()})
    scores = sample_scores(EIGHT.target.sample(1000, generator=seeded(5)), data)
    assert set(scores) == {"w2", "w2_floor", *MEASURED}
    assert 1 / 1.5 < scores["w2"] / scores["w2_floor"] < 1.5


def test_samples_off_the_law_score_above_the_floor():
    data = replace(EIGHT, test=EIGHT.test[:500])
    x = data.target.sample(500, generator=seeded(6)) + 1.0
    scores = sample_scores(x, data)
    assert scores["sliced_w2"] == pytest.approx(1, rel=0.15)  # |δ|/√d
    for name in evaluation.DISTANCES:
        assert scores[name] > 2 * abs(scores[f"{name}_floor"])


def test_one_far_point_does_not_decide_the_distance_in_units_of_learning():
    """Where a map takes the tails in, exact samples of a Cauchy law stay at the floor."""
    x = torch.tan(torch.pi * (torch.rand(4000, 1, generator=seeded(1)).double() - 0.5))
    maps = Transform((Column("asinh"),))
    y = maps.forward(x)
    data = Dataset("tails", x, x[:2000], y.mean(0), y.std(0), transform=maps)
    far = x[2000:3000].clone()
    far[0] = 20 * x.abs().max()
    scores = sample_scores(far, data)
    assert scores["sliced_w2"] > 10 * scores["sliced_w2_floor"]
    ours, floor, chance = (scores[name] for name in MEASURED)
    assert ours < min(chance, 2 * floor)
    assert scores[STANDARDISED] == float(
        QUICK(data.standardise(far), data.standardise(halves(data.test)[0]))
    )
    moved = sample_scores(x[2000:3000] + 1, data)
    assert moved[STANDARDISED] > max(moved[MEASURED[2]], 2 * moved[MEASURED[1]])


def test_mode_error_by_hand():
    target = GaussianMixture([[-1.0], [0.0], [4.0]], 0.1, weights=[0.5, 0.25, 0.25])
    at = {"a": -1.1, "b": 0.2, "c": 9.0}
    for points, error in (("aabc", 0.0), ("aaaa", 0.5), ("abc", 1 / 6), ("bbbc", 0.5)):
        x = torch.tensor([[at[p]] for p in points])
        assert mode_error(x, target) == pytest.approx(error)


def test_temperature_from_samples():
    data, model = (gaussian_data(20_000, v) for v in (1.0, 0.5))
    energy = Tempered(data.target, 0.5)
    assert temperature(energy, data.test, model.test) == pytest.approx(2, rel=0.05)
    assert math.isnan(temperature(lambda x: x[:, 0], torch.zeros(3, 1), torch.ones(3, 1)))


# Runs ------------------------------------------------------------------------------------------


def strict(path):
    """JSON without the extensions of Python."""

    def refuse(name):
        raise AssertionError(name)

    return json.loads(path.read_text("utf8"), parse_constant=refuse)


def table(path, columns):
    """A file of correlated points far from the origin, in unequal units."""
    z = torch.randn(600, columns, dtype=torch.float64, generator=seeded(1))
    z[:, 1] += z[:, 0]
    x = double([100.0, -50.0, 0.0])[:columns] + z * double([5.0, 0.1, 1.0])[:columns]
    header = ",".join("abc"[:columns])
    np.savetxt(path, x.numpy(), delimiter=",", header=header, comments="")
    return str(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of three steps: two toys, one of them with walls, and tables with 2 and 3 columns."""
    path = tmp_path_factory.mktemp("runs")
    sources = {
        "eight": Data("eight-gaussians", size=2000),
        "walls": Data("checkerboard", size=2000),
        "two": Data(table(path / "two.csv", 2)),
        "three": Data(table(path / "three.csv", 3)),
    }
    return {name: fit(replace(TINY, data=data), path / name) for name, data in sources.items()}


EXACT = {"kl", "kl_error", "kl_reverse", "fisher", "mode_error", "mode_error_floor"}
ALWAYS = {"nll", "nll_error", "log_z", "log_z_error", "temperature"} | {
    f"{name}{floor}"
    for name in ("sliced_w2", "w2", "energy_distance", "mmd")
    for floor in ("", "_floor")
}
SEEN = (
    {*MEASURED, "nll_gaussian", "nll_gaussian_error"}
    | {
        "repeats",
        "repeats_floor",
    }
    | {
        f"{name}{suffix}"
        for name, *suffixes in (
            ("log_z_particles", "", "_error"),
            ("log_z_held_out", "", "_error"),
            *(
                (f"outside_{s}", "", "_error", "_floor")
                for s in ("samples", "particles", "held_out")
            ),
        )
        for suffix in suffixes
    }
)
MODES = {"modes_density_draws"} | {
    f"modes_{source}{error}"
    for source in ("samples", "particles", "held_out", "density")
    for error in ("", "_error")
}
OVER = {"nll_over_mixture", "nll_over_mixture_error"}  # where no truth is known
NAMES = {
    "eight": ALWAYS | EXACT | SEEN | MODES,
    "walls": ALWAYS | {"kl", "kl_error", "fisher"} | SEEN | MODES,  # the reverse KL is infinite
    "two": ALWAYS | SEEN | OVER,  # one cluster
    "three": ALWAYS | {"log_z_lower", "log_z_upper"} | SEEN | OVER,
}


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_kept_and_finite(runs, name):
    run = runs[name]
    scores = evaluate(run, samples=300)
    assert set(scores) == NAMES[name]
    assert all(type(v) is float and math.isfinite(v) for v in scores.values())
    assert strict(run.path / folder.SCORES) == scores
    assert evaluate(run, samples=300) == scores
    if name == "eight":
        assert evaluate(run, samples=300, seed=1)["w2"] != scores["w2"]


@pytest.mark.parametrize("name", ["eight", "two"])
def test_log_prob_integrates_to_one(runs, name):
    run = runs[name]
    grid = plane(run.dataset)
    mass = float(tabulate(run.log_prob, grid.nodes).exp().sum()) * grid.volume
    assert mass == pytest.approx(1, abs=1e-3)
    x = run.dataset.test[:5]
    assert torch.equal(run.log_prob(x), -run.energy(x) - run.normaliser.value)
    assert not run.log_prob(x).requires_grad
    assert run.normaliser.error < 1e-3
    assert run.normaliser.lower == run.normaliser.value == run.normaliser.upper


@pytest.mark.parametrize("name", ["eight", "two"])
def test_samples_follow_the_energy_in_the_units_of_the_data(runs, name):
    run = runs[name]
    x = run.sample(1000, generator=seeded(8))
    data = run.dataset
    grid = box(data.shift, data.scale, torch.float32, reach=12.0, points=300)
    p = log_density(run.energy, grid).exp() * grid.volume
    u, nodes = data.standardise(x).double(), data.standardise(grid.nodes).double()
    assert z_score(u, p @ nodes).abs().max() < 4
    assert z_score(u**2, p @ nodes**2).abs().max() < 4
    assert torch.equal(run.sample(5, generator=seeded(8)), run.sample(5, generator=seeded(8)))
    still = run.sample(5, rounds=0, generator=seeded(8))
    starts = data.unstandardise(run.particles.x)
    near = torch.cdist(*(data.standardise(x).double() for x in (still, starts)))
    assert near.min(1)[0].max() < 1e-3


def test_in_three_dimensions_the_normaliser_has_an_error(runs):
    """The first energy is a Gaussian, whose log Z is known; three steps hardly change it."""
    run = runs["three"]
    found = run.normaliser
    assert 0 < found.error < 0.1
    assert found.lower < found.value + 4 * found.error
    assert found.upper > found.value - 4 * found.error
    u = 2.5 * torch.randn(200_000, 3, generator=seeded(9))  # wider than the model
    log_q = -0.5 * (u / 2.5).square().sum(1) - 3 * math.log(2.5 * math.sqrt(2 * math.pi))
    with torch.no_grad():
        log_w = (-run.energy.energy(u) - log_q).double()
    ratio = (log_w - found.value).exp()
    error = float(ratio.std()) / math.sqrt(len(ratio))
    assert error < 0.02
    assert abs(float(ratio.mean()) - 1) < 4 * math.hypot(error, found.error)


def test_particles_with_momenta_are_sampled_and_scored(tmp_path):
    dynamics = Population(size=128, held_out=64, sampler=HMC(leapfrog=2))
    run = fit(replace(TINY, scheme=NearProximal(dynamics=dynamics)), tmp_path / "r")
    assert evaluate(run, samples=100)["kl"] > 0


def test_without_particles_there_are_no_samples(runs):
    run = replace(runs["eight"], particles=None)
    with pytest.raises(ValueError, match="expected a scheme that has some"):
        run.sample(5)
    with pytest.raises(ValueError, match="expected a scheme that has some"):
        replace(runs["three"], particles=None).normaliser  # noqa: B018
    assert run.normaliser.error < 1e-3


# Images ----------------------------------------------------------------------------------------


def labelled(folder):
    """IDX files of 900 bright and dark images with noise, and as many to test on."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for part in ("train", "t10k"):
        labels = rng.integers(0, 2, 900).astype(np.uint8)
        levels = np.where(labels, 170, 60)[:, None, None] + rng.integers(-40, 40, (900, 12, 12))
        for kind, array in (("images-idx3", levels.astype(np.uint8)), ("labels-idx1", labels)):
            sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
            head = bytes([0, 0, 8, array.ndim]) + sizes
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return folder


def test_images_are_scored_by_features_of_their_classifier(tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path / "cache"))
    config = Config(
        data=Data(str(labelled(tmp_path / "images")), smoothing=0.05),
        energy=UNetSpec(widths=(8,)),
        scheme=EnergyMatching(),
        training=Training(steps=2, batch_size=32),
    )
    run = fit(config, tmp_path / "run")
    scores = evaluate(run, samples=200, features="classifier")
    assert {"sliced_w2", "frechet", "frechet_floor", "kernel_error", "coverage"} <= set(scores)
    assert "nll" not in scores  # convolutions: only when asked for
    assert scores["frechet"] > 10 * scores["frechet_floor"]
    (kept,) = (tmp_path / "cache").glob("classifier-*.safetensors")
    written = kept.stat().st_mtime_ns
    real = run.dataset.train[:200]
    data = sharp(run)
    truth = image_scores(real, data.test, image_features("classifier", data))
    assert kept.stat().st_mtime_ns == written  # read, not trained again
    assert truth["frechet"] < scores["frechet"] / 10
    assert truth["frechet_floor"] == scores["frechet_floor"]


def test_features_that_are_not_to_be_had_are_refused_before_anything_is_drawn(
    tmp_path, monkeypatch
):
    run = fit(TINY, tmp_path / "run")
    monkeypatch.setattr(Run, "sample", None)
    with pytest.raises(ValueError, match="must be classifier, efficientnet"):
        evaluate(run, features="clasif")
    with pytest.raises(
        ValueError, match=r"must be classifier, efficientnet, or a file .*'clasif'"
    ):
        image_features("clasif", EIGHT)
    (tmp_path / "weights.pth").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"Inception needs|must be a state dict"):
        image_features(str(tmp_path / "weights.pth"), EIGHT)


def test_more_samples_than_half_of_the_test_images_are_cut():
    real, x = torch.rand(21, 1, 2, 2), torch.rand(30, 1, 2, 2)

    def flat(images):
        return images.flatten(1)

    assert image_scores(x, real, flat) == image_scores(x[:11], real, flat)


def test_few_points_have_the_distances_that_they_can():
    for count in (1, 2, 3):
        data = replace(EIGHT, target=None, test=EIGHT.test[:count])
        scores = sample_scores(EIGHT.test[:50], data)
        assert all(math.isfinite(value) for value in scores.values())
        assert {"sliced_w2", "w2", "w2_floor"} <= set(scores) if count > 1 else not scores
    test = (EIGHT.test[:400, :1] > 3.8).float()
    bits = Dataset("bits", test, test, test.mean(0), test.std(0))
    found = sample_scores(bits.test, bits)
    assert "sliced_w2" in found
    assert "mmd" not in found  # most of the points are one
    with pytest.raises(ValueError, match=r"must have shape \(2,\) each: got \(1,\)"):
        sample_scores(EIGHT.test[:50, :1], EIGHT)
    with pytest.raises(ValueError, match="must be finite"):
        sample_scores(EIGHT.test[:50] * math.nan, EIGHT)


def test_a_classifier_needs_labels():
    with pytest.raises(ValueError, match="needs labels: eight has none"):
        classifier_of(EIGHT)


def test_a_score_that_cannot_be_computed_costs_itself_alone(monkeypatch, caplog):
    """The reverse divergence of a law that leaves its box, for one, and not the run's others."""

    def fail(*arguments):
        raise ValueError("The grid must hold p.")

    grid = plane(EIGHT)

    def energy(x):
        return -EIGHT.target.log_prob(x)

    value = float(log_z(energy, grid))
    whole = density_scores(energy, EIGHT, LogZ(value, 0.0, value, value))
    monkeypatch.setattr(evaluation, "kl_both", fail)
    scores = density_scores(energy, EIGHT, LogZ(value, 0.0, value, value))
    assert set(whole) - set(scores) == {"kl_reverse"}
    assert all(scores[name] == whole[name] for name in scores)
    assert "kl_reverse cannot be scored: The grid must hold p." in caplog.text


def test_a_folder_that_is_read_only_is_refused_before_any_work(tmp_path, monkeypatch):
    run = fit(TINY, tmp_path / "r")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(Run, "sample", lambda *arguments, **options: pytest.fail("worked"))
    with pytest.raises(ValueError, match="got one that is read-only"):
        evaluate(run)
