"""Arrays in binary files of a fixed layout: IDX, as of MNIST, and CIFAR-10."""

import gzip
import math
import sys
from pathlib import Path

import numpy as np

from wgflow.data.foreign import SHARE, bytes_of, check_fits, check_regular, free_memory, reading

UBYTE = 0x0800  # the type of unsigned bytes in the magic number of an IDX file
CIFAR_IMAGE = (3, 32, 32)
CIFAR_CLASSES = 10


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The array of ``axes`` axes, uint8, in an IDX file, which may be compressed (.gz).

    That of a large file without compression is a map of it; none can be written to.
    Raises ValueError if it is no such file, or shorter or longer than it says.
    """
    data = _bytes(path)
    magic, expected = int.from_bytes(data[:4].tobytes(), "big"), UBYTE + axes
    if len(data) < 4 or magic != expected:
        raise ValueError(
            f"{path.name} must be an IDX file of bytes with {axes} axes, by its magic number "
            f"{expected}: got {magic}."
        )
    start = 4 + 4 * axes
    shape = [int.from_bytes(data[i : i + 4].tobytes(), "big") for i in range(4, start, 4)]
    size = start + math.prod(shape)
    if len(data) != size or size == start:
        raise ValueError(
            f"{path.name} must be whole and not empty, {size} bytes for shape {tuple(shape)}: "
            f"got {len(data)}."
        )
    return data[start:].reshape(shape)


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3, 32, 32) and labels (n,) of a file of CIFAR-10's binary version."""
    data = _bytes(path)
    record = 1 + math.prod(CIFAR_IMAGE)
    if not len(data) or len(data) % record:
        raise ValueError(
            f"{path.name} must hold records of CIFAR-10, {record} bytes each: got {len(data)}."
        )
    rows = data.reshape(-1, record)
    if rows[:, 0].max() >= CIFAR_CLASSES:
        raise ValueError(
            f"{path.name} must hold records of CIFAR-10, of labels 0 to {CIFAR_CLASSES - 1}: "
            f"got {rows[:, 0].max()}."
        )
    return rows[:, 1:].reshape(-1, *CIFAR_IMAGE), rows[:, 0]


def _bytes(path: Path) -> np.ndarray:
    if path.suffix != ".gz":
        return bytes_of(path)
    check_regular(path)
    limit = SHARE * free_memory()
    with reading(path.name, "must be a whole gzip file"), gzip.open(path) as file:
        data = file.read(int(min(limit, sys.maxsize - 1)) + 1)
    check_fits(path, len(data))
    return np.frombuffer(data, np.uint8)
