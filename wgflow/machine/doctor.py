"""What there is to work with: versions, devices, threads, precision, folders and extras.

Only the standard library and `packaging` are imported at the top, so that a broken installation of
PyTorch is a finding and not the end.
"""

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from wgflow._version import __version__
from wgflow.data.download import SETS, data_folder, is_fetched

COMPILERS = ("c++", "g++", "clang++", "cl")
"""Any of them lets PyTorch compile for a CPU."""

NOT_FOR_USERS = ("dev", "docs", "benchmarks", "distributions", "audit")
"""Extras that only work on the package itself needs."""


class Package(NamedTuple):
    """A distribution that is wanted: which versions of it, and the one that is there, if any."""

    name: str
    wanted: str
    found: str | None

    @property
    def suits(self) -> bool:
        """Whether a wanted version is there."""
        wanted = Requirement(f"{self.name}{self.wanted}").specifier
        return self.found is not None and wanted.contains(self.found, prereleases=True)

    @property
    def finding(self) -> str:
        """The package in words, for one that does not suit."""
        return f"{self.name}{self.wanted} ({self.found or 'absent'})"


class Diagnosis(NamedTuple):
    """What `doctor` finds.

    Attributes:
        versions: of the package, Python, the platform and each dependency; None where absent.
        devices: what PyTorch computes on, by the name that ``--device`` takes, with its kind.
        threads: those of PyTorch, the usable cores and the variable that sets the threads.
        precision: which precisions there are, and whether the mixed one is faster than single.
        compiler: path of a C++ compiler; None without one.
        data: the folder of data sets, whether it can be written, and which sets it has.
        extras: by extra, what it lacks; an empty list where it is complete.
        problems: what keeps the package from working, a sentence each.
    """

    versions: dict[str, str | None]
    devices: dict[str, str]
    threads: dict[str, int | str | None]
    precision: dict[str, Any]
    compiler: str | None
    data: dict[str, Any]
    extras: dict[str, list[str]]
    problems: list[str]

    @property
    def healthy(self) -> bool:
        """Whether nothing keeps the package from working."""
        return not self.problems


def doctor() -> Diagnosis:
    """Examine this installation and this machine; nothing is changed and nothing is fetched."""
    wanted = requirements()
    needed = wanted.pop("", [])
    versions = {"wgflow": __version__, "python": platform.python_version()}
    versions |= {"platform": platform.platform()} | {p.name: p.found for p in needed}
    problems = [f"A dependency is missing: {p.finding}." for p in needed if not p.suits]
    torch = _torch(problems)
    return Diagnosis(
        versions,
        _devices(torch),
        _threads(torch),
        _precision(torch),
        next(filter(None, map(shutil.which, COMPILERS)), None),
        _data(),
        {e: [p.finding for p in ps if not p.suits] for e, ps in wanted.items()},
        problems,
    )


def requirements(name: str = "wgflow") -> dict[str, list[Package]]:
    """The packages that an installed one wants, by extra; by "" those it always needs.

    Nothing where it was not installed, but found on the path.
    """
    try:
        lines = metadata.requires(name) or []
        extras = metadata.metadata(name).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    always = _wanted(lines, "")
    told = {extra: _wanted(lines, extra) for extra in extras if extra not in NOT_FOR_USERS}
    return {"": always} | {e: [p for p in ps if p not in always] for e, ps in told.items()}


def _wanted(lines: list[str], extra: str) -> list[Package]:
    found = map(Requirement, lines)
    return [
        Package(canonicalize_name(r.name), str(r.specifier), version(r.name))
        for r in found
        if r.marker is None or r.marker.evaluate({"extra": extra})
    ]


def version(name: str) -> str | None:
    """The version of an installed distribution; None without it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch(problems: list[str]) -> Any:
    """The module, or None and one problem more."""
    try:
        import torch
    except (ImportError, OSError) as error:  # absent, or a library of it that does not load
        said = (str(error).splitlines() or ["no reason given"])[0]
        problems.append(f"PyTorch cannot be imported: {said}.")
        return None
    return torch


def _devices(torch: Any) -> dict[str, str]:
    if torch is None:
        return {}
    found = {"cpu": platform.processor() or platform.machine()}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            found[f"cuda:{index}"] = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    return found


def _threads(torch: Any) -> dict[str, int | str | None]:
    return {
        "threads": None if torch is None else torch.get_num_threads(),
        "cores": usable_cores(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def usable_cores() -> int:
    """Cores that this process may use, which on a shared machine are fewer than there are."""
    if platform.system() == "Linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _precision(torch: Any) -> dict[str, Any]:
    if torch is None:
        return {}
    from wgflow.config.schema import DTYPES, MIXED
    from wgflow.energies.precision import fast_bfloat16

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"available": list(DTYPES), "mixed": MIXED, "mixed_is_fast": fast_bfloat16(device)}


def _data() -> dict[str, Any]:
    folder = data_folder()
    there = next(path for path in (folder, *folder.parents, Path("/")) if path.exists())
    return {
        "folder": str(folder),
        "writable": os.access(there, os.W_OK) and there.is_dir(),
        "free_bytes": shutil.disk_usage(there).free,
        "fetched": [name for name in SETS if is_fetched(name)],
    }
