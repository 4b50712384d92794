"""Runs on disk: what one learned, read from its folder, and written to share."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wgflow.config import DTYPES, Config, dumps, loads
from wgflow.data.columns import Columns
from wgflow.data.moments import LARGEST, DataMoments, Extent
from wgflow.data.transforms import Transform
from wgflow.distributed.islands import carries, join
from wgflow.energies.inherit import load_state
from wgflow.energies.transformed import original
from wgflow.runs import sampled, zoo
from wgflow.runs.run import Run
from wgflow.samplers.particles import Particles
from wgflow.storage import checkpoint, folder
from wgflow.training.binding import binding, check_bound
from wgflow.training.checks import check_particles, check_units
from wgflow.training.progress import read_state

PUBLISHED = ("wgflow", "torch", "status", "cpu_seconds", "data")
"""What a published run tells of how it was made."""


def load(path: Path | str, *, energy: nn.Module | None = None) -> Run:
    """What the run in a folder learned; reads its files and nothing else.

    Args:
        path: the folder, or the name of a pretrained energy.
        energy: the caller's module, of a run that learned one; it stays as it is.

    Raises:
        ValueError: there is no run, its checkpoint is corrupt or foreign, or its energy is the
            caller's module and none is passed.
    """
    path = zoo.find(path)
    folder.check_run(path)
    config = read_config(path)
    if (path / folder.CHECKPOINT).is_file():
        with checkpoint.refusing(path / folder.CHECKPOINT):
            return _learned(path, config, energy)
    with checkpoint.refusing(path / folder.ENERGY):
        kept: Any = checkpoint.load(path / folder.ENERGY, config.scheme.carry_types)
        check_bound(path / folder.ENERGY, kept.get("run"), binding(path))
        populations = kept.get("populations", [None, None])
        return _assembled(path, config, energy, kept, populations, kept)


def _learned(path: Path, config: Config, energy: nn.Module | None) -> Run:
    """The run of a checkpoint."""
    state = read_state(path, config.scheme, "cpu")
    learned, progress = state["learner"], state["progress"]
    populated: list[Particles | None] = [None, None]
    if config.scheme.keeps_population:
        islands = zip(*map(config.scheme.populations, carries(state)), strict=True)
        populated = [join(parts) for parts in islands]
        for particles in populated:
            check_particles(particles, learned["event_shape"])
    learned = learned | {"energy": _averaged(learned["average"])}
    counts = {"steps": progress.step, "rollbacks": progress.rollbacks}
    return _assembled(path, config, energy, learned, populated, counts)


def publish(run: Run, out: Path | str) -> None:
    """Write a run without what only learning needs: its energy, in half precision.

    Its scores and the classifier of its classes go along, where there are some.
    `load` reads it like any run. It has particles only where nothing else can be sampled from:
    without a flow and without a reference. Half precision keeps three digits of every weight:
    samples look the same, energies move by about as much as in mixed precision.

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
        "transform": None if run.energy.transform is None else run.energy.transform.state(),
        "event_shape": run.event_shape,
        "double": run.energy.precision is not None,
        "steps": run.steps,
        "rollbacks": run.rollbacks,
    }
    if run.flow is None and run.tilt is None:
        tree |= {"populations": [run.particles, run.held_out]}
    # Without what it began with: the weights say it all, and a path would lead nowhere.
    folder.write_text(path / folder.CONFIG, dumps(replace(run.config, init=None)))
    record = folder.read_record(run.path / folder.ENVIRONMENT)
    folder.write_json(path / folder.ENVIRONMENT, {k: record[k] for k in PUBLISHED if k in record})
    checkpoint.save(path / folder.ENERGY, tree | {"run": binding(path)})
    for name in (folder.SCORES, folder.LABELLER, folder.COLUMNS):
        if (run.path / name).is_file():
            folder.write_bytes(path / name, (run.path / name).read_bytes())


def _assembled(
    path: Path,
    config: Config,
    module: nn.Module | None,
    learned: dict[str, Any],
    populated: list[Particles | None],
    counts: dict[str, Any],
) -> Run:
    """A run from the weights of its energy, its units and its populations."""
    event_shape = tuple(learned["event_shape"])
    check_units(event_shape, learned["shift"], learned["scale"])
    dim = math.prod(event_shape)
    # Values come with the state; here only the shape matters.
    covariance = torch.eye(dim) if dim <= LARGEST else None
    center = None if learned["shift"].ndim else torch.zeros(event_shape)
    # In full precision, whatever it was trained in: log Z and acceptance need the digits.
    network = config.energy.around(module)
    extent = Extent(1.0, 1.0) if network.needs_extent and covariance is not None else None
    moments = DataMoments(event_shape, covariance, center, extent=extent)
    energy = network.build(moments).to(DTYPES[config.dtype])
    load_state(energy, learned["energy"])
    maps = Transform.from_state(learned.get("transform"))
    precision = DTYPES[config.dtype] if learned.get("double") else None
    rescaled = original(energy, learned["shift"], learned["scale"], maps, precision)
    particles, held_out = populated
    counted = counts["steps"], counts["rollbacks"]
    schema = _columns(path / folder.COLUMNS)
    frozen = rescaled.eval().requires_grad_(False)
    found = {"schema": schema, "target": sampled.read(path)}
    return Run(path, config, frozen, particles, held_out, event_shape, *counted, **found)


def _columns(file: Path) -> Columns | None:
    if not file.is_file():
        return None
    with checkpoint.refusing(file):
        return Columns.from_record(folder.read_json(file))


def read_config(path: Path) -> Config:
    """The configuration of the run in a folder."""
    try:
        return loads((path / folder.CONFIG).read_text("utf8"))
    except ValueError as error:
        raise ValueError(f"{path / folder.CONFIG}: {error}") from error


def _averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of the averaged module, out of the state of `AveragedModel`."""
    prefix = "module."
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
