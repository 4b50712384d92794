"""Recipes: settings that come with the package, by name, for kinds of data."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from wgflow._check import shown
from wgflow.config.schema import Config
from wgflow.config.toml import build, override, parse
from wgflow.data.dataset import are_images
from wgflow.data.frames import table_of
from wgflow.data.peek import rows, width
from wgflow.data.toys import TOYS

HOME = Path(str(files("wgflow.config"))) / "recipes"
"""One TOML file per recipe."""

TABLES = "tables"
"""The recipe of vectors of a file, and of data frames."""

LARGE = "large-tables"
"""That of many of them."""

MANY = 30_000
"""Rows that are many."""

PLANE = "plane"
"""The recipe of toy sets."""


def configure(
    data: Any = None,
    source: str | None = None,
    *settings: str,
    init: Path | str | None = None,
) -> Config:
    """The configuration of a run. Later ones win: defaults, source, data, settings, init.

    Args:
        data: name or path of the data; or a data frame that `wgflow.fit` will learn from, which
            has the settings of a table.
        source: a TOML file or the name of a recipe; None for the recipe that suits the data.
        settings: each ``key=value``, as of `override`.
        init: the run whose energy initialises this one.

    Raises:
        ValueError: there is no such file or recipe, the data are neither named nor a data frame,
            or a setting is unknown or out of its range.
    """
    given = source
    if data is not None and not isinstance(data, str | Path):
        count = len(table_of(data, "`data`"))
        data, source = None, source or by_rows(count)
    if source is None and data is not None:
        source = usual(str(data), begun=init is not None)
    named = [] if data is None else [f"data.name={json.dumps(str(data), ensure_ascii=False)}"]
    begun = [] if init is None else [f"init={json.dumps(str(init))}"]
    changes = [*named, *settings, *begun]
    config = _built(source, changes)
    few = (config.data.size or MANY) < MANY
    return _built(TABLES, changes) if given is None and source == LARGE and few else config


def names() -> list[str]:
    """The names of the recipes."""
    return sorted(path.stem for path in HOME.glob("*.toml"))


def recipe(name: str) -> Path:
    """The file of a recipe; ValueError where there is none."""
    if name not in names():
        raise ValueError(
            f"A configuration must be a file that exists or one of {', '.join(names())}: "
            f"got {shown(name)}."
        )
    return HOME / f"{name}.toml"


def usual(source: str, *, begun: bool = False) -> str | None:
    """The recipe for data, by their name or path; None where the defaults will do.

    Images are learned in two phases; the second begins with the energy of the first. Vectors of
    a file are tables, small or large, and so are digits: the recipe of the plane is for the
    endless points of a toy set, and overfits few rows.
    """
    if source in TOYS:
        return PLANE
    if are_images(source):
        return "images-density" if begun else "images"
    if source == "digits":
        return TABLES
    return by_rows(rows(source, MANY)) if width(source) else None


def by_rows(count: int) -> str:
    """The recipe for a table of so many rows."""
    return LARGE if count >= MANY else TABLES


def _built(source: str | None, settings: list[str]) -> Config:
    file = source and (Path(source) if Path(source).is_file() else recipe(source))
    return build(override(parse(_text(file)) if file else {}, *settings))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf8")
    except UnicodeDecodeError:
        raise ValueError(f"{file} must be TOML, text in UTF-8: got other bytes.") from None
