"""Which points are compared, and relative to which others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_runs import with_known_density
from problems import double, seeded

from wgflow.data.targets import Gaussian
from wgflow.runs import outliers
from wgflow.runs.outliers import compared_by_halves, most_points, ood, other_points
from wgflow.tasks.ood import auroc


def test_either_half_is_in_deviations_of_the_other():
    """Energies 0, 2 and 1, 5: means 1 and 3, deviations √2 and √8."""
    found = compared_by_halves(
        {
            "energy": double([0.0, 2.0, 1.0, 5.0]),
            "reconstruction_error": double([[0.0], [2.0], [1.0], [5.0]]),
        }
    )
    signed = double([-3 / 8**0.5, -1 / 8**0.5, 0.0, 4 / 2**0.5])
    assert torch.allclose(found["typicality"], signed.abs())
    assert torch.allclose(found["reconstruction_error"], signed)
    assert found["energy"].tolist() == [0.0, 2.0, 1.0, 5.0]


def test_areas_are_those_of_all_test_points(runs):
    test, other = torch.randn(40, 2, generator=seeded(1)), torch.full((3, 2), 1.5)
    run = with_known_density(runs["moons"], test)
    found = ood(run, {"other": other, "same": test})
    norms = test.square().sum(1)
    for score in ("energy", "slope"):
        assert found["other"][score] == pytest.approx(auroc(norms, torch.full((3,), 4.5)))
        assert found["same"][score].value == 0.5
    assert ood(run, {"other": other}, count=20)["other"]["energy"] != found["other"]["energy"]


def test_too_few_test_points_have_no_other_half(runs):
    run = with_known_density(runs["moons"], torch.eye(2))
    with pytest.raises(ValueError, match="expected at least 2 that differ, got 1 of range 0"):
        ood(run, {"same": torch.eye(2)})


def test_all_points_are_compared_but_of_images(runs):
    assert most_points(runs["moons"]) is None
    assert most_points(runs["digits"]) == 1000


def test_rows_of_a_file_have_the_smoothing_of_the_run(runs, tmp_path):
    moons, file = runs["moons"], tmp_path / "zeros.npy"
    np.save(file, np.zeros((5000, 2)))
    assert torch.equal(other_points(moons, str(file)), torch.zeros(5000, 2))
    data = replace(moons.config.data, smoothing=0.5)
    smooth = replace(moons, config=replace(moons.config, data=data))
    x = other_points(smooth, str(file))
    expected = 0.5 * moons.energy.scale
    assert ((x.std(0) / expected - 1).abs() < 4 / (2 * 5000) ** 0.5).all()


def test_reconstruction_errors_are_found_in_parts(runs, monkeypatch):
    """The same but for the noise, whose mean over 40 points is known to a fifth."""
    digits = runs["digits"]
    x = digits.dataset.test[:40]
    monkeypatch.setattr(outliers, "CHUNK", 7)
    found = outliers.measured(digits, x, generator=seeded(0))["reconstruction_error"]
    whole = digits.reconstruction_error(x, generator=seeded(0))
    assert found.shape == whole.shape
    assert torch.allclose(found.mean(0), whole.mean(0), rtol=0.2)


def test_a_background_adds_a_score(runs):
    run = with_known_density(runs["moons"], torch.randn(40, 2, generator=seeded(1)))
    wide = Gaussian(torch.zeros(2), 4 * torch.eye(2))
    found = ood(run, {"far": torch.full((2, 2), 9.0)}, background=wide)["far"]
    assert {area.value for area in found.values()} == {1.0}
    assert set(found) == {"energy", "outlier_energy", "slope", "typicality", "likelihood_ratio"}
