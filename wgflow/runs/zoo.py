"""Pretrained energies: published runs that come with the package."""

from importlib.resources import files
from pathlib import Path

from wgflow._check import check_choice

HOME = Path(str(files("wgflow"))) / "pretrained"
"""One folder per energy: its configuration, scores, environment and weights."""


def names() -> list[str]:
    """The names of the pretrained energies."""
    return sorted(path.name for path in HOME.glob("*") if path.is_dir())


def pretrained(name: str) -> Path:
    """The folder of a pretrained energy, for `wgflow.load`; ValueError where there is none."""
    check_choice("pretrained", name, names())
    return HOME / name


def find(run: Path | str) -> Path:
    """The folder of a run: a path, or where nothing is there the name of a pretrained energy."""
    path = Path(run)
    return HOME / path if str(path) in names() and not path.exists() else path
