"""Data sets by name or from disk, and an endless, seeded, resumable stream of batches."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor

from wgflow._tensor import Points
from wgflow.readers import read
from wgflow.targets import Target
from wgflow.toys import TOYS

TOY_TRAIN = 500_000  # enough for a toy set to behave like an endless source
TOY_TEST = 10_000
PIXEL_FLOOR = 0.1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Points to learn from and points held out, in the units of the source.

    Args:
        name: of the toy set, or of the file or folder.
        train: points, shape (n, *event).
        test: held-out points, shape (m, *event).
        shift: mean ``m`` of train.
        scale: standard deviation ``s`` of train, per coordinate. In events with several axes
            (images) it is at least a tenth of the root mean square over the pixels, so that a
            margin that hardly varies is not blown up.
        columns: names of the coordinates, for a table.
        target: the exact law of the points, in the same units, for a toy set.
    """

    name: str
    train: Tensor
    test: Tensor
    shift: Tensor
    scale: Tensor
    columns: tuple[str, ...] | None = None
    target: Target | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one point."""
        return tuple(self.train.shape[1:])

    def standardise(self, x: Points) -> Points:
        """``u = (x - m)/s``, with mean 0 and variance 1 over train."""
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
) -> Dataset:
    """A toy set or ``digits`` by name, or points from a file or folder.

    Args:
        source: a name of `TOYS`, ``digits``, or the path of an .npy, .npz, .csv or .parquet file
            or of a folder of png or jpg images.
        size: number of train points; default 500,000 for a toy set, otherwise all there are.
        test_fraction: share of the points held out; a toy set draws 10,000 test points instead.
        seed: of the draws of a toy set, of the noise of the digits, and of the split.
        dtype: of all tensors; the numbers of a file are rounded to it.

    Raises:
        ValueError: the name is unknown, the file cannot be read as finite numbers, a coordinate
            is constant, or there are too few points.
    """
    if size is not None and size < 2:
        raise ValueError(f"A train set needs spread: expected size >= 2, got {size}.")
    generator = torch.Generator().manual_seed(seed)
    if source in TOYS:
        return _toy(str(source), size or TOY_TRAIN, dtype, generator)
    if source == "digits":
        x, columns = digits(dtype=dtype, generator=generator), None
    else:
        array, columns = read(_existing(source), _numpy_dtype(dtype))
        x = torch.from_numpy(array)
    train, test = _split(x, size, test_fraction, generator)
    return _standardised(Path(source).name, train, test, columns=columns)


def digits(*, dtype: torch.dtype = torch.float32, generator: Generator | None = None) -> Tensor:
    """The 1,797 handwritten digits of scikit-learn, shape (1797, 1, 8, 8).

    Grey levels ``k = 0..16`` with uniform noise: ``x = (k + u)/17`` in [0, 1], ``u ~ U[0, 1)``.
    A log-density in these units is the one in grey levels plus ``64 log 17``.
    """
    pixels, _ = load_digits(return_X_y=True)
    levels = torch.as_tensor(pixels, dtype=torch.float64).reshape(-1, 1, 8, 8)
    noise = torch.rand(levels.shape, dtype=torch.float64, generator=generator)
    return ((levels + noise) / 17).to(dtype)


class Batches(Iterator[Tensor]):
    """An endless stream of batches: each epoch a fresh permutation, without replacement.

    The points left over when ``size`` does not divide ``n`` wait for a later epoch. The stream
    owns its randomness, seeded by one draw from ``generator``; its whole state is the state of
    its generator at the start of the epoch and the position in it, so that
    ``load_state_dict(state_dict())`` continues bit for bit.

    Args:
        x: points, shape (n, *event); a batch is gathered by index.
        size: points per batch, at most n.
        generator: for the seed.
    """

    def __init__(self, x: Tensor, size: int, *, generator: Generator | None = None):
        if not 1 <= size <= len(x):
            raise ValueError(f"A batch must fit in the data: expected 1 to {len(x)}, got {size}.")
        self.x = x
        self.size = size
        device = generator.device if generator else None
        seed = torch.randint(2**63 - 1, (), device=device, generator=generator)
        self._generator = torch.Generator().manual_seed(int(seed))
        self._begin(self._generator.get_state(), 0)

    def __next__(self) -> Tensor:
        if self._position + self.size > len(self.x):
            self._begin(self._generator.get_state(), 0)
        index = self._permutation[self._position : self._position + self.size]
        self._position += self.size
        return self.x[index.to(self.x.device)]

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
        # The permutation follows from the generator, so the state need not hold it.
        self._epoch = epoch.clone()
        self._generator.set_state(self._epoch)
        self._permutation = torch.randperm(len(self.x), generator=self._generator)
        self._position = position


def _toy(name: str, size: int, dtype: torch.dtype, generator: Generator) -> Dataset:
    target = TOYS[name]()
    # Test first, so that it does not depend on the size of train.
    test = target.sample(TOY_TEST, dtype=dtype, generator=generator)
    train = target.sample(size, dtype=dtype, generator=generator)
    return _standardised(name, train, test, target=target)


def _existing(source: str | Path) -> Path:
    path = Path(source)
    if path.exists():
        return path
    names = [*TOYS, "digits"]
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
    x: Tensor, size: int | None, test_fraction: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"A test fraction must lie between 0 and 1: expected 0 to 1, got {test_fraction}."
        )
    held_out = max(1, round(test_fraction * len(x)))
    most = len(x) - held_out
    size = most if size is None else size
    if not 2 <= size <= most:
        raise ValueError(
            f"A train set comes from the {len(x)} points less {held_out} held out: "
            f"expected a size of 2 to {most}, got {size}."
        )
    order = torch.randperm(len(x), generator=generator)
    return x[order[held_out : held_out + size]], x[order[:held_out]]


def _standardised(
    name: str,
    train: Tensor,
    test: Tensor,
    *,
    columns: tuple[str, ...] | None = None,
    target: Target | None = None,
) -> Dataset:
    shift = train.mean(0, dtype=torch.float64).to(train.dtype)
    scale = (train - shift).square_().mean(0, dtype=torch.float64).sqrt().to(train.dtype)
    # Not scale == 0: the mean of equal numbers may round, and leave a tiny scale.
    constant = train.amax(0) == train.amin(0)
    if train.ndim > 2:
        # A pixel that hardly varies is not blown up, so that the noise on it stays small.
        floor = PIXEL_FLOOR * scale.square().mean().sqrt()
        scale, constant = scale.clamp(min=floor), constant.all()[None]
    which = constant.reshape(-1).nonzero().flatten().tolist()
    if which:
        labels = [columns[j] if columns else j for j in which] if train.ndim == 2 else "all"
        raise ValueError(
            f"A coordinate must vary over the train points of {name}: "
            f"expected two different values, got constant {labels}."
        )
    return Dataset(name, train, test, shift, scale, columns, target)
