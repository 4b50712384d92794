"""Rows far from all others: how often chance makes some, and what is found."""

import math

import pytest
import torch

from wgflow.metrics.isolated import FEW, NEXT, RARE, isolated

GENERATOR = torch.Generator().manual_seed(0)
NORMAL = torch.randn(2000, 3, dtype=torch.float64, generator=GENERATOR)


def uniform(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=GENERATOR)


TAILS = {
    "Cauchy": torch.tan(torch.pi * (uniform(1000, 300) - 0.5)),
    "no mean": uniform(1000, 300) ** -2,
    "exponential": -uniform(1000, 300).log(),
    "log-normal": (3 * torch.randn(1000, 300, dtype=torch.float64, generator=GENERATOR)).exp(),
}


@pytest.mark.parametrize("name", TAILS)
def test_no_tail_has_any(name):
    assert isolated(TAILS[name]) is None


@pytest.mark.parametrize("count", [1, 3, FEW, FEW + 1])
def test_few_rows_far_away_are_found_and_more_are_not(count):
    x = NORMAL.clone()
    x[:count, 1] = -1e5 - torch.arange(count)
    found = isolated(x)
    if count > FEW:
        assert found is None
    else:
        median = x[:, 1].median()
        beyond, others = (x[:count, 1] - median).abs().min(), (x[count:, 1] - median).abs().max()
        assert found is not None
        assert found[:2] == (1, count)
        assert found.times == pytest.approx(float(beyond / others), rel=1e-3)
        moved = isolated(3 + 1e6 * x)
        assert moved is not None
        assert moved[:4] == pytest.approx(found[:4])


@pytest.mark.parametrize(
    ("farthest", "next_row", "rows"), [(20, 0, 0), (300, 35, 0), (20000, 35, 1), (540, 60, 2)]
)
def test_rows_must_be_far_by_deviations_and_by_the_next_row(farthest, next_row, rows):
    x = NORMAL.clone()
    x[0, 0] = farthest
    x[1, 0] = next_row or x[1, 0]
    found = isolated(x)
    assert (found.rows if found else 0) == rows


def test_rows_of_a_narrow_column_must_be_thirty_robust_deviations_out():
    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)[:, None]  # of .741 each
    for far, found in ((21.0, False), (23.0, True)):
        x[-1] = far
        assert (isolated(x) is not None) is found


def test_what_is_no_row_or_has_no_spread_is_left_out():
    x = NORMAL.clone()
    x[0] = torch.tensor([1e6, math.nan, 0.0])
    assert isolated(x) is None
    x[:, 2] = 0.0
    x[1, 2] = 1e6
    assert isolated(x) is None
    assert isolated(NORMAL[:50]) is None


@pytest.mark.parametrize(("factor", "rows"), [(1.01, 1), (0.99, 0)])
def test_the_probability_is_that_of_ranked_spacings(factor, rows):
    a = (1001 / torch.arange(1, 1001, dtype=torch.float64)).sqrt()  # a Pareto tail, α = 2
    x = torch.cat([a, -a])[:, None]  # of median zero
    ranked = torch.cat([a, a]).sort(descending=True).values[1:]  # from the second row on
    ranks = torch.arange(2, NEXT + 2)
    mean = float((ranks * (ranked[:NEXT] / ranked[1 : NEXT + 1]).log()).mean())
    times = NEXT * ((RARE / FEW) ** (-1 / NEXT) - 1)
    x[0] = a[0] * math.exp(factor * times * mean)
    found = isolated(x)
    assert (found.rows if found else 0) == rows


def test_columns_are_taken_some_at_a_time(monkeypatch):
    x = torch.randn(400, 7, generator=torch.Generator().manual_seed(0))
    x[3, 5] = 1e6
    whole = isolated(x)
    monkeypatch.setattr("wgflow.metrics.isolated.COLUMNS", 2)
    assert isolated(x) == whole
    assert whole.column == 5


def test_few_points_at_isolated_rows_are_left_out_and_many_are_not():
    x = NORMAL.clone()
    x[7, 0] = 1e5
    found = isolated(x)
    assert found is not None
    assert (found.column, found.rows, found.share) == (0, 1, 1 / 2000)
    y = NORMAL[1000:1250].clone()
    assert torch.equal(found.without(y), y)
    for count in (1, 3):  # P(N ≥ 3) is 3 × 10⁻⁴ for N of mean 1/8
        y[:count, 0] = 9e4
        assert torch.equal(found.without(y), y[count:])
        assert torch.equal(found.without(-y), -y[count:])
    y[:4, 0] = 9e4  # 10⁻⁵
    assert torch.equal(found.without(y), y)
