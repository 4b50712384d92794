"""Constraints for pip: the oldest versions that the project says it supports.

python -m tools.oldest > constraints.txt
pip install --constraint constraints.txt --editable ".[dev]"
"""

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

TRANSITIVE = ("click<8.3", "pyparsing<3.2")
"""What the oldest versions need of their own dependencies, without saying so."""


def declared(path: Path, *extras: str) -> list[str]:
    """The dependencies of a project, and those of some of its extras."""
    project = tomllib.loads(path.read_text("utf8"))["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def oldest(lines: Iterable[str]) -> Iterator[str]:
    """``name==version`` for each requirement with a lower bound, the largest where there are some.

    Raises:
        ValueError: a requirement has none, so that nobody knows what is supported.
    """
    bounds: dict[str, Version] = {}
    for requirement in map(Requirement, lines):
        found = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "==")]
        if not found:
            raise ValueError(f"A dependency must have a lower bound: got {requirement}.")
        bounds[requirement.name] = max([*found, bounds.get(requirement.name, found[0])])
    return (f"{name}=={version}" for name, version in sorted(bounds.items()))


def main() -> None:
    """Print them."""
    print(*oldest(declared(PROJECT, "dev")), *TRANSITIVE, sep="\n")


if __name__ == "__main__":
    main()
