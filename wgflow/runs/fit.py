"""Learn from a configuration into a folder, and go on after a stop."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wgflow.config import Config, dumps
from wgflow.data.dataset import Dataset, available
from wgflow.data.tables import write_frame
from wgflow.distributed.islands import share
from wgflow.distributed.ranks import ALONE, Ranks
from wgflow.energies.own_module import OwnModuleSpec
from wgflow.runs import zoo
from wgflow.runs.load import load, read_config
from wgflow.runs.remarks import remark
from wgflow.runs.run import Run
from wgflow.storage import checkpoint, folder
from wgflow.storage.lock import locked
from wgflow.training.binding import check_data, digest_of
from wgflow.training.checks import check_device, check_particles
from wgflow.training.learner import Learner
from wgflow.training.progress import Progress, read_state
from wgflow.training.recorder import Clock, environment, update_environment
from wgflow.training.runner import Listener, Runner
from wgflow.training.trial import begun
from wgflow.training.warm_start import initialise


def fit(
    config: Config,
    out: Path | str | None = None,
    *,
    data: Any = None,
    energy: nn.Module | None = None,
    listener: Listener | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Learn an energy as ``config`` says, into a new folder.

    Args:
        config: what to learn; its counts are totals over the ranks.
        out: the folder, which all ranks see and the first alone writes to; None for
            ``runs/DATA-SEED``, ``runs/table-SEED`` of a frame, numbered where that exists.
        data: a data frame of pandas, polars, pyarrow or another library that narwhals knows, in
            place of the source that ``config`` names; its rows are kept in the folder.
        energy: a module of the caller to learn in place of a network of the package, the free part
            of the energy in standardised units; see `OwnModuleSpec`. It stays as it is.
        listener: called after every learning step.
        ranks: the processes that learn together; every one of them calls `fit`.

    Raises:
        ValueError: the folder is not new or in use, or the data cannot be used.
        Diverged: after more rollbacks than a run may take.
        Interrupted: a signal came; the run can be resumed.
    """
    config = _own(config, energy)
    path = ranks.lead(lambda: Path(out or _free(config, data)))
    ranks.lead(lambda: (folder.check_new(path), share(config, ranks)))
    with _held(path, ranks), _kept(path, data, ranks), _flushed_denormals():
        ranks.lead(lambda: folder.check_no_run(path))  # another may have learned one since
        check_device(share(config, ranks).device)
        config = _anchored(_sourced(config, path, data)).settled()
        _learn(path, config, energy, listener, ranks)
    return load(path, energy=energy)


