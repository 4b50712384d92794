"""Columns that follow from others: found by name, and no others."""

import pytest
import torch
from problems import F64, seeded

from wgflow.data.determined import WIDTH, determined


def rows(count=400, dim=4):
    return torch.randn(count, dim, generator=seeded(0), dtype=F64)


def test_independent_columns_are_none_nor_are_few_rows():
    assert determined(rows()) == []
    assert determined(rows(7)) == []  # of which any four columns are functions of each other


def test_a_sum_names_its_parts_in_any_units():
    x = rows()
    x[:, 2] = 1e6 + 1e-3 * (2 * x[:, 3] - 5 * x[:, 0])
    (found,) = determined(x)
    assert (found.column, found.by) == (3, (0, 2))  # the last of the three
    assert found.left < 1e-6


def test_each_copy_is_one():
    x = rows()[:, [0, 1, 0, 2, 1]]
    assert [(f.column, f.by) for f in determined(x)] == [(2, (0,)), (4, (1,))]


@pytest.mark.parametrize("times", [0.5, 2.0])
def test_what_others_leave_is_a_deviation(times):
    x = rows(20_000)
    x[:, 3] = x[:, 0] - x[:, 1] + times * WIDTH * 2**0.5 * x[:, 3]
    found = determined(x)
    assert len(found) == (times < 1)
    assert all(abs(f.left / (times * WIDTH) - 1) < 0.03 for f in found)
