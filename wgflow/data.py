"""Data sets by name or from disk, and an endless, seeded, resumable stream of batches."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from wgflow._tensor import Points
from wgflow.fetch import SETS, local
from wgflow.images import SCALINGS, dequantise
from wgflow.sources import HUB, Source, open_digits, open_source
from wgflow.targets import Target
from wgflow.toys import TOYS

TOY_TRAIN = 500_000  # enough for a toy set to behave like an endless source
TOY_TEST = 10_000
PIXEL_FLOOR = 0.1
SMALL_SIDE = 8
"""Pixels of a side up to which images are scaled per pixel unless told otherwise."""

Part = tuple[Tensor, Tensor | None]
"""Points or levels, and labels where they are known."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Points to learn from and points held out, in the units of the source.

    Args:
        name: of the toy set, or of the file or folder.
        train: points, shape (n, *event).
        test: held-out points, shape (m, *event).
        shift: mean ``m`` of train; one number 1/2 for images scaled by their range.
        scale: standard deviation ``s`` of train, per coordinate. In events with several axes
            (images) it is at least a tenth of the root mean square over the pixels, so that a
            margin that hardly varies is not blown up. One number 1/2 for images scaled by their
            range.
        columns: names of the coordinates, for a table.
        target: the exact law of the points, in the same units, for a toy set.
        train_labels, test_labels: classes of the points, shape (n,) and (m,), int64; None where
            unknown.
    """

    name: str
    train: Tensor
    test: Tensor
    shift: Tensor
    scale: Tensor
    columns: tuple[str, ...] | None = None
    target: Target | None = None
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one point."""
        return tuple(self.train.shape[1:])

    def standardise(self, x: Points) -> Points:
        """``u = (x - m)/s``: mean 0 and variance 1 over train, or images in [-1, 1]."""
        return (x - self.shift) / self.scale

    def unstandardise(self, u: Points) -> Points:
        """``x = m + s u``."""
        return self.shift + self.scale * u


def load(
    source: str | Path,
    *,
    size: int | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    image_size: int | None = None,
    scaling: str | None = None,
) -> Dataset:
    """A data set by name, or points from a file or folder.

    Images of eight bits become points by `wgflow.images.dequantise`.

    Args:
        source: a name of `TOYS`, ``digits``, a name of `wgflow.fetch.SETS` once fetched, the path
            of an .npy, .npz, .csv or .parquet file, of a folder of png or jpg images, of IDX
            files or of CIFAR-10's binary version, or ``hf:`` and what Hugging Face datasets opens.
        size: number of train points; default 500,000 for a toy set, otherwise all there are.
        test_fraction: share of the points held out; a toy set draws 10,000 test points instead,
            and a source with test points of its own keeps those.
        seed: of the draws of a toy set, of the noise of images, and of the split.
        dtype: of all tensors; the numbers of a file are rounded to it.
        image_size: side to which images are resized, after a cut to their central square; None
            keeps their sizes, which must be one.
        scaling: ``coordinate``, by mean and standard deviation per coordinate; ``range``, images
            from [0, 1] to [-1, 1], so that all pixels share one unit; None is ``range`` for images
            in [0, 1] with a side over 8 pixels, else ``coordinate``.

    Raises:
        ValueError: the name is unknown, the file cannot be read as finite numbers, a coordinate
            is constant, there are too few points, or an option does not suit them.
    """
    _check_options(source, size, image_size, scaling)
    generator = torch.Generator().manual_seed(seed)
    if source in TOYS:
        return _toy(str(source), size or TOY_TRAIN, dtype, generator, scaling)
    held = _open(source, dtype, image_size, generator)
    (train, train_labels), (test, test_labels) = _split(held, size, test_fraction, generator)
    name = Path(source).name
    _check_varies(name, train, held.columns)
    # Test first, so that its noise does not depend on the size of train.
    test, train = _points(test, dtype, generator), _points(train, dtype, generator)
    shift, scale = units(train, scaling)
    return Dataset(name, train, test, shift, scale, held.columns, None, train_labels, test_labels)


