"""The laws that silent failures are measured on, and what a row is called."""

import pytest
import torch

from benchmarks.silent import DRAWN, FAR, log_prob, outcome, points, settings, without_outlier
from wgflow.config.recipes import configure
from wgflow.likelihood.quadrature import Grid, log_z


@pytest.mark.parametrize("case", ["defaults", "Cauchy tails"])
def test_the_density_has_mass_one_but_for_the_tails(case):
    grid = Grid.box([-40.0, -40.0], [40.0, 40.0], 800)
    mass = float(log_z(lambda x: -log_prob("eight-gaussians", case, x), grid).exp())
    # Of a standard Cauchy pair (1 - 2/(pi 40))^2 lies within.
    expected = 1 - 0.1 * (1 - (1 - 2 / (torch.pi * 40)) ** 2) if case == "Cauchy tails" else 1.0
    assert mass == pytest.approx(expected, abs=2e-4)


def test_a_tenth_of_the_rows_have_tails():
    x = points("moons", "Cauchy tails", 20_000, generator=torch.Generator().manual_seed(0))
    # P(|x| > 10 or |y| > 10) of a standard Cauchy pair is .123.
    share = float((x.abs() > 10).any(1).double().mean())
    assert abs(share - 0.0123) < 4 * (0.0123 / 20_000) ** 0.5


def test_an_outlier_is_no_fault_unless_it_comes_too_often():
    u, row = torch.zeros(50, 2), torch.tensor([14.0, 13.0])
    u[:DRAWN] = row + 0.9
    u[-1] = row / 2  # between the row and the others
    assert torch.equal(without_outlier(u, row), u[DRAWN:])
    u[DRAWN] = row
    assert torch.equal(without_outlier(u, row), u)


FAIR = {"temperature": 0.85}
POOR = {"kl": 2.0}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "right"),
        ({"scores": FAIR}, "right"),
        ({"kl": 0.8 * FAR}, "between"),
        ({"kl": 0.2, "scores": POOR}, "rings, between"),
        ({"kl": 2.0}, "SILENTLY WRONG"),
        ({"kl": float("nan")}, "SILENTLY WRONG"),
        ({"kl": 2.0, "scores": FAIR}, "remarks, wrong"),
        ({"kl": 2.0, "scores": POOR}, "rings, wrong"),
        ({"distance": 9.0}, "SILENTLY WRONG"),
        ({"distance": 9.0, "chance": 10.0}, "right"),
        ({"scores": POOR}, "FALSE ALARM"),
        ({"scored": False, "code": 2, "line": "Error: no."}, "refused or stopped"),
        ({"scored": False, "code": 2, "line": ""}, "TRACEBACK"),
        ({"scored": False, "code": 1, "line": "Traceback: KeyError"}, "TRACEBACK"),
    ],
)
def test_outcomes(changes, name):
    far = {"kl": 0.01, "distance": 1.0, "floor": 1.0, "chance": 1.5}
    good = far | {"code": 0, "scores": {}, "scored": True, "line": ""}
    assert outcome(good | changes) == name


@pytest.mark.parametrize(
    ("scheme", "recipe"), [("near-proximal", "plane"), ("across-levels", "tables")]
)
def test_rates_are_multiples_of_those_of_the_recipe(scheme, recipe):
    words = settings(scheme, "rate x 300")
    (given,) = (word for word in words if word.startswith("training.learning_rate="))
    rate = configure("moons", recipe).training.learning_rate
    assert float(given.partition("=")[2]) == pytest.approx(300 * rate)
    assert words[-2:] == ["--config", recipe]
    assert not any("learning_rate" in word for word in settings(scheme, "defaults"))
