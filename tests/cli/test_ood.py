"""Detection of outliers from the command line."""

import numpy as np
import torch
from command_line import refused, succeed, told
from problems import seeded


def test_outliers_are_told(runs, tmp_path):
    moons, far = runs["moons"], tmp_path / "far.csv"
    rows = torch.randn(200, 2, generator=seeded(3)) * 0.1 + 40.0
    far.write_text("a,b\n" + "\n".join(f"{a},{b}" for a, b in rows.tolist()))
    found = told("ood", moons.path, far, "rings", "--background", runs["rings"].path, "-n", 100)
    assert found["points"] == 100
    assert found["other_points"] == {str(far): 100, "rings": 100}
    assert set(found["auroc"]) == {str(far), "rings"}
    known = {"energy", "outlier_energy", "typicality", "slope", "likelihood_ratio"}
    assert set(found["auroc"]["rings"]) == known
    assert found["auroc"][str(far)]["energy"]["value"] == 1.0
    said = told("ood", moons.path, "moons", far)
    assert said["points"] == 10_000
    assert said["other_points"] == {"moons": 10_000, str(far): 200}
    same = said["auroc"]["moons"]
    for area in same.values():
        assert area["low"] <= 0.53
        assert area["high"] >= 0.47
    shown = succeed("ood", moons.path, "rings", "-n", 50)
    assert "AUROC of 50 held-out points" in shown
    assert " to " in shown
    assert "likelihood_ratio" not in shown
    assert "digits must hold points of shape (2,)" in refused("ood", moons.path, "digits")


def test_paths_recover_the_data_they_lead_to(runs, tmp_path):
    """Energies matched to paths have one score more, in standardised units."""
    images = runs["digits"]
    far = tmp_path / "far.npy"
    np.save(far, 5 + images.dataset.test[:30].numpy())
    found = told("ood", images.path, far, "-n", 30)["auroc"][str(far)]
    assert set(found) == {"energy", "typicality", "slope", "reconstruction_error"}
    assert found["reconstruction_error"]["value"] == 1.0
    x = images.dataset.test[:5]
    expected = images.flow.reconstruction_error(images.standardise(x), generator=seeded(1))
    assert torch.equal(images.reconstruction_error(x, generator=seeded(1)), expected)
