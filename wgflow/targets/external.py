"""Given energies that a user wrote: FILE.py:NAME, a function of points (batch, dim)."""

import difflib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from wgflow._check import check_positive
from wgflow.data.targets import Gaussian, Target
from wgflow.targets.base import TargetEnergy
from wgflow.targets.catalogue import named

START = 3.0
"""Standard deviation of the start of a function, about which nothing else is known."""


def target_of(text: str, dim: int | None = None, file: Path | None = None) -> TargetEnergy:
    """The energy that a text names: of the catalogue, or FILE.py:NAME.

    A file is code: it is run, and only where the text says so.

    Args:
        text: a name of `wgflow.targets.catalogue.ENTRIES`, or FILE.py:NAME, where NAME is a
            function ``(batch, dim) -> (batch,)``, a `Target` or a `TargetEnergy`.
        dim: of x; a function needs it.
        file: data of an energy of the catalogue that needs them.

    Raises:
        ValueError: nothing is called so, the file cannot be run, what it holds is no energy, or
            the dimension is missing or another.
    """
    path, colon, name = text.rpartition(":")
    if not path.endswith(".py") and not text.endswith(".py"):
        return named(text, dim, file)
    if not colon or not name:
        raise ValueError(f"`target` must name a function of its file, FILE.py:NAME: got {text!r}.")
    if file is not None:
        raise ValueError(f"`data` must be left out for a file of your own: got {file}.")
    return replace(wrapped(_member(_run(Path(path)), name, path), dim, text), name=text)


def wrapped(energy: Any, dim: int | None, name: str = "energy") -> TargetEnergy:
    """An energy with what is known about it: a function starts from ``N(0, 3² I)``.

    Args:
        energy: a function ``(batch, dim) -> (batch,)``, a `Target` or a `TargetEnergy`.
        dim: of x; a function needs it.
        name: what messages call it.

    Raises:
        ValueError: it is none of these, or the dimension is missing or another.
    """
    _check_callable(energy, name)
    own = energy.dim if isinstance(energy, TargetEnergy | Target) else dim
    if own is None:
        raise ValueError(f"`dim` must be given for a function, as {name} is one: got none.")
    if dim not in (None, own):
        raise ValueError(f"`dim` must be {own} for {name}: got {dim}.")
    if isinstance(energy, TargetEnergy):
        return energy
    check_positive(dim=own)
    start = Gaussian(torch.zeros(own), START**2 * torch.eye(own, dtype=torch.float64))
    known = energy if isinstance(energy, Target) else None
    return TargetEnergy(name, energy, own, start, "an energy of your own", known=known)


def _check_callable(energy: Any, name: str) -> None:
    if not callable(energy) and not isinstance(energy, TargetEnergy):
        got = type(energy).__name__
        raise ValueError(f"`target` must be a function of points (batch, dim): {name} is {got}.")


def _run(path: Path) -> ModuleType:
    """The module of a file, after its code has run."""
    if not path.is_file():
        raise ValueError(f"`target` must be in a file that exists: got {str(path)!r}.")
    name = f"wgflow_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ValueError(f"`target` must be in a Python file: got {str(path)!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses of the file look for their module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"`target` must be in a file that runs: {path} raises {said}") from error
    return module


def _member(module: ModuleType, name: str, path: str) -> Any:
    members = vars(module)
    if name in members:
        return members[name]
    public = [member for member in members if not member.startswith("_")]
    near = difflib.get_close_matches(name, public, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"`target` must name a function of {path}: it has no {name!r}{hint}")
