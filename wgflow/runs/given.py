"""From a given energy to a run: samples, ``log Z``, and a density learned along the way."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from wgflow._check import check_choice, check_positive
from wgflow._random import stream
from wgflow.config.recipes import configure
from wgflow.data.mapped import likelier_unmapped
from wgflow.data.targets import Gaussian
from wgflow.energies.base import Energy
from wgflow.montecarlo.annealed import AnnealedSMC
from wgflow.montecarlo.base import Method
from wgflow.montecarlo.near_proximal import NearProximalFlow
from wgflow.montecarlo.parallel_tempering import ParallelTempering
from wgflow.runs import sampled
from wgflow.runs.fit import fit, resume as resume_fit
from wgflow.runs.informed import inform
from wgflow.runs.judged import proposal_scores
from wgflow.runs.run import Run
from wgflow.runs.stepping import STREAM, Listener, all_steps
from wgflow.storage import checkpoint, folder
from wgflow.storage.lock import locked
from wgflow.targets.base import TargetEnergy
from wgflow.targets.checks import check_target
from wgflow.targets.external import target_of, wrapped

METHODS: dict[str, type[Method[Any]]] = {
    "near-proximal": NearProximalFlow,
    "annealed-smc": AnnealedSMC,
    "parallel-tempering": ParallelTempering,
}
"""Name of a method -> its class."""

RECIPE = "tables"
"""Of learning the density, at any dimension: it starts from a stacked mixture."""


@dataclass(frozen=True)
class Request:
    """What a folder was made for; what is needed to go on.

    Attributes:
        name: of the energy.
        dim: of x.
        method: its name, and ``options`` its settings.
        seed: of every random number.
        settings: of learning the density, each ``key=value``.
        data: the file that a named energy needs, if it does.
    """

    name: str
    dim: int
    method: str
    options: dict[str, Any]
    seed: int
    settings: tuple[str, ...] = ()
    data: str | None = None


def fit_energy(
    energy: Energy | TargetEnergy | str,
    dim: int | None = None,
    out: Path | str | None = None,
    *,
    method: str = "near-proximal",
    mean: float | Sequence[float] | None = None,
    scale: float | None = None,
    data: Path | str | None = None,
    seed: int = 0,
    settings: Sequence[str] = (),
    sampling: Listener | None = None,
    learning: Callable[[int, dict[str, float]], None] | None = None,
    **options: Any,
) -> Run:
    """Sample ``p ∝ e^{-V}`` of a given energy V, bound its ``log Z``, and learn its density.

    Args:
        energy: V, a function of points (batch, dim) that gives (batch,), differentiable; a
            `TargetEnergy`; or the name of one, or FILE.py:NAME.
        dim: of x; needed for a function.
        out: a new folder; None for ``runs/NAME-SEED``.
        method: ``near-proximal``, ``annealed-smc`` or ``parallel-tempering``.
        mean: of the Gaussian where the particles start, a number or one for each coordinate; None
            for the target's own, or 0 for a function.
        scale: its standard deviation; None for the target's own, or 3 for a function. The start
            should cover the mass of p.
        data: a file that a named energy needs.
        seed: of every random number.
        settings: of the density's learning, each ``key=value``, as of `configure`.
        sampling: called before the first step of the method and after each.
        learning: called after every learning step.
        options: of the method, as ``particles``.

    Returns:
        The run of the density, whose ``target`` has the samples and the normaliser of V.

    Raises:
        ValueError: a setting is out of its range, the folder is not new, or V is no energy.
        Interrupted: a signal came; `resume_energy` goes on.
    """
    target = _begun(_target(energy, dim, data), mean, scale)
    made = _made(method, options)
    path = folder.free(Path("runs") / f"{_stem(target.name)}-{seed}") if out is None else Path(out)
    _check_new(path)
    configure(None, RECIPE, *settings)  # what is wrong with them is said before the work
    check_target(target, generator=stream(seed, STREAM + 1))
    file = None if data is None else str(Path(data).resolve())
    chosen = {f.name: getattr(made, f.name) for f in fields(cast(Any, made))}
    request = Request(target.name, target.dim, method, chosen, seed, tuple(settings), file)
    where = path / folder.TARGET
    with locked(path):
        where.mkdir(parents=True, exist_ok=True)
        asked = asdict(request) | {"system": sampled.system_record(target.system)}
        asked |= {"start": sampled.start_record(target.start), "own": not isinstance(energy, str)}
        sampled.write(where, asked)
        all_steps(where, target, made, request.seed, sampling)
    return _learned(path, target, request, learning)


def resume_energy(
    path: Path | str,
    energy: Energy | TargetEnergy | str | None = None,
    *,
    sampling: Listener | None = None,
    learning: Callable[[int, dict[str, float]], None] | None = None,
) -> Run:
    """Go on with a run of `fit_energy` that was stopped or killed, to the same result.

    Args:
        path: its folder.
        energy: V, if the run began with a function; None for one with a name.
        sampling, learning: as of `fit_energy`.

    Raises:
        ValueError: there is no such run, it is in use, or V is missing.
    """
    path = Path(path)
    where = path / folder.TARGET
    if not (where / sampled.RECORD).is_file():
        raise ValueError(f"{path} must be a run of a given energy: got no {sampled.RECORD}.")
    with checkpoint.refusing(where / sampled.RECORD):
        asked = sampled.asked_for(where)
        given = {k: asked[k] for k in ("name", "dim", "method", "options", "seed", "data")}
        request = Request(**given, settings=tuple(asked["settings"]))
        if energy is None and asked["own"]:
            raise ValueError(
                f"`energy` must be given to go on with {path}, which began with a function or a "
                "`TargetEnergy`: got none; call `wgflow.resume_energy(path, energy)`."
            )
        target = _target(energy or request.name, request.dim, request.data)
        target = _started(target, asked["start"])
        made = _made(request.method, request.options)
    with locked(path):
        if sampled.read(path) is None:
            all_steps(where, target, made, request.seed, sampling)
    return _learned(path, target, request, learning)


def learning_steps(settings: Sequence[str] | Path) -> int:
    """How many steps the learning takes at most, by its settings or by a run that was begun.

    Raises:
        ValueError: a setting is none, or the record of the run is damaged.
    """
    begun = isinstance(settings, Path)
    given = sampled.asked_for(settings / folder.TARGET)["settings"] if begun else settings
    return configure(None, RECIPE, *given).training.steps


def _started(target: TargetEnergy, start: dict[str, Any]) -> TargetEnergy:
    """A target from where its particles started, if that has no correlations."""
    parts = (torch.tensor(start[k], dtype=torch.float64) for k in ("mean", "std"))
    return target.starting(*parts) if start["plain"] else target


def _made(method: str, options: dict[str, Any]) -> Method[Any]:
    """A method with options; ValueError for one that it does not have."""
    check_choice("method", method, METHODS)
    kind = METHODS[method]
    known = [f.name for f in fields(cast(Any, kind))]
    for name in options:
        check_choice(f"options of {method}", name, known)
    return kind(**options)


def _learned(
    path: Path,
    target: TargetEnergy,
    request: Request,
    listener: Callable[[int, dict[str, float]], None] | None,
) -> Run:
    """The density of the samples, learned in the folder, and judged as a proposal."""
    where = path / folder.TARGET
    if folder.is_run(path):
        run = resume_fit(path, listener=listener)
    else:
        points = str((where / sampled.FREE).resolve())
        given = [*_unmapped(path, request), *request.settings, f"seed={request.seed}"]
        run = fit(configure(points, RECIPE, *given), path, listener=listener)
    if sampled.is_unfinished(path):
        run = inform(run, target)
        scores: dict[str, float] = {}
        with contextlib.suppress(ValueError):  # of a density without a likelihood; alarms say why
            scores = proposal_scores(run, target, seed=request.seed)
        sampled.finish(where, scores)
    return replace(run, target=sampled.read(path))


def _unmapped(path: Path, request: Request) -> list[str]:
    """The setting of no maps of coordinates, where samples are likelier without.

    Samples are plenty, so that a mixture tells what a table's rows leave to one Gaussian.
    """
    found = sampled.read(path)
    if found is None or not likelier_unmapped(found.free, seed=request.seed):
        return []
    return ["data.transform=none"]


def _target(
    energy: Energy | TargetEnergy | str, dim: int | None, data: Path | str | None = None
) -> TargetEnergy:
    file = None if data is None else Path(data)
    return target_of(energy, dim, file) if isinstance(energy, str) else wrapped(energy, dim)


def _begun(
    target: TargetEnergy, mean: float | Sequence[float] | None, scale: float | None
) -> TargetEnergy:
    """A target from a start of that mean and deviation, where they are given."""
    if scale is not None:
        check_positive(scale=scale)
        target = target.starting(target.start.mean if mean is not None else 0.0, scale)
    if mean is None:
        return target
    center = torch.as_tensor(mean, dtype=torch.float64)
    if center.ndim > 1 or center.numel() not in (1, target.free) or not center.isfinite().all():
        raise ValueError(
            f"`mean` must be a finite number, or one for each of {target.free} coordinates: "
            f"got {mean}."
        )
    factor = target.start.factor
    return replace(target, start=Gaussian(center.expand(target.free), factor @ factor.T))


def _check_new(path: Path) -> None:
    """Raise ValueError unless a run can begin there: not where another has sampled."""
    folder.check_new(path)
    if (path / folder.TARGET).exists():
        raise ValueError(
            f"{path} must be a new or an empty folder: got a given energy that is not learned "
            "yet; choose another folder, or resume it."
        )


def _stem(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.") or "energy"
