"""Recipes: settings that come with the package, by name, for kinds of data."""

from importlib.resources import files
from pathlib import Path

from wgflow.data.dataset import are_images

HOME = Path(str(files("wgflow.config"))) / "recipes"
"""One TOML file per recipe."""


def names() -> list[str]:
    """The names of the recipes."""
    return sorted(path.stem for path in HOME.glob("*.toml"))


def recipe(name: str) -> Path:
    """The file of a recipe; ValueError where there is none."""
    if name not in names():
        raise ValueError(
            "Settings are a file or a recipe: expected a file that exists or one of "
            f"{', '.join(names())}, got {name!r}."
        )
    return HOME / f"{name}.toml"


def usual(source: str, *, begun: bool = False) -> str | None:
    """The recipe for data, by their name or path; None where the defaults will do.

    Images are learned in two phases; the second begins with the energy of the first.
    """
    if are_images(source):
        return "images-density" if begun else "images"
    return source if source in names() else None
