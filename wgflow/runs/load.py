"""Runs on disk: what one learned, read from its folder, and written to share."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgflow.config import DTYPES, Config, dumps, loads
from wgflow.data.moments import LARGEST
from wgflow.distributed.islands import carries, join
from wgflow.energies.base import Rescaled
from wgflow.runs import zoo
from wgflow.runs.run import Run
from wgflow.storage import checkpoint, folder
from wgflow.training.learner import load_state
from wgflow.training.runner import (
    populations,
    read_state,
)


def load(path: Path | str) -> Run:
    """What the run in a folder learned; reads its files and nothing else.

    Args:
        path: the folder, or the name of a pretrained energy.

    Raises:
        ValueError: there is no run, or its checkpoint is corrupt or foreign.
    """
    path = zoo.find(path)
    folder.check_run(path)
    if not (path / folder.CHECKPOINT).is_file():
        return _published(path)
    state = read_state(path, "cpu")
    learned, progress = state["learner"], state["progress"]
    islands = zip(*(populations(carry) for carry in carries(state)), strict=True)
    populated = [join(parts) for parts in islands]
    learned = learned | {"energy": _averaged(learned["average"])}
    return _assembled(path, learned, populated, progress.step, progress.rollbacks)


def from_pretrained(name: str) -> Run:
    """The pretrained energy of that name; ValueError where there is none."""
    return load(zoo.pretrained(name))


def publish(run: Run, out: Path | str) -> None:
    """Write a run without what only learning needs: its energy, in half precision.

    Its scores and the classifier of its classes go along, where there are some.
    `load` reads it like any run; it has no particles. Half precision keeps three digits of every
    weight: samples look the same, energies move by about as much as in mixed precision.

    Raises:
        ValueError: the folder is not new.
    """
    path = Path(out)
    folder.check_new(path)
    path.mkdir(parents=True, exist_ok=True)
    weights = run.energy.energy.state_dict()
    halves = {name: w.half() if w.ndim else w for name, w in weights.items()}
    tree = {
        "energy": halves,
        "shift": run.energy.shift,
        "scale": run.energy.scale,
        "event_shape": run.event_shape,
        "steps": run.steps,
        "rollbacks": run.rollbacks,
    }
    checkpoint.save(path / folder.ENERGY, tree)
    # Without what it began with: the weights say it all, and a path would lead nowhere.
    folder.write_text(path / folder.CONFIG, dumps(replace(run.config, init=None)))
    told = folder.read_json(run.path / folder.ENVIRONMENT)
    kept = {key: told[key] for key in ("wgflow", "torch", "status", "cpu_seconds") if key in told}
    folder.write_json(path / folder.ENVIRONMENT, kept)
    for name in (folder.SCORES, folder.LABELLER):
        if (run.path / name).is_file():
            folder.write_bytes(path / name, (run.path / name).read_bytes())


def _published(path: Path) -> Run:
    kept: Any = checkpoint.load(path / folder.ENERGY, [])
    return _assembled(path, kept, [None, None], kept["steps"], kept["rollbacks"])


def _assembled(path, learned, populated, steps: int, rollbacks: int) -> Run:
    """A run from the weights of its energy, its units and its populations."""
    config = read_config(path)
    event_shape = tuple(learned["event_shape"])
    dim = math.prod(event_shape)
    # Values come with the state; here only the shape matters.
    covariance = torch.eye(dim) if dim <= LARGEST else None
    center = None if learned["shift"].ndim else torch.zeros(event_shape)
    # In full precision, whatever it was trained in: log Z and acceptance need the digits.
    energy = config.energy.build(event_shape, covariance, center).to(DTYPES[config.dtype])
    load_state(energy, learned["energy"])
    original = Rescaled(energy, learned["shift"], learned["scale"]).eval().requires_grad_(False)
    particles, held_out = populated
    return Run(path, config, original, particles, held_out, event_shape, steps, rollbacks)


def read_config(path: Path) -> Config:
    """The configuration of the run in a folder."""
    return loads((path / folder.CONFIG).read_text())


def _averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of the averaged module, out of the state of `AveragedModel`."""
    prefix = "module."
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
