"""What a path holds, as it lies there: points or pixels of images, labels, its own test split."""

import difflib
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from wgflow._check import shown
from wgflow._random import Rng
from wgflow.data.binary import read_cifar, read_idx
from wgflow.data.columns import Columns
from wgflow.data.download import SETS, local
from wgflow.data.images import read_images, resize, stack_images
from wgflow.data.reading import Reading
from wgflow.data.tables import ALL, read_points
from wgflow.data.toys import TOYS

HUB = "hf:"
"""Prefix of the name of a data set that Hugging Face datasets opens."""

CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR_TEST = "test_batch.bin"


@dataclass(frozen=True, eq=False)
class Source:
    """Points as they lie on disk.

    Args:
        x: floating-point points (n, *event), or pixels (n, channels, height, width), uint8.
        labels: integers (n,), None where unknown.
        test: the source's own test points, like x; None without such a split.
        test_labels: integers (m,), None where unknown.
        schema: the columns of a table.

    Raises:
        ValueError: test points have another shape, or the labels another number than points.
    """

    x: np.ndarray
    labels: np.ndarray | None = None
    test: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    schema: Columns | None = None

    def __post_init__(self) -> None:
        if self.test is not None and self.test.shape[1:] != self.x.shape[1:]:
            expected, got = self.x.shape[1:], self.test.shape[1:]
            raise ValueError(f"Test points must have shape {expected}, as the others: got {got}.")
        for x, labels in ((self.x, self.labels), (self.test, self.test_labels)):
            if x is not None and labels is not None and len(x) != len(labels):
                raise ValueError(f"There must be {len(x)} labels, one a point: got {len(labels)}.")

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the coordinates, for a table."""
        return None if self.schema is None else self.schema.names


def open_source(
    name: str | Path,
    dtype: np.dtype,
    side: int | None = None,
    schema: Columns | None = None,
    *,
    wanted: Reading = ALL,
    generator: Rng = None,
) -> Source:
    """What is at a path, or after `HUB`; images resized to side × side.

    Args:
        name: path, or ``hf:`` and what `read_hub` takes.
        dtype: of points that are not pixels.
        side: of the images; None keeps their sizes.
        schema, wanted, generator: of a table, see `wgflow.data.tables.read_points`.

    Raises:
        ValueError: the files are broken or of an unknown kind, or are resized and no images.
    """
    if str(name).startswith(HUB):
        return read_hub(str(name).removeprefix(HUB), side)
    path = Path(name)
    if path.is_dir() and not _has_arrays(path):
        return Source(read_images(path, side))
    if path.is_dir():
        found = read_cifar_folder(path) if _has_cifar(path) else read_idx_folder(path)
    else:
        x, known = read_points(path, dtype, schema, wanted=wanted, generator=generator)
        found = Source(x, schema=known)
    return _resized(found, side, path.name)


def existing(source: str | Path) -> str | Path:
    """The path of a source that is no toy set; ValueError where there is none."""
    if str(source).startswith(HUB):
        return source
    path = local(str(source)) if source in SETS else Path(source)
    if path.exists():
        return path
    raise ValueError(unknown_source(path, str(source), [*TOYS, "digits", *SETS]))


def unknown_source(path: Path, got: str, names: Sequence[str]) -> str:
    """What to say of data that are neither a known name nor a path that exists."""
    is_path = bool(path.suffix) or len(path.parts) > 1
    here = path.parent if is_path and path.parent.is_dir() else None
    beside = names if not is_path else [p.name for p in here.iterdir()] if here else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    if near:
        hint = f"did you mean {str(path.parent / near[0])!r}?"
    elif is_path:
        hint = "there is no such file or folder."
    else:
        hint = f"the names are {', '.join(names)}."
    return f"Data must be a known name or a path that exists: got {shown(got)}; {hint}"


def with_test(held: Source, other: Source, name: str) -> Source:
    """A source whose test points are those of another, which was read with its columns.

    Raises ValueError, with the other's name, unless it holds points of the same kind and shape.
    """
    if (other.x.dtype == np.uint8) != (held.x.dtype == np.uint8):
        raise ValueError(f"{name} must hold pixels if the train points are, and only then.")
    if other.x.shape[1:] != held.x.shape[1:]:
        expected, got = held.x.shape[1:], other.x.shape[1:]
        raise ValueError(f"{name} must hold points of shape {expected}: got {got}.")
    return replace(held, test=other.x, test_labels=other.labels)


def open_digits(dtype: torch.dtype, generator: Generator) -> Source:
    """The points of `digits` and their labels."""
    labels = _bundled_digits()[1]
    return Source(digits(dtype=dtype, generator=generator).numpy(), labels)


def _bundled_digits() -> Any:
    from sklearn.datasets import load_digits  # an import of two seconds, for these data alone

    return load_digits(return_X_y=True)


def digits(*, dtype: torch.dtype = torch.float32, generator: Rng = None) -> Tensor:
    """The 1,797 handwritten digits of scikit-learn, shape (1797, 1, 8, 8).

    Grey levels ``k = 0..16`` with uniform noise: ``x = (k + u)/17`` in [0, 1], ``u ~ U[0, 1)``.
    A log-density in these units is the one in grey levels plus ``64 log 17``.
    """
    grey = torch.as_tensor(_bundled_digits()[0], dtype=torch.float64).reshape(-1, 1, 8, 8)
    noise = torch.rand(grey.shape, dtype=torch.float64, generator=generator)
    return ((grey + noise) / 17).to(dtype)


def read_idx_folder(folder: Path) -> Source:
    """Images and labels named as those of MNIST: ``train-images-idx3-ubyte`` and so on.

    A prefix, a dot in place of the last dash but one, and compression (.gz) are known too; of
    the test files the names begin with t10k or test. Only the train images must be there.
    """
    x, labels = _idx_pair(folder, "train")
    test, test_labels = _idx_pair(folder, "t10k|test")
    if x is None:
        raise ValueError(f"{folder} must hold train-images-idx3-ubyte or its .gz: got neither.")
    return Source(x, labels, test, test_labels)


def read_cifar_folder(folder: Path) -> Source:
    """CIFAR-10's binary version: five train batches, and a test batch if it is there."""
    missing = [name for name in CIFAR_TRAIN if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} must hold five train batches: got no {', '.join(missing)}.")
    batches = [read_cifar(folder / name) for name in CIFAR_TRAIN]
    x, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    test = read_cifar(folder / CIFAR_TEST) if (folder / CIFAR_TEST).is_file() else (None, None)
    return Source(x, labels, *test)


