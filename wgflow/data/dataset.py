"""Data sets by name or from disk."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from wgflow._check import check_choice, shown
from wgflow._tensor import Points
from wgflow.data.columns import Columns
from wgflow.data.download import SETS, is_fetched
from wgflow.data.gaussianise import fitted
from wgflow.data.images import SCALINGS
from wgflow.data.lazy import LazyPoints, PointSource, in_parts
from wgflow.data.memory import check_memory
from wgflow.data.missing import impute
from wgflow.data.precision import Rounded, check_precision, check_varies, numpy_dtype
from wgflow.data.reading import Reading
from wgflow.data.sources import HUB, existing, open_digits, open_source, with_test
from wgflow.data.splits import Fractions, split
from wgflow.data.tables import ALL, TABLES
from wgflow.data.targets import Target
from wgflow.data.toys import TOYS
from wgflow.data.transforms import RULES, Transform
from wgflow.data.units import mapped, units

TOY_TRAIN = 500_000  # enough for a toy set to behave like an endless source
TOY_TEST = 10_000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Points to learn from and points held out, in the units of the source.

    Args:
        name: of the toy set, or of the file or folder.
        train: points, shape (n, *event): a tensor, or `LazyPoints` where they are images of
            eight bits or numbers mapped from a file, which as a tensor may not fit in memory, or
            values of a table with noise.
            Both have a length and a shape, and an index or a slice of both is a tensor.
        test: held-out points, shape (m, *event).
        shift: mean ``m`` of train, after its transform; one number 1/2 for images scaled by their
            range.
        scale: standard deviation ``s`` of train, per coordinate, after its transform. In events
            with several axes (images) it is at least a tenth of the root mean square over the
            pixels, so that a margin that hardly varies is not blown up. One number 1/2 for images
            scaled by their range.
        schema: the columns of a table.
        target: the exact distribution of the points, in the same units, for a toy set.
        train_labels, test_labels: classes of the points, shape (n,) and (m,), int64; None where
            unknown.
        validation: points that neither train nor test has, to validate on while learning, shape
            (k, *event); None without such a split, as of toy sets and images.
        transform: monotone maps g of the columns of a table; None for none.
        precision: of standardised points, where those of the source need a higher one to keep
            their digits; None where it is that of the points.
    """

    name: str
    train: PointSource
    test: Tensor
    shift: Tensor
    scale: Tensor
    schema: Columns | None = None
    target: Target | None = None
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None
    validation: Tensor | None = None
    transform: Transform | None = None
    precision: torch.dtype | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one point."""
        return tuple(self.train.shape[1:])

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the coordinates, for a table."""
        return None if self.schema is None else self.schema.names

    @property
    def learned(self) -> PointSource:
        """The train points in the units of learning."""
        if isinstance(self.train, LazyPoints):
            return self.train.map(self.standardise)
        if self.transform is None and self.precision is None:
            return self.standardise(self.train)
        return torch.cat([self.standardise(part) for part in in_parts(self.train)])

    def standardise(self, x: Points) -> Points:
        """``u = (g(x) - m)/s``: mean 0 and variance 1 over train, or images in [-1, 1]."""
        y = x if self.transform is None else self.transform.forward(x)
        return ((y - self.shift) / self.scale).to(self.precision or x.dtype)

    def unstandardise(self, u: Points) -> Points:
        """``x = m + s u``, or the x of ``g(x) = m + s u``, within the bounds of its columns."""
        if self.transform is None:
            return self.shift + self.scale * u
        dtype = u.dtype if self.precision is None else self.shift.dtype
        x = self.transform.inverse(self.shift + self.scale * u.double(), dtype)
        return self.transform.within(x)


def load(
    source: str | Path,
    *,
    size: int | None = None,
    test_fraction: float = 0.1,
    validation_fraction: float = 0.0,
    test: str | Path | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    image_size: int | None = None,
    scaling: str | None = None,
    transform: str | None = None,
    wanted: Reading = ALL,
) -> Dataset:
    """A data set by name, or points from a file or folder.

    Images of eight bits become points by `wgflow.data.images.dequantise`: the test points now, the
    train points when they are asked for. Columns of a table become coordinates by
    `wgflow.data.columns.Columns`.

    Args:
        source: a name of `TOYS`, ``digits``, a name of `wgflow.data.download.SETS` once fetched,
            the path of an .npy, .npz, .csv, .tsv or .parquet file, of a folder of png or jpg
            images, of IDX files or of CIFAR-10's binary version, or ``hf:`` and the name of a data
            set that Hugging Face datasets opens.
        size: number of train points, those for validation among them; default 500,000 for a toy
            set, otherwise all there are.
        test_fraction: share of the points held out; a toy set draws 10,000 test points instead,
            and a source with test points of its own keeps those.
        validation_fraction: share of the train points, where they are vectors of a file, that are
            kept for validation; of fewer than two points none are. A toy set draws that share
            besides, at most 10,000.
        test: path of the test points, which have the shape and columns of the others; None for
            the source's own or a share of it.
        seed: of the draws of a toy set, of the noise of images, and of the split.
        dtype: of all tensors; the numbers of a file are rounded to it. Where it is single
            precision and rounds vectors away, as 100,000,000 ± 3, they are kept in double
            precision, and rounded once they are standardised.
        image_size: side to which images are resized, after a cut to their central square; None
            keeps their sizes, which must be one.
        scaling: ``coordinate``, by mean and standard deviation per coordinate; ``range``, images
            from [0, 1] to [-1, 1], so that all pixels share one unit; None is ``range`` for images
            in [0, 1] with a side over 8 pixels, else ``coordinate``.
        transform: how the columns of a table are mapped, one of `wgflow.data.transforms.RULES`;
            None for none, as of toy sets, digits and images.
        wanted: what is read of a table. Missing values in its train rows may be drawn by
            `wgflow.data.missing.impute`; rows that have some are never test points.

    Raises:
        ValueError: the name is unknown, the file cannot be read as finite numbers, a coordinate
            is constant, there are too few points, or an option does not suit them.
    """
    _check_options(source, size, image_size, scaling)
    if wanted.chooses and Path(source).suffix.lower() not in TABLES:
        raise ValueError(f"Columns are chosen among those of a table: got {shown(str(source))}.")
    if transform is not None:
        check_choice("transform", transform, RULES)
    if test is not None and (source in TOYS or source == "digits"):
        raise ValueError(f"`test` must be none for {source}: got {str(test)!r}.")
    if source in TOYS:
        generator = torch.Generator().manual_seed(seed)
        return _toy(str(source), size, validation_fraction, dtype, generator, scaling)
    read = partial(
        _read,
        source,
        size,
        Fractions(test_fraction, validation_fraction),
        test=test,
        seed=seed,
        image_size=image_size,
        scaling=scaling,
        transform=transform,
        wanted=wanted,
    )
    try:
        return read(dtype)
    except Rounded:
        return replace(read(torch.float64), precision=dtype)