class Batches(Iterator[Tensor]):
    """An endless stream of batches: each epoch a fresh permutation, without replacement.

    The points left over when ``size`` does not divide ``n`` wait for a later epoch. The stream
    owns its randomness, seeded by one draw from ``generator``; its whole state is the state of
    its generator at the start of the epoch and the position in it, so that
    ``load_state_dict(state_dict())`` continues bit for bit.

    Args:
        x: points, shape (n, *event); a batch is gathered by index.
        size: points per batch, at most n.
        flips: whether each image (channels, height, width) is mirrored left to right with
            probability 1/2, anew in each epoch.
        noise: σ of Gaussian noise on every coordinate, anew in each batch: the stream is then
            that of ``p_d * N(0, σ²)``.
        generator: for the seed.
    """

    def __init__(
        self,
        x: Tensor,
        size: int,
        *,
        flips: bool = False,
        noise: float = 0.0,
        generator: Generator | None = None,
    ):
        if not 1 <= size <= len(x):
            raise ValueError(f"A batch must fit in the data: expected 1 to {len(x)}, got {size}.")
        if flips and x.ndim != 4:
            raise ValueError(
                "Flips are of images: expected points of shape (channels, height, width), "
                f"got {tuple(x.shape[1:])}."
            )
        self.x = x
        self.size = size
        self.flips = flips
        self.noise = noise
        device = generator.device if generator else None
        seed = torch.randint(2**63 - 1, (), device=device, generator=generator)
        self._generator = torch.Generator().manual_seed(int(seed))
        self._begin(self._generator.get_state(), 0)

    def __next__(self) -> Tensor:
        if self._position + self.size > len(self.x):
            self._begin(self._generator.get_state(), 0)
        index = self._permutation[self._position : self._position + self.size]
        self._position += self.size
        batch = self.x[index.to(self.x.device)]
        if self.flips:
            mirrored = self._mirrored[index].to(batch.device)
            batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        return self._smoothed(batch) if self.noise else batch

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors: generator at the epoch's start, position, number of points."""
        position, points = torch.tensor(self._position), torch.tensor(len(self.x))
        return {"epoch": self._epoch.clone(), "position": position, "points": points}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from ``state``. Raises ValueError if it belongs to other data."""
        if set(state) != {"epoch", "position", "points"}:
            raise ValueError(
                "The state of a stream has three entries: expected epoch, position and points, "
                f"got {sorted(state)}."
            )
        if int(state["points"]) != len(self.x):
            raise ValueError(
                "A stream continues on the data it was made for: "
                f"expected {len(self.x)} points, got a state for {int(state['points'])}."
            )
        self._begin(state["epoch"].cpu(), int(state["position"]))

    def _begin(self, epoch: Tensor, position: int) -> None:
        # Permutation and flips follow from the generator, so the state need not hold them.
        self._epoch = epoch.clone()
        self._generator.set_state(self._epoch)
        self._permutation = torch.randperm(len(self.x), generator=self._generator)
        if self.flips:
            self._mirrored = torch.rand(len(self.x), generator=self._generator) < 0.5
        if self.noise:
            self._seed = int(torch.randint(2**31, (), generator=self._generator))
        self._position = position

    def _smoothed(self, batch: Tensor) -> Tensor:
        # A generator of the batch's own: a function of the epoch and the position in it.
        own = torch.Generator().manual_seed(self._seed + self._position)
        noise = torch.randn(batch.shape, generator=own, dtype=batch.dtype)
        return batch + self.noise * noise.to(batch.device)


def units(train: Tensor, scaling: str | None = None) -> tuple[Tensor, Tensor]:
    """Shift and scale of points (n, *event): see `Dataset`, and ``scaling`` of `load`."""
    fits = train.ndim == 4 and train.shape[1] in (1, 3) and 0 <= train.min() <= train.max() <= 1
    if scaling == "range" and not fits:
        raise ValueError(
            "Scaling by range is for images: expected points of shape (1 or 3, height, width) in "
            f"[0, 1], got shape {tuple(train.shape[1:])} in "
            f"[{float(train.min()):.3g}, {float(train.max()):.3g}]."
        )
    if scaling == "range" or (scaling is None and fits and max(train.shape[2:]) > SMALL_SIDE):
        return torch.tensor(0.5, dtype=train.dtype), torch.tensor(0.5, dtype=train.dtype)
    shift = train.mean(0, dtype=torch.float64).to(train.dtype)
    scale = (train - shift).square_().mean(0, dtype=torch.float64).sqrt().to(train.dtype)
    if train.ndim > 2:
        # A pixel that hardly varies is not blown up, so that the noise on it stays small.
        scale = scale.clamp(min=PIXEL_FLOOR * scale.square().mean().sqrt())
    return shift, scale


def _check_options(
    source: str | Path, size: int | None, image_size: int | None, scaling: str | None
) -> None:
    if size is not None and size < 2:
        raise ValueError(f"A train set needs spread: expected size >= 2, got {size}.")
    if scaling not in (None, *SCALINGS):
        raise ValueError(
            f"Points are scaled in few ways: expected {' or '.join(SCALINGS)}, got {scaling!r}."
        )
    if image_size is not None and (source in TOYS or source == "digits"):
        raise ValueError(
            f"An image size is for images of eight bits: expected none for {source}, "
            f"got {image_size}."
        )


def _toy(
    name: str, size: int, dtype: torch.dtype, generator: Generator, scaling: str | None
) -> Dataset:
    target = TOYS[name]()
    # Test first, so that it does not depend on the size of train.
    test = target.sample(TOY_TEST, dtype=dtype, generator=generator)
    train = target.sample(size, dtype=dtype, generator=generator)
    return Dataset(name, train, test, *units(train, scaling), target=target)


def _open(
    source: str | Path, dtype: torch.dtype, image_size: int | None, generator: Generator
) -> Source:
    if source == "digits":
        return open_digits(dtype, generator)
    return open_source(_existing(source), _numpy_dtype(dtype), image_size)


def _existing(source: str | Path) -> str | Path:
    if str(source).startswith(HUB):
        return source
    path = local(str(source)) if source in SETS else Path(source)
    if path.exists():
        return path
    names = [*TOYS, "digits", *SETS]
    near = difflib.get_close_matches(str(source), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(names)}."
    raise ValueError(
        f"Data are known by name or by path: expected a known name or an existing path, "
        f"got {str(source)!r}; {hint}"
    )


def _numpy_dtype(dtype: torch.dtype) -> np.dtype:
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"Data are kept in float32 or float64: expected either, got {dtype}.")
    return np.dtype(np.float32 if dtype == torch.float32 else np.float64)


def _split(
    held: Source, size: int | None, test_fraction: float, generator: Generator
) -> tuple[Part, Part]:
    """Train and test: the source's own, or drawn from its points."""
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"A test fraction must lie between 0 and 1: expected 0 to 1, got {test_fraction}."
        )
    n = len(held.x)
    held_out = max(1, round(test_fraction * n)) if held.test is None else 0
    most = n - held_out
    size = most if size is None else size
    if not 2 <= size <= most:
        raise ValueError(
            f"A train set comes from the {n} points less {held_out} held out: "
            f"expected a size of 2 to {most}, got {size}."
        )
    order = torch.randperm(n, generator=generator)
    train = _part(held.x, held.labels, order[held_out : held_out + size])
    if held.test is None:
        return train, _part(held.x, held.labels, order[:held_out])
    return train, _part(held.test, held.test_labels, torch.arange(len(held.test)))


def _part(x: np.ndarray, labels: np.ndarray | None, index: Tensor) -> Part:
    known = None if labels is None else torch.from_numpy(labels.astype(np.int64))[index]
    return torch.from_numpy(x)[index], known


def _points(x: Tensor, dtype: torch.dtype, generator: Generator) -> Tensor:
    return dequantise(x, dtype=dtype, generator=generator) if x.dtype == torch.uint8 else x


def _check_varies(name: str, train: Tensor, columns: tuple[str, ...] | None) -> None:
    """Raise ValueError for constant coordinates, or images that are all the same."""
    # Not scale == 0: the mean of equal numbers may round, and leave a tiny scale. And before the
    # noise, which would make any image vary.
    constant = train.amax(0) == train.amin(0)
    constant = constant.all()[None] if train.ndim > 2 else constant
    which = constant.nonzero().flatten().tolist()
    if which:
        labels = [columns[j] if columns else j for j in which] if train.ndim == 2 else "all"
        raise ValueError(
            f"A coordinate must vary over the train points of {name}: "
            f"expected two different values, got constant {labels}."
        )
