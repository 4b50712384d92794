"""The verbs that use a trained energy, and the composition of runs, on runs of a few steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import SMALL, TINY, fit, refused, succeed, told
from PIL import Image
from problems import seeded

from wgflow.energies.base import Rescaled
from wgflow.runs.compose import compose, counted, standardised
from wgflow.runs.uses import highest_temperature, initialisation, langevin_step
from wgflow.tasks import denoise as denoising
from wgflow.tasks.inpaint import side


def size(picture):
    with Image.open(picture) as image:
        return image.size


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of points in the plane, whose units differ, and one of images by matched paths."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "moons": fit(folder, "moons", SMALL),
        "rings": fit(folder, "rings", SMALL),
        "digits": fit(folder, "digits", TINY),
    }


def test_a_product_adds_energies_in_the_units_of_the_data(runs):
    moons, rings = runs["moons"], runs["rings"]
    x = rings.dataset.test[:50]
    product = compose([moons, rings], coefficients=[1.0, 0.5], temperature=2.0)
    expected = (moons.energy(x) + 0.5 * rings.energy(x)) / 2
    assert torch.allclose(product.energy(x), expected, rtol=1e-4, atol=1e-4)
    # Its inner energy is the same law in the units of the first run: less the log-Jacobian.
    inner = product.energy.energy(moons.standardise(x))
    jacobian = moons.energy.scale.log().sum().float()
    assert torch.allclose(inner, expected - jacobian, rtol=1e-4, atol=1e-4)
    assert product.path == moons.path
    assert product.event_shape == (2,)


def test_samples_of_a_product_are_of_the_product(runs):
    """Two Gaussians in the place of what two runs learned: N(0, 1) times N(2, 1) is N(1, 1/2)."""
    moons = runs["moons"]

    def gaussian(mean):
        energy = standardised(lambda x: (x - mean).square().sum(1) / 2, moons)
        return replace(moons, energy=energy)

    product = compose([gaussian(0.0), gaussian(2.0)])
    x = product.sample(4000, rounds=150, generator=seeded(0))
    assert x.mean(0).tolist() == pytest.approx([1.0, 1.0], abs=0.06)
    assert x.var(0).tolist() == pytest.approx([0.5, 0.5], abs=0.06)
    cold = compose([gaussian(0.0)], temperature=0.25)
    assert cold.sample(4000, rounds=150, generator=seeded(1)).var(0).tolist() == pytest.approx(
        [0.25, 0.25], abs=0.03
    )


def test_only_densities_of_the_same_points_are_multiplied(runs):
    with pytest.raises(ValueError, match=r"one shape of points, got \(2,\), \(1, 8, 8\)"):
        compose([runs["moons"], runs["digits"]])
    with pytest.raises(ValueError, match="got no runs"):
        compose([])
    assert "one shape of points" in refused(
        "sample", runs["moons"].path, "--times", runs["digits"].path
    )
    assert "`temperature` must be > 0" in refused("sample", runs["moons"].path, "--temperature", 0)


def test_units_there_and_back(runs):
    digits = runs["digits"]
    x = digits.dataset.test[:5]
    u = digits.standardise(x)
    assert torch.allclose(u, digits.dataset.standardise(x))
    assert torch.allclose(digits.unstandardise(u), x, atol=1e-6)
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\) after the first axis: got \(3, 2"):
        digits.standardise(torch.zeros(3, 2))


def test_steps_and_temperatures_follow_the_scheme(runs):
    """Wells of variance ε(1-t*) = 0.0125 · 0.2, an eighth of which is a step."""
    assert langevin_step(runs["digits"]) == pytest.approx(0.0025 / 8)
    assert highest_temperature(runs["digits"]) == pytest.approx(400.0)
    assert langevin_step(runs["moons"]) == float(runs["moons"].particles.state.step_size)
    assert highest_temperature(runs["moons"]) == 10.0


def test_counting(runs):
    moons, counter = counted(runs["moons"])
    x = moons.dataset.test[:7]
    assert torch.equal(moons.energy(x), runs["moons"].energy(x))
    assert counter.points == 7


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("left", slice(0, 2), slice(0, 2)),
        ("right", slice(0, 2), slice(2, 5)),
        ("top", slice(0, 1), slice(0, 5)),
        ("bottom", slice(1, 2), slice(0, 5)),
        ("center", slice(0, 1), slice(1, 3)),
    ],
)
def test_sides(name, rows, columns):
    expected = torch.zeros(3, 2, 5, dtype=torch.bool)
    expected[:, rows, columns] = True
    assert torch.equal(side(name, (3, 2, 5)), expected)


def test_inpainting_keeps_what_is_known(runs, tmp_path):
    folder, out = runs["digits"].path, tmp_path / "x.npy"
    options = ["-n", 3, "--draws", 2, "--approach", 2, "--steps", 1, "--out", out]
    assert told("inpaint", folder, "--mask", "left", *options)["shape"] == [3, 2, 1, 8, 8]
    x, y = runs["digits"].dataset.test[:3, None].numpy(), np.load(out)
    assert np.allclose(y[..., 4:], np.broadcast_to(x, y.shape)[..., 4:], atol=1e-5)
    assert not np.allclose(y[:, 0, ..., :4], y[:, 1, ..., :4])
    succeed("inpaint", folder, *options, "--sampler", "ula", "--start", "noise", "--mode")
    picture = tmp_path / "x.png"
    succeed("inpaint", folder, *options[:-1], picture)
    assert size(picture) == (8 * (2 + 2), 8 * 3)
    assert "must be one of path, noise" in refused("inpaint", folder, "--start", "here")
    assert "`sampler` must be one of" in refused("inpaint", folder, "--sampler", "hmc")


def test_inpainting_points_by_files(runs, tmp_path):
    folder, file, mask, out = (runs["moons"].path, *(tmp_path / n for n in "abc"))
    file, mask, out = (f.with_suffix(".npy") for f in (file, mask, out))
    np.save(file, np.array([[0.5, 9.0], [1.0, 9.0]]))
    np.save(mask, np.array([False, True]))
    inputs = ["inpaint", folder, "--input", file, "--steps", 3, "--out", out]
    succeed(*inputs, "--mask", mask, "--draws", 4)
    y = np.load(out)
    assert y.shape == (2, 4, 2)
    np.save(mask, np.array([0, 1], np.uint8))
    succeed(*inputs, "--mask", mask, "--draws", 4)
    assert np.array_equal(y, np.load(out))
    assert np.allclose(y[..., 0], [[0.5], [1.0]])
    assert abs(y[..., 1]).max() < 8
    assert "Sides are of images: expected a mask FILE.npy" in refused(*inputs)
    assert "`side` must be one of left" in refused(*inputs, "--mask", "lft")
    assert "expected the scheme energy-matching" in refused(
        *inputs, "--mask", mask, "--start", "path"
    )
    np.save(file, np.zeros((2, 3)))
    assert "expected (2,) each, got an array of shape (2, 3)" in refused(*inputs, "--mask", mask)
    assert "read from an .npy file" in refused("inpaint", folder, "--input", "x.csv")


def test_denoising_tells_errors_of_what_it_knows(runs, tmp_path):
    digits, out = runs["digits"], tmp_path / "x.npy"
    few = ["--steps", 2, "--burn-in", 1, "-n", 4, "--noise", 0.25, "--out", out]
    found = told("denoise", digits.path, *few)
    assert found["columns"] == ["clean", "noisy", "mode", "mean", "flow"]
    assert found["rms"]["noisy"] == pytest.approx(0.25, rel=0.2)
    x, mean = digits.dataset.test[:4].numpy(), np.load(out)
    assert found["rms"]["mean"] == pytest.approx(np.sqrt(((mean - x) ** 2).mean()), rel=1e-4)
    assert "root mean squared error" in succeed("denoise", digits.path, *few)
    given = tmp_path / "y.npy"
    np.save(given, x)
    unknown = told("denoise", digits.path, *few, "--input", given)
    assert (unknown["columns"], unknown["rms"]) == (["noisy", "mode", "mean", "flow"], {})
    moons = told("denoise", runs["moons"].path, *few)
    assert moons["columns"] == ["clean", "noisy", "mode", "mean"]
    assert "`noise` must be > 0 and finite: got 0" in refused("denoise", digits.path, "--noise", 0)


def test_the_prior_of_denoising_has_a_temperature(runs, tmp_path):
    """Above all temperatures only the observation is left, whose mode is itself."""
    few = ["--steps", 1, "--burn-in", 0, "--noise", 0.25, "--out", tmp_path / "x.npy"]
    cold, hot = (
        told("denoise", runs["moons"].path, *few, "--temperature", t)["rms"] for t in (1, 1e12)
    )
    assert hot["mode"] == pytest.approx(hot["noisy"], rel=1e-4)
    assert cold["mode"] != pytest.approx(cold["noisy"], rel=1e-2)


def test_noise_is_in_units_of_the_data_and_chains_begin_at_the_flow(runs, tmp_path, monkeypatch):
    digits = runs["digits"]

    def fake(energy, y, sigma, *arguments, **options):
        assert torch.allclose(sigma, (0.25 / digits.dataset.scale).expand_as(sigma))
        assert torch.equal(options["start"], digits.flow.denoise(y, sigma))
        return denoising.Denoised(y, y, y)

    monkeypatch.setattr(denoising, "denoise", fake)
    succeed("denoise", digits.path, "--noise", 0.25, "--out", tmp_path / "x.npy")


def test_paths_between_points(runs, tmp_path):
    out = tmp_path / "x.npy"
    few = ["-n", 2, "--points", 5, "--steps", 3]
    found = told("interpolate", runs["moons"].path, *few, "--out", out)
    x, ends = np.load(out), runs["moons"].dataset.test[:4].numpy()
    assert x.shape == (2, 5, 2)
    assert np.allclose(x[:, [0, -1]], ends.reshape(2, 2, 2), atol=1e-5)
    assert abs(x[:, 2] - ends.reshape(2, 2, 2).mean(1)).max() > 1e-4  # not the straight one
    assert [row["pair"] for row in found["barriers"]] == [1, 2]
    assert "straight" in succeed("interpolate", runs["digits"].path, *few)
    assert size(runs["digits"].path / "paths.png") == (8 * 5, 8 * 2 * 2)
    one = tmp_path / "one.npy"
    np.save(one, ends[:1])
    assert "expected two points or more, got 1" in refused(
        "interpolate", runs["moons"].path, "--input", one
    )


def test_outliers_are_told(runs, tmp_path):
    moons, far = runs["moons"], tmp_path / "far.csv"
    rows = torch.randn(200, 2, generator=seeded(3)) * 0.1 + 40.0
    far.write_text("a,b\n" + "\n".join(f"{a},{b}" for a, b in rows.tolist()))
    found = told("ood", moons.path, far, "rings", "--background", runs["rings"].path, "-n", 100)
    assert found["points"] == 100
    assert set(found["auroc"]) == {str(far), "rings"}
    known = {"energy", "typicality", "slope", "likelihood_ratio"}
    assert set(found["auroc"]["rings"]) == known
    assert found["auroc"][str(far)]["energy"]["value"] == 1.0
    same = told("ood", moons.path, "moons")["auroc"]["moons"]
    for area in same.values():
        assert area["low"] <= 0.53
        assert area["high"] >= 0.47
    shown = succeed("ood", moons.path, "rings", "-n", 50)
    assert " to " in shown
    assert "likelihood_ratio" not in shown
    assert "expected (2,) each" in refused("ood", moons.path, "digits")


def test_paths_recover_the_data_they_lead_to(runs, tmp_path):
    """Energies matched to paths have one score more, in standardised units."""
    images = runs["digits"]
    far = tmp_path / "far.npy"
    np.save(far, 5 + images.dataset.test[:30].numpy())
    found = told("ood", images.path, far, "-n", 30)["auroc"][str(far)]
    assert set(found) == {"energy", "typicality", "slope", "reconstruction_error"}
    assert found["reconstruction_error"]["value"] == 1.0
    x = images.dataset.test[:5]
    u = (x - images.energy.shift.to(x)) / images.energy.scale.to(x)
    expected = images.flow.reconstruction_error(u, generator=seeded(1))
    assert torch.equal(images.reconstruction_error(x, generator=seeded(1)), expected)


def test_samples_from_noise_take_options(runs, tmp_path):
    out = ["-n", 4, "--out", tmp_path / "x.npy"]
    path = ["--time", 1, "--steps", 5, "--langevin", 2]
    digits = runs["digits"].path
    # One gradient per step of the path, per Langevin step, and where those start.
    assert told("sample", digits, *out, *path)["evaluations"] == 5 + 2 + 1
    assert told("sample", digits, *out, "--start", "noise")["evaluations"] == 80
    assert "80 evaluations of the energy per point" in succeed("sample", digits, *out)
    assert "Samples start from particles" in refused(
        "sample", digits, *out, "--start", "population"
    )
    assert "`start` must be noise" in refused("sample", runs["moons"].path, *out, "--steps", 3)
    assert "leads from noise" in refused("sample", runs["moons"].path, *out, "--start", "noise")
    composed = ["--times", digits, "--temperature", 2]
    assert told("sample", digits, *out, *path, *composed)["shape"] == [4, 1, 8, 8]


def test_beginnings_of_chains(runs):
    digits = runs["digits"]
    known = digits.standardise(digits.dataset.test[:3])
    mask = side("top", (1, 8, 8))
    begun = initialisation(digits, None, 3, known, mask, generator=seeded(0))["start"]
    assert torch.equal(begun[:, ~mask], known[:, ~mask])
    cooled = initialisation(digits, "noise", 3, known, mask, generator=seeded(0))["temperatures"]
    assert cooled == pytest.approx([400.0, 20.0, 1.0])


def test_standardising_is_of_the_same_law(runs):
    moons = runs["moons"]
    energy = standardised(lambda x: x.square().sum(1), moons)
    assert isinstance(energy, Rescaled)
    x = moons.dataset.test[:5]
    assert torch.allclose(energy(x), x.square().sum(1), atol=1e-4)
