"""Conditionals of a run, and its draws of missing cells: by name, in the units of the data."""

import math
from dataclasses import replace

import pytest
import torch
from command_line import SMALL
from problems import seeded

import wgflow
from wgflow.config import build, override
from wgflow.data.columns import Columns
from wgflow.likelihood.quadrature import box, log_z
from wgflow.runs.filling import fill, read_rows

NAN = math.nan


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run of four columns that learned next to nothing."""
    folder = tmp_path_factory.mktemp("table")
    x = torch.randn(300, 4, generator=seeded(0)) @ torch.randn(4, 4, generator=seeded(1))
    file = folder / "x.csv"
    columns = Columns.numbers("abcd")
    wgflow.write_points(file, 5 + x * torch.tensor([1.0, 0.1, 10.0, 1.0]), columns=columns)
    return wgflow.fit(build(override({}, f'data.name="{file}"', *SMALL)), folder / "run")


def test_densities_of_a_column_are_those_of_the_run_over_its_integral(runs):
    run = runs["moons"]
    p = run.conditional({"x0": 0.5})
    y = torch.linspace(-12, 12, 4001)
    joint = -run.energy(torch.stack([torch.full_like(y, 0.5), y], 1)).double()
    log_z = torch.trapezoid(joint.exp(), y.double()).log()
    assert p.normaliser.value == pytest.approx(float(log_z), abs=1e-4)
    assert torch.allclose(p.log_prob(y[:, None]).double(), joint - log_z, atol=1e-3)


def test_columns_have_names_and_indices(runs, table):
    assert runs["moons"].columns == ("x0", "x1")
    assert table.columns == ("a", "b", "c", "d")
    p = table.conditional({"c": 6.0, 0: 4.5})
    assert p.columns == ("b", "d")
    assert p.known == {"a": 4.5, "c": 6.0}
    with pytest.raises(ValueError, match="got 'e'; the columns are a, b, c, d"):
        table.conditional({"e": 1.0})
    with pytest.raises(
        ValueError, match=r"Columns are of vectors: got points of shape \(1, 8, 8\)"
    ):
        runs["digits"].conditional({0: 1.0})


def test_the_annealed_normaliser_is_that_of_a_grid(table):
    """In the units of the data, whatever the units of the other columns are."""
    p = table.conditional({"c": 8.0})
    shift, scale = table.dataset.shift, table.dataset.scale
    grid = box(shift[p.hidden], scale[p.hidden], torch.float32, points=56)
    expected = float(log_z(lambda rest: table.energy(p.complete(rest)), grid))
    assert abs(p.normaliser.value - expected) < 4 * p.normaliser.error
    assert p.normaliser.error < 0.1


def test_missing_cells_are_drawn_and_known_ones_stay(table):
    x = table.dataset.test[:5].clone()
    whole = x.clone()
    x[0, 1] = x[1, 1:] = x[2, :2] = x[3] = NAN
    y = fill(table, x, draws=3, chains=30, generator=seeded(0))
    assert y.shape == (5, 3, 4)
    assert y.isfinite().all()
    known = ~x.isnan()[:, None].expand(y.shape)
    assert torch.equal(y[known], x[:, None].expand(y.shape)[known])
    assert torch.equal(y[4], whole[4].expand(3, -1))
    assert (y[:4].std(1) > 0).any(1).all()
    assert torch.equal(y, fill(table, x, draws=3, chains=30, generator=seeded(0)))


def test_draws_of_a_cell_are_those_of_its_conditional(table):
    x = table.dataset.test[:1].clone()
    known = dict(zip("acd", x[0, [0, 2, 3]].tolist(), strict=True))
    x[0, 1] = NAN
    drawn = fill(table, x, draws=50, generator=seeded(4))[0, :, 1:2]
    assert torch.allclose(drawn, table.conditional(known).sample(50, generator=seeded(4)))


def test_a_run_without_particles_has_conditionals_too(table):
    bare = replace(table, particles=None, held_out=None)
    known = {"a": 5.0, "b": 5.0, "c": 5.0}
    gap = bare.conditional(known).normaliser.value - table.conditional(known).normaliser.value
    assert abs(gap) < 1e-9


def test_rows_are_read_by_name(table, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("d,b\n1,\n,2\n")
    x = read_rows(table, file)
    assert x.dtype == torch.float32
    assert x.isnan().tolist() == [[True, True, True, False], [True, False, True, True]]
    assert (x[0, 3], x[1, 1]) == (1, 2)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A run of a number, an integer and a category, that learned next to nothing."""
    folder, g = tmp_path_factory.mktemp("kinds"), seeded(0)
    file = folder / "x.csv"
    size, count = torch.randn(240, generator=g), torch.randint(6, (240,), generator=g)
    rows = zip(size.tolist(), count.tolist(), ["red", "blue", "red", "green"] * 60, strict=True)
    lines = [",".join(map(str, row)) for row in [("size", "count", "colour"), *rows]]
    file.write_text("\n".join(lines))
    return wgflow.fit(build(override({}, f'data.name="{file}"', *SMALL)), folder / "run")


def test_known_values_may_be_integers_and_categories(kinds, tmp_path):
    p = kinds.conditional({"colour": "blue", "count": 3})
    assert p.known == {
        "count": 3.5,
        "colour": kinds.schema.columns[2].categories.index("blue") + 0.5,
    }
    rows = kinds.schema.decode(p.complete(p.sample(4, generator=seeded(0))))
    assert set(rows["colour"]) == {"blue"}
    assert set(rows["count"]) == {3}
    with pytest.raises(ValueError, match=r"'colour' must be one of 'red', .*: got 'pink'"):
        kinds.conditional({"colour": "pink"})
    gaps = tmp_path / "gaps.csv"
    gaps.write_text("count,colour,size\n2,,1.5\n,green,\n")
    x = read_rows(kinds, gaps, generator=seeded(1))
    filled = kinds.schema.decode(fill(kinds, x, chains=50, generator=seeded(2))[:, 0])
    assert filled["colour"][1] == "green"
    assert filled["count"][0] == 2
    assert filled["size"][0] == 1.5
    assert set(filled["colour"]) <= {"red", "blue", "green"}


def test_refusals(table):
    with pytest.raises(ValueError, match=r"`x` must hold points of shape \(4,\)"):
        fill(table, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="`draws` must be > 0 and finite: got 0"):
        fill(table, torch.zeros(2, 4), draws=0)