def read_hub(name: str, side: int | None = None) -> Source:
    """Images that Hugging Face datasets opens: ``PATH_OR_NAME`` or ``PATH_OR_NAME:SPLIT``.

    Without a split these are ``train``, and ``test`` if there is one. The images are the one
    column of images, the labels the one column of class labels, if there is one.

    Raises:
        ValueError: the package is missing, or there is no such data set, split or column.
    """
    path, _, split = name.partition(":")
    splits = _load_hub(path)
    wanted = split or "train"
    if wanted not in splits:
        raise ValueError(f"A split of {path} must be {' or '.join(splits)}: got {wanted!r}.")
    x, labels = _hub_images(splits[wanted], wanted, side)
    with_test = not split and "test" in splits
    test = _hub_images(splits["test"], "test", side) if with_test else (None, None)
    return Source(x, labels, *test)


def _has_arrays(folder: Path) -> bool:
    return _has_cifar(folder) or any("-ubyte" in path.name for path in folder.iterdir())


def _has_cifar(folder: Path) -> bool:
    return any((folder / name).is_file() for name in CIFAR_TRAIN)


def _resized(source: Source, side: int | None, name: str) -> Source:
    if side is None:
        return source
    if source.x.dtype != np.uint8:
        raise ValueError(f"`image_size` must be none for {name}: got {side}.")
    test = None if source.test is None else resize(source.test, side)
    return replace(source, x=resize(source.x, side), test=test)


def _idx_pair(folder: Path, part: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Images (n, 1, height, width) and labels (n,) of a part, each None if it is not there."""
    files = _idx_file(folder, part, "images", 3), _idx_file(folder, part, "labels", 1)
    images = None if files[0] is None else read_idx(files[0], 3)[:, None]
    labels = None if files[1] is None else read_idx(files[1], 1)
    return images, (None if images is None else labels)


def _idx_file(folder: Path, part: str, what: str, axes: int) -> Path | None:
    pattern = re.compile(rf"(.*-)?({part})-{what}[-.]idx{axes}-ubyte(\.gz)?")
    found = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    if len(found) > 1:
        got = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} must hold one file of {what}: got {got}.")
    return found[0] if found else None


def _load_hub(path: str) -> dict[str, Any]:
    try:
        hub = importlib.import_module("datasets")
    except ImportError as error:
        raise ValueError(
            f"{HUB}{path} needs the package datasets: pip install 'wgflow[huggingface]'."
        ) from error
    saved = (Path(path) / "dataset_dict.json", Path(path) / "dataset_info.json")
    try:
        # A folder written by save_to_disk is not one that load_dataset reads.
        opened = hub.load_from_disk if any(map(Path.is_file, saved)) else hub.load_dataset
        data = opened(path)
    except (OSError, ValueError, hub.exceptions.DatasetsError) as error:
        raise ValueError(f"{path} must be a data set that datasets opens: {error}") from error
    return dict(data) if isinstance(data, dict) else {"train": data}


def _hub_images(split: Any, name: str, side: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    column, classes = _columns_of(split, "Image"), _columns_of(split, "ClassLabel")
    if len(column) != 1 or not len(split):
        raise ValueError(
            f"Split {name} must have one column of images: got {column or 'none'} in "
            f"{len(split)} rows of {split.column_names}."
        )
    labels = np.asarray(split[classes[0]][:], np.int64) if len(classes) == 1 else None
    return stack_images(_named_images(split.select_columns(column), column[0]), side), labels


def _columns_of(split: Any, kind: str) -> list[str]:
    return [key for key, feature in split.features.items() if type(feature).__name__ == kind]


def _named_images(split: Any, column: str) -> Iterator[tuple[str, Any]]:
    for i, row in enumerate(split):
        yield f"row {i}", row[column]