def resume(
    path: Path | str,
    *,
    energy: nn.Module | None = None,
    listener: Listener | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Go on after the latest checkpoint, as if there had been no stop: bit for bit, on a CPU.

    A finished run is loaded. Any other goes on with as many ranks as it started with, and with
    the caller's module if it learns one; one that was killed before its first checkpoint starts
    again.

    Raises:
        ValueError: there is no run, it is in use, or its checkpoint is corrupt or of other data.
        Diverged, Interrupted: as `fit`.
    """
    path = Path(path)
    if ranks.lead(lambda: _finished(path)):
        return load(path, energy=energy)
    with _held(path, ranks), _flushed_denormals():
        config = share(read_config(path), ranks)
        check_device(config.device)
        if ranks.lead(lambda: folder.is_begun(path)):
            _learn(path, read_config(path), energy, listener, ranks)
            return load(path, energy=energy)
        learner = Learner.build(config, ranks, energy)
        ranks.lead(lambda: check_data(path, learner.dataset))
        _go_on(path, learner, listener)
    return load(path, energy=energy)


def _own(config: Config, energy: nn.Module | None) -> Config:
    """The configuration of a module of the caller, in place of the default network."""
    if energy is None or config.energy != Config().energy:
        return config
    return replace(config, energy=OwnModuleSpec())


def _free(config: Config, data: Any) -> Path:
    source = config.data.name if data is None else folder.TABLE
    return folder.free(Path("runs") / f"{Path(source).stem}-{config.seed}")


def _learn(
    path: Path,
    config: Config,
    module: nn.Module | None,
    listener: Listener | None,
    ranks: Ranks,
) -> None:
    """Learn from the first step to the last."""
    clock = Clock.start()
    config = _as_begun(config)
    learner = begun(share(config, ranks), ranks, module)
    config = replace(config, energy=learner.config.energy)
    if config.init is not None:
        initialise(learner, load(config.init).energy)
    for network in (learner.energy, learner.average.module):  # its count is on the CPU
        ranks.spread_(list(network.state_dict().values()))
    carry = learner.start()  # what fails here leaves no folder
    ranks.lead(lambda: _begin(path, config, learner.dataset, ranks))
    ranks.lead(lambda: remark(config, learner.dataset))
    Runner.open(path, learner, clock, listener).run(Progress(), carry)


def _as_begun(config: Config) -> Config:
    """With the start of the run whose energy initialises this one, in place of a trial."""
    if config.init is None:
        return config
    known = load(config.init).config.energy
    return replace(config, energy=known) if config.energy.leads_to(known) else config


def _go_on(path: Path, learner: Learner, listener: Listener | None) -> None:
    """Learn from the latest checkpoint on; until the first step it is not known to be sound."""
    config, ranks = learner.config, learner.ranks
    with contextlib.ExitStack() as untried:
        untried.enter_context(checkpoint.refusing(path / folder.CHECKPOINT))

        def listen(step: int, metrics: dict[str, float]) -> None:
            untried.close()
            if listener is not None:
                listener(step, metrics)

        state = read_state(path, config.scheme, config.device, ranks)
        learner.restore(state["learner"])
        for particles in config.scheme.populations(state["carry"]):
            check_particles(particles, learner.dataset.event_shape)
        clock = Clock.start(**state["clock"])
        runner = Runner.open(path, learner, clock, listen, state)
        ranks.lead(lambda: update_environment(path, status="running"))
        runner.run(Progress(*state["progress"]), state["carry"])


def _begin(path: Path, config: Config, dataset: Dataset, ranks: Ranks) -> None:
    """Write what was asked for, what it is learned from, and where: then it is a run."""
    folder.write_text(path / folder.CONFIG, dumps(config))
    if dataset.schema is not None:
        folder.write_json(path / folder.COLUMNS, dataset.schema.record())
    found = environment() | {"ranks": ranks.size, "status": "running"}
    folder.write_json(path / folder.ENVIRONMENT, found | {"data": digest_of(dataset)})


def _finished(path: Path) -> bool:
    if folder.is_begun(path):
        return False
    folder.check_run(path)
    return folder.status(path) == "finished"


@contextlib.contextmanager
def _held(path: Path, ranks: Ranks) -> Iterator[None]:
    """The lock of the folder, which the first rank holds for all."""
    with contextlib.ExitStack() as stack:
        ranks.lead(lambda: stack.enter_context(locked(path)))
        ranks.lead(lambda: folder.clean(path))
        yield


@contextlib.contextmanager
def _kept(path: Path, data: Any, ranks: Ranks) -> Iterator[None]:
    """The rows of a frame in the folder, unless no run comes to be there."""
    table = path / folder.TABLE
    if data is not None:
        ranks.lead(lambda: write_frame(table, data))
    try:
        yield
    finally:
        if ranks.first and not folder.is_run(path):
            table.unlink(missing_ok=True)


def _sourced(config: Config, path: Path, data: Any) -> Config:
    """The configuration whose data are the frame that is kept in the folder, if there is one."""
    if data is None:
        return config
    return replace(config, data=replace(config.data, name=str(path / folder.TABLE)))


def _anchored(config: Config) -> Config:
    """The same with an absolute path to the data, so that a run resumes from anywhere."""
    if config.init is not None:
        config = replace(config, init=str(zoo.find(config.init).resolve()))
    data = config.data
    if data.test is not None and Path(data.test).exists():
        data = replace(data, test=str(Path(data.test).resolve()))
    if Path(data.name).exists() and data.name not in available():
        data = replace(data, name=str(Path(data.name).resolve()))
    return replace(config, data=data)


@contextlib.contextmanager
def _flushed_denormals() -> Iterator[None]:
    # Softmax weights far below the largest are denormal numbers, which x86 handles in microcode:
    # the gradients through them would take five times as long. It is a switch of the process.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
