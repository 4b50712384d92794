"""What sampling a given energy found, in the folder ``target`` of a run."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wgflow.data.targets import Gaussian
from wgflow.likelihood.annealing import LogZ
from wgflow.montecarlo.base import Sampled
from wgflow.montecarlo.journey import Frame, Journey, checked
from wgflow.storage import checkpoint, folder
from wgflow.targets.symmetry import ParticleSystem

RECORD = "target.json"
"""What was asked for, and what was found."""

STATE = "state.safetensors"
"""The method on its way; absent when it has arrived."""

JOURNEY = "journey.safetensors"
"""Frames of the particles and metrics on the way."""

LEARNED = "learned.safetensors"
"""The checkpoint as samples alone taught it, while one that knows the energy too replaces it."""

SAMPLES, FREE = "samples.npy", "free.npy"
"""Equally weighted points: of x, and of the free coordinates u that the density is learned of."""


@dataclass(frozen=True)
class SampledTarget:
    """A given energy V after sampling.

    Attributes:
        folder: where its files are.
        name: of the energy.
        dim: of x.
        method: its name.
        system: symmetries of particles; None for plain vectors.
        normaliser: ``log Z`` of V over u: value, error, lower and upper bound.
        particles: number of points.
        ess: effective number of them, by the method's account.
        evaluations: points at which V was evaluated, with a gradient or without, in all.
        scores: flat, by name, each with its ``_error`` or ``_floor`` where it has one.
    """

    folder: Path
    name: str
    dim: int
    method: str
    system: ParticleSystem | None
    normaliser: LogZ
    particles: int
    ess: float
    evaluations: int
    scores: dict[str, float]

    @property
    def samples(self) -> Tensor:
        """Equally weighted points x, (particles, dim)."""
        return torch.from_numpy(np.load(self.folder / SAMPLES, allow_pickle=False))

    @property
    def free(self) -> Tensor:
        """The same points by free coordinates u, (particles, free)."""
        return torch.from_numpy(np.load(self.folder / FREE, allow_pickle=False))

    @property
    def journey(self) -> Journey | None:
        """Frames of u and metrics on the way; None of a run of an earlier version.

        Raises:
            ValueError: its file is damaged.
        """
        file = self.folder / JOURNEY
        if not file.is_file():
            return None
        with checkpoint.refusing(file):
            return checked(checkpoint.load(file, (Journey, Frame)), self.free.shape[1])

    def lift(self, u: Tensor) -> Tensor:
        """Points x of free coordinates u, as draws of the learned density are."""
        return u if self.system is None else u @ self.system.basis().to(u).T

    @property
    def table(self) -> dict[str, float]:
        """All numbers, flat: ``target_log_z`` with its error and bounds, and the rest."""
        value, error, lower, upper = self.normaliser
        table = {
            "target_log_z": value,
            "target_log_z_error": error,
            "target_log_z_lower": lower,
            "target_log_z_upper": upper,
            "target_ess": self.ess / self.particles,
            "target_evaluations": self.evaluations / self.particles,
        }
        return {k: v for k, v in (table | self.scores).items() if math.isfinite(v)}


def read(run: Path) -> SampledTarget | None:
    """What was found; None where no energy was given, or the method has not arrived."""
    where = run / folder.TARGET
    if not (where / RECORD).is_file():
        return None
    with checkpoint.refusing(where / RECORD):
        record = folder.read_json(where / RECORD)
        found = record.get("found")
        return None if found is None else _found(where, record["asked"], found)


def _found(where: Path, asked: dict[str, Any], found: dict[str, Any]) -> SampledTarget:
    system = asked["system"]
    return SampledTarget(
        where,
        asked["name"],
        asked["dim"],
        asked["method"],
        None if system is None else ParticleSystem(**system),
        LogZ(*(math.nan if x is None else float(x) for x in found["normaliser"])),
        int(found["particles"]),
        float(found["ess"]),
        int(found["evaluations"]),
        folder.numbers_by_name(found["scores"], where / RECORD),
    )


def is_unfinished(run: Path) -> bool:
    """Whether a folder is that of a given energy whose learning has not begun or ended."""
    file = run / folder.TARGET / RECORD
    if not file.is_file():
        return False
    with checkpoint.refusing(file):
        found = folder.read_json(file).get("found")
        return found is None or not found["learned"]


def asked_for(where: Path) -> dict[str, Any]:
    """What was asked for."""
    with checkpoint.refusing(where / RECORD):
        return dict(folder.read_json(where / RECORD)["asked"])


def write(where: Path, asked: dict[str, Any], found: dict[str, Any] | None = None) -> None:
    """Write the record, without what is not known yet."""
    folder.write_json(where / RECORD, {"asked": asked} | ({"found": found} if found else {}))


def record_of(found: Sampled, evaluations: int, scores: dict[str, float]) -> dict[str, Any]:
    """What a method found as JSON, before a density is learned from it."""
    return {
        "normaliser": [x if math.isfinite(x) else None for x in found.log_z],
        "particles": len(found.x),
        "ess": found.ess,
        "evaluations": evaluations,
        "scores": scores,
        "learned": False,
    }


def finish(where: Path, scores: dict[str, float]) -> None:
    """Add the scores of the density, which is learned."""
    record = folder.read_json(where / RECORD)
    record["found"] |= {"learned": True, "scores": record["found"]["scores"] | scores}
    folder.write_json(where / RECORD, record)
    (where / LEARNED).unlink(missing_ok=True)


def system_record(system: ParticleSystem | None) -> dict[str, Any] | None:
    """A system as JSON."""
    return None if system is None else asdict(system)


def start_record(start: Gaussian) -> dict[str, Any]:
    """A start as JSON; its deviations say it all where it is ``plain``, without correlations."""
    deviations = start.factor.diagonal()
    plain = bool((start.factor == torch.diag(deviations)).all())
    return {"mean": start.mean.tolist(), "std": deviations.tolist(), "plain": plain}