def available() -> dict[str, bool]:
    """Names of the data sets that `load` knows, and whether their files are on this machine."""
    return dict.fromkeys([*TOYS, "digits"], True) | {name: is_fetched(name) for name in SETS}


def are_images(source: str | Path) -> bool:
    """Whether a source is of images of eight bits, by its name or path; it is not opened."""
    if source in TOYS or source == "digits":
        return False
    return source in SETS or str(source).startswith(HUB) or Path(source).is_dir()


def _check_options(
    source: str | Path, size: int | None, image_size: int | None, scaling: str | None
) -> None:
    if size is not None and size < 2:
        raise ValueError(f"`size` must be ≥ 2: got {size}.")
    if scaling is not None:
        check_choice("scaling", scaling, SCALINGS)
    if image_size is not None and (source in TOYS or source == "digits"):
        raise ValueError(f"`image_size` must be none for {source}: got {image_size}.")


def _toy(
    name: str,
    size: int | None,
    fraction: float,
    dtype: torch.dtype,
    generator: Generator,
    scaling: str | None,
) -> Dataset:
    target, size = TOYS[name](), size or TOY_TRAIN
    # Two coordinates, each read, standardised, and ordered anew at every epoch.
    check_memory({"data (data.size)": size * 2 * (3 * torch.finfo(dtype).bits / 8 + 4)})
    # Test first, so that it does not depend on the size of train.
    test = target.sample(TOY_TEST, dtype=dtype, generator=generator)
    train = target.sample(size, dtype=dtype, generator=generator)
    held = min(TOY_TEST, round(fraction * size))
    validation = target.sample(held, dtype=dtype, generator=generator) if held else None
    return Dataset(name, train, test, *units(train, scaling), target=target, validation=validation)


def _read(
    source: str | Path,
    size: int | None,
    fractions: Fractions,
    dtype: torch.dtype,
    *,
    test: str | Path | None,
    seed: int,
    image_size: int | None,
    scaling: str | None,
    transform: str | None,
    wanted: Reading,
) -> Dataset:
    """`load` of a file or folder; `Rounded` where single precision does not hold its numbers."""
    generator = torch.Generator().manual_seed(seed)
    numbers = numpy_dtype(dtype)
    if source == "digits":
        held = open_digits(dtype, generator)
    else:
        options: dict[str, Any] = {"wanted": wanted, "generator": generator}
        held = open_source(existing(source), numbers, image_size, **options)
    if test is not None:
        rest = replace(wanted, missing="drop" if wanted.missing == "drop" else "error")
        options = {"wanted": rest, "generator": generator}
        other = open_source(test, numbers, image_size, held.schema, **options)
        held = with_test(held, other, str(test))
    parts = split(held, size, fractions, dtype, generator=generator)
    train = parts.train.points
    name = Path(source).name
    if held.schema is not None:
        train = impute(train, held.schema, name, generator=generator)
    check_varies(name, train, held.columns)
    check_precision(name, train, held.columns)
    # Test first, so that its noise does not depend on the size of train.
    test_points = parts.test.points
    points = test_points.fresh(torch.arange(len(test_points)), generator=generator)
    known: PointSource = train
    if train.are_pixels:
        known = replace(train, seed=int(torch.randint(2**31, (), generator=generator)))
    elif held.schema is not None and held.schema.widths.any():
        known = replace(train, renew=held.schema.renew)
    elif not isinstance(train.values, np.memmap):
        known = train[:]
    validation = None if parts.validation is None else parts.validation.points[:]
    maps = None
    if transform is not None and known.ndim == 2:
        seen = points if validation is None else torch.cat([points, validation])
        maps = fitted(known, transform, validation=validation, others=[seen])
    shift, scale = units(mapped(known, maps), scaling)
    return Dataset(
        name,
        known,
        points,
        shift,
        scale,
        held.schema,
        train_labels=parts.train.labels,
        test_labels=parts.test.labels,
        validation=validation,
        transform=maps,
    )
