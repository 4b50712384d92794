"""Paths between points from the command line."""

import numpy as np
from command_line import refused, size, succeed, told


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
    assert "must be at least 2 points: got 1" in refused(
        "interpolate", runs["moons"].path, "--input", one
    )
