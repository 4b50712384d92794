"""The oldest versions that are supported are those that the project declares."""

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools.oldest import PROJECT, declared, oldest


def test_the_largest_lower_bound_counts():
    assert [*oldest(["b>=2", "a==1.5", "b>=2.2,<4"])] == ["a==1.5", "b==2.2"]


def test_a_dependency_without_a_lower_bound_is_refused():
    with pytest.raises(ValueError, match="must have a lower bound: got a<2"):
        [*oldest(["a<2"])]


def test_every_dependency_of_the_project_has_one():
    lines = declared(PROJECT, "dev")
    pins = dict(line.split("==") for line in oldest(lines))
    assert {Requirement(line).name for line in lines} == set(pins)
    for requirement in map(Requirement, lines):
        assert requirement.specifier.contains(Version(pins[requirement.name]))
