"""What a run leaves on disk while it learns: metrics, events, TensorBoard, frames."""

import contextlib
import io
import logging
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from wgflow._version import __version__
from wgflow.data.dataset import Dataset
from wgflow.data.foreign import check_numbers, reading
from wgflow.samplers.particles import Particles, systematic_indices
from wgflow.storage import folder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FRAMES = 40  # log-spaced over the run: early steps change most
FRAME_POINTS = 1000
FRAME_NUMBERS, FEWEST_POINTS = 2**21, 64  # of large images fewer points, for memory
LINES = 2000  # of metrics, about, in a long run

log = logging.getLogger(__name__)


class Clock(NamedTuple):
    """Seconds since a run began, over all the processes that worked on it.

    Attributes:
        wall: reading of the wall's clock at which they were 0.
        cpu: reading of this process's clock at which they were 0.
    """

    wall: float
    cpu: float

    @classmethod
    def start(cls, seconds: float = 0.0, cpu_seconds: float = 0.0) -> "Clock":
        """A clock that shows ``seconds`` now."""
        return cls(time.perf_counter() - seconds, time.process_time() - cpu_seconds)

    def read(self) -> dict[str, float]:
        """``seconds`` and ``cpu_seconds``."""
        now = time.perf_counter(), time.process_time()
        return {"seconds": now[0] - self.wall, "cpu_seconds": now[1] - self.cpu}


@dataclass(frozen=True, eq=False)
class Recorder:
    """Writes to the run folder.

    Args:
        path: the folder.
        steps: learning steps of the whole run.
        dataset: whose units the frames have.
        writer: of TensorBoard's files.
        frames: snapshots by step; grows.
    """

    path: Path
    steps: int
    dataset: Dataset
    writer: "SummaryWriter"
    frames: dict[int, np.ndarray]

    @classmethod
    def open(cls, path: Path, steps: int, dataset: Dataset, *, at: int = 0) -> "Recorder":
        """A recorder that goes on after step ``at``."""
        from torch.utils.tensorboard import SummaryWriter  # slow, and only writers need it

        writer = SummaryWriter(str(path / folder.TENSORBOARD), purge_step=at + 1)
        return cls(path, steps, dataset, writer, read_frames(path, at))

    def metrics(
        self, step: int, clock: Clock, metrics: Mapping[str, float], *, always: bool
    ) -> None:
        """One line of metrics and as many TensorBoard scalars, at every so many steps."""
        if step % max(1, self.steps // LINES) and not always:
            return
        folder.append_json(
            self.path / folder.METRICS, {"step": step} | clock.read() | dict(metrics)
        )
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def event(self, step: int, name: str, **details: Any) -> None:
        """One line of events."""
        folder.append_json(self.path / folder.EVENTS, {"step": step, "event": name, **details})

    def frame(self, step: int, p: Particles | None, *, always: bool = False) -> None:
        """Keep a snapshot of the particles, if this is a step for one."""
        if p is not None and (always or step in frame_steps(self.steps)):
            self.frames[step] = snapshot(p, self.dataset, step)

    def close(self) -> None:
        """Close TensorBoard's files."""
        self.writer.close()

    def save(self) -> dict[str, int]:
        """Bring frames and TensorBoard to disk; the lengths of the files that only grow."""
        self.writer.flush()
        if self.frames:
            write_frames(self.path, self.frames)
        return {name: folder.size(self.path / name) for name in (folder.METRICS, folder.EVENTS)}

    def rewind(self, step: int, lengths: Mapping[str, int]) -> None:
        """Forget what was recorded after ``step``, when the files had these lengths."""
        for name, length in lengths.items():
            folder.truncate(self.path / name, length)
        for later in [key for key in self.frames if key > step]:
            del self.frames[later]


class Silence:
    """A recorder that writes nothing, for the ranks after the first."""

    def ignore(self, *args: Any, **details: Any) -> None:
        """Nothing."""

    metrics = event = frame = rewind = close = ignore

    def save(self) -> dict[str, int]:
        """No files."""
        return {}


def frame_steps(steps: int) -> set[int]:
    """Steps with a snapshot: 0, then log-spaced up to the last."""
    return {0, *np.geomspace(1, steps, FRAMES - 1).round().astype(int).tolist()}


def snapshot(p: Particles, dataset: Dataset, step: int) -> np.ndarray:
    """Up to 1000 particles, fewer of large images, resampled to equal weights, in original units.

    The generator is the step's own, so that watching a run does not change it.
    """
    generator = torch.Generator().manual_seed(step)
    count = min(FRAME_POINTS, len(p.x), max(FEWEST_POINTS, FRAME_NUMBERS // p.x[0].numel()))
    index = systematic_indices(p.log_weight.cpu(), count, generator=generator)
    return dataset.unstandardise(p.x.cpu()[index]).numpy()


def write_frames(path: Path, frames: Mapping[int, np.ndarray]) -> None:
    """Write the snapshots, in order of their steps."""
    steps = sorted(frames)
    buffer = io.BytesIO()
    np.savez(buffer, step=np.array(steps), x=np.stack([frames[step] for step in steps]))
    folder.write_bytes(path / folder.FRAMES, buffer.getvalue())


def read_frames(path: Path, last: int) -> dict[int, np.ndarray]:
    """The snapshots up to step ``last``; none where there is no file, or a damaged one."""
    file = path / folder.FRAMES
    if not file.is_file():
        return {}
    try:
        with (
            reading(file.name, "must hold snapshots"),
            file.open("rb") as opened,  # numpy leaves a broken archive open
            np.load(opened, allow_pickle=False) as found,
        ):
            x, steps = found["x"], found["step"].tolist()
            check_numbers(file, x)
            return {step: x for step, x in zip(steps, x, strict=True) if step <= last}
    except ValueError as error:
        log.warning("%s; they are left out", error)
        return {}


def environment() -> dict[str, Any]:
    """Versions, machine and command line, and the time now."""
    return {
        "wgflow": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def update_environment(path: Path, **changes: Any) -> None:
    """Change entries of the environment file; a damaged one begins anew."""
    file, found = path / folder.ENVIRONMENT, {}
    with contextlib.suppress(ValueError):
        found = folder.read_record(file)
    folder.write_json(file, found | changes)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
