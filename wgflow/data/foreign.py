"""Files that others wrote: regular, of the kind that their name says, and within memory."""

import codecs
import contextlib
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wgflow._check import shortened, shown

ARRAY, ARCHIVE, SUFFIX = b"\x93NUMPY", b"PK\x03\x04", ".npy"

BEGINNINGS = {
    ARRAY: "an .npy array",
    ARCHIVE: "a zip or .npz archive",
    b"PK\x05\x06": "an empty zip archive",
    b"PAR1": "a Parquet table",
    b"\x1f\x8b": "gzip, to be unpacked first",
    b"\x28\xb5\x2f\xfd": "zstd, to be unpacked first",
    b"BZh": "bzip2, to be unpacked first",
    b"\xfd7zXZ": "xz, to be unpacked first",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x80": "a Python pickle, which is never opened",
    b"%PDF": "a PDF document",
}
"""First bytes of kinds of files, and what they are."""

LEAST = 4096
"""Bytes of a file that tell text from other bytes."""

SHARE = 0.5
"""Share of the free memory that the numbers of one file may take, since they are copied once."""

MAPPED = 2**27
"""Bytes from which an array stays on disk, behind a memory map, where its kind allows that."""


def check_regular(path: Path) -> None:
    """Raise ValueError for what is no file, as a named pipe, which might never end."""
    if not path.is_file():
        got = (
            "a folder" if path.is_dir() else "something else" if path.exists() else "no such file"
        )
        raise ValueError(f"{path} must be a file: got {got}.")


def kind_of(path: Path) -> str:
    """What a file is by its first bytes, in words."""
    with path.open("rb") as file:
        first = file.read(LEAST)
    for beginning, words in BEGINNINGS.items():
        if first.startswith(beginning):
            return words
    try:
        codecs.getincrementaldecoder("utf8")().decode(first)
    except UnicodeDecodeError:
        return "bytes that are no text in UTF-8"
    return "text" if first else "an empty file"


def check_fits(path: Path, size: int) -> None:
    """Raise ValueError where ``size`` bytes of numbers do not fit into the memory that is free."""
    free = free_memory()
    if size > SHARE * free:
        raise ValueError(
            f"{path.name} must fit into memory: got {size / 2**30:.3g} GiB of numbers, where "
            f"{free / 2**30:.3g} GiB are free."
        )


def free_memory() -> float:
    """Bytes that a process may still take; infinite where the system does not say."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * int(next(x for x in lines if x.startswith("MemAvailable")).split()[1])
    return math.inf


@contextlib.contextmanager
def reading(name: str, rule: str) -> Iterator[None]:
    """Refuse, in one sentence, a file that a library fails to read; ``rule`` says what it must be.

    Readers of foreign formats fail in many ways, and all of them say that the file is broken.
    """
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in words:  # advice that must not be followed
            words = "got Python objects, or a header that is too long."
        raise ValueError(f"{name} {rule}: {shortened(words, 300)}") from error


def load_array(path: Path) -> np.ndarray:
    """The array in an .npy file, or the only one, or that named x or train, in an .npz.

    That of a large .npy file is a map of it.

    Raises:
        ValueError: the file is broken or of another kind, or larger than memory or than it is.
    """
    check_regular(path)
    with reading(path.name, "must hold an array of numbers"):
        kind = kind_of(path)
        if kind == BEGINNINGS[ARCHIVE]:
            return _member(path)
        if kind != BEGINNINGS[ARRAY]:
            raise ValueError(f"got {kind}.")
        # A map first: it does not take the header's word for how much there is to read.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        return found if path.stat().st_size >= MAPPED else np.array(found)


def bytes_of(path: Path) -> np.ndarray:
    """The bytes of a file, uint8; of a large one a map."""
    check_regular(path)
    if path.stat().st_size >= MAPPED:
        return np.memmap(path, np.uint8, mode="r")
    return np.frombuffer(path.read_bytes(), np.uint8)


def check_numbers(path: Path, x: np.ndarray) -> None:
    """Raise ValueError for an array that is empty, or of anything else than numbers."""
    if x.dtype.kind not in "fiub" or not x.ndim or not x.size:
        raise ValueError(
            f"{path.name} must hold an array of numbers: got {x.dtype} of shape {x.shape}."
        )


def shape_of(path: Path) -> tuple[int, ...]:
    """The shape of `load_array` by the header alone."""
    if kind_of(path) != BEGINNINGS[ARCHIVE]:
        return np.load(path, mmap_mode="r", allow_pickle=False).shape
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(SUFFIX) for name in archive.namelist()]
        with archive.open(f"{_chosen(names)}{SUFFIX}") as file:
            np.lib.format.read_magic(file)
            return np.lib.format.read_array_header_1_0(file)[0]


def _member(path: Path) -> np.ndarray:
    # Opened here, since numpy leaves a broken archive open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        key = _chosen(archive.files)
        entry = f"{key}{SUFFIX}"
        sizes = {info.filename: info.file_size for info in archive.zip.infolist()}
        check_fits(path, sizes.get(entry, 0))
        found = archive[key]
    if not isinstance(found, np.ndarray):
        raise ValueError(f"got {key!r}, which is no array.")
    return found


def _chosen(keys: Sequence[str]) -> str:
    chosen = [key for key in ("x", "train") if key in keys] or keys
    if len(keys) != 1 and chosen is keys:
        raise ValueError(
            f"expected one array, or one named 'x' or 'train', got {shown(list(keys)[:20])}."
        )
    return chosen[0]
