import types

import pytest
import torch

from benchmarks import files2d
from wgflow.data.toys import TOYS

SMALL = ["training.steps=2", "energy.width=8", "energy.features=4"]


def test_a_run_that_is_the_law_has_no_divergence(monkeypatch):
    law, generator = TOYS["moons"](), torch.Generator().manual_seed(0)
    right = types.SimpleNamespace(log_prob=law.log_prob, sample=law.sample, dtype=torch.float64)
    found = files2d.compared(right, "moons", generator)
    assert found["kl"] == found["error"] == 0
    assert 0.2 < found["sliced_w2"] / found["floor"] < 5
    off = types.SimpleNamespace(
        log_prob=lambda x: law.log_prob(x) - 0.25, sample=law.sample, dtype=torch.float64
    )
    assert files2d.compared(off, "moons", generator)["kl"] == pytest.approx(0.25)


@pytest.mark.parametrize("recipe", files2d.RECIPES)
def test_a_file_is_learned_and_shown(recipe):
    row = files2d.measure("eight-gaussians", 500, recipe, 0, *SMALL)
    assert 0 < row["error"] < 1
    assert abs(row["kl"]) < 10
    case = {"data": "moons", "rows": 500, "recipe": recipe}
    line = next(iter(files2d.shown([{**case, **row}])))
    assert line[:3] == ["moons", "500", "`tables`"]
    assert [bool(cell) for cell in line[3:]] == [name == recipe for name in files2d.RECIPES]
