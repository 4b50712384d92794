"""The benchmark of learned densities of given energies: errors of a log-density that are known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from benchmarks.energies_density import COLUMNS, of_density, shown
from wgflow.data.targets import Gaussian
from wgflow.targets.catalogue import named

TARGET = named("gaussian", 2)


def learned(law: Gaussian, off: float = 0.0) -> Any:
    """A stand-in for a run, of a density in single precision."""
    return SimpleNamespace(dtype=torch.float32, log_prob=lambda x: law.log_prob(x) + off)


def test_a_wrong_constant_is_all_bias():
    known = cast(Gaussian, TARGET.known)
    found = of_density(learned(known, 0.3), TARGET, 0)
    assert found["bias"] == pytest.approx(0.3, abs=1e-5)
    assert found["square"] == pytest.approx(0.09, abs=1e-5)
    assert found["bias_error"] < 1e-5


def test_errors_of_a_shifted_gaussian():
    """``r = a·z - |a|²/2`` with z standard: bias ``-|a|²/2``, variance ``|a|²``."""
    known = cast(Gaussian, TARGET.known)
    a = torch.tensor([0.3, -0.4], dtype=torch.float64)
    moved = Gaussian(known.mean + known.factor @ a, known.factor @ known.factor.T)
    found = of_density(learned(moved), TARGET, 1)
    assert abs(found["bias"] + 0.125) < 4 * found["bias_error"]
    assert found["bias_error"] == pytest.approx(0.5 / 100, rel=0.05)
    assert abs(found["square"] - 0.25 - 0.125**2) < 4 * found["square_error"]


def test_a_target_without_draws_has_no_errors():
    assert of_density(learned(cast(Gaussian, TARGET.known)), replace(TARGET, known=None), 0) == {}


def test_a_row_is_a_line():
    row = {"data": "lj13", "particles": 8, "seed": 0, "target_evaluations": 31.4}
    row |= {"target_log_z": 59.94, "target_log_z_error": 0.12, "proposal_ess": 2.5e-4}
    row |= {"target_kl": 8.0, "target_kl_error": 0.1, "seconds": 9.6}
    known = row | {"target_log_z_true": 60.0, "square": 0.0225, "square_error": 1e-3, "bias": 0.1}
    failed = {name: x for name, x in row.items() if "log_z" not in name and "ess" not in name}
    lines = shown([row, known, failed]).splitlines()[2:]
    first, second, third = (line.split(" | ") for line in lines)
    assert len(first) == len(second) == len(third) == len(COLUMNS)
    assert third[4:] == ["", "", "", "8 ± 0.1", "", "10 |"]
    assert first[4:7] == ["59.940 ± 0.120 (log Z)", "", ""]
    assert first[8] == "0.00025"
    assert second[4:7] == ["-0.060 ± 0.120", "0.0225 ± 0.001", "0.0125"]
