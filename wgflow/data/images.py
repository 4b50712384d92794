"""Images of eight bits a channel: from files to pixels 0..255, and from pixels to points."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wgflow._random import Rng
from wgflow.data.foreign import check_regular, reading

SUFFIXES = (".png", ".jpg", ".jpeg")
GRAY = ("1", "L")
COLOUR = ("P", "RGB", "RGBA")

SCALINGS = ("coordinate", "range")
"""Ways to choose the units of learning; see `wgflow.data.dataset.load`."""

DRAWN = 4096
"""Images whose noise is drawn at a time; another number would give other noise."""


def read_images(folder: Path, side: int | None = None) -> np.ndarray:
    """Pixels (n, channels, height, width), uint8, of the png and jpg files in order of name.

    One channel if all are grey, three otherwise; transparency is dropped. With ``side`` every
    image is cut to its central square and resized to side × side; without, the images must have
    one size. Raises ValueError as `stack_images`, or if there are none.
    """
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(
            f"{folder} must hold png or jpg images, IDX files or CIFAR-10 binaries: got none."
        )
    return stack_images(((path.name, _open(path)) for path in paths), side)


def stack_images(images: Iterable[tuple[str, Image.Image]], side: int | None = None) -> np.ndarray:
    """Pixels (n, channels, height, width), uint8, of named images, which are closed.

    Raises ValueError if an image is broken, has other than eight bits a channel, or, without
    ``side``, another size than the first.
    """
    found: list[np.ndarray] = []
    first = ""
    for name, image in images:
        first = first or name
        found.append(_pixels(name, image, side))
        if found[-1].shape[1:] != found[0].shape[1:]:
            raise ValueError(
                f"{name} must have the size {_size(found[0])} of {first}: got {_size(found[-1])}; "
                "data.image_size makes them alike."
            )
    shape = (len(found), max(len(k) for k in found), *found[0].shape[1:])
    whole = np.empty(shape, np.uint8)
    for place in whole[::-1]:  # what has moved is let go, so that memory never holds all twice
        place[:] = found.pop()
    return whole


def resize(pixels: np.ndarray, side: int) -> np.ndarray:
    """Pixels (n, 1 or 3, h, w) cut to the central square and resized to side × side."""
    if pixels.shape[2:] == (side, side):
        return pixels
    return np.stack([_planes(_fit(_picture(k), side)) for k in pixels])


def dequantise(
    pixels: Tensor, *, dtype: torch.dtype = torch.float32, generator: Rng = None
) -> Tensor:
    """``x = (k + u)/256`` in [0, 1) for pixels ``k = 0..255``, with noise ``u ~ U[0, 1)``.

    The noise has 16 bits, so that x is exact in single precision and ``floor(256 x) = k``. A
    log-density in these units is the one in pixels plus ``d log 256``.
    """
    x = torch.empty(pixels.shape, dtype=dtype)
    for part, k in zip(x.split(DRAWN), pixels.split(DRAWN), strict=True):
        noise = torch.randint(2**16, k.shape, dtype=torch.int32, generator=generator)
        part.copy_(k.int() * 2**16 + noise).div_(2**24)
    return x


def _open(path: Path) -> Image.Image:
    check_regular(path)
    with reading(path.name, "must be an image"), _no_bombs():
        return Image.open(path)


def _pixels(name: str, image: Image.Image, side: int | None) -> np.ndarray:
    with image:
        if image.mode not in GRAY + COLOUR:
            modes = " or ".join(GRAY + COLOUR)
            raise ValueError(
                f"{name} must have eight bits a channel, mode {modes}: got {image.mode}."
            )
        with reading(name, "must be a whole image"), _no_bombs():
            # Through RGBA, since a palette may carry transparency.
            gray = image.mode in GRAY
            plain = image.convert("L") if gray else image.convert("RGBA").convert("RGB")
    return _planes(plain if side is None else _fit(plain, side))


@contextlib.contextmanager
def _no_bombs() -> Iterator[None]:
    """Refuse images of more pixels than Pillow takes for honest ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _fit(image: Image.Image, side: int) -> Image.Image:
    """The central square, resized by the triangle filter, which keeps means and never rings."""
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = image.crop((left, top, left + edge, top + edge))
    return square if edge == side else square.resize((side, side), Image.Resampling.BILINEAR)


def _planes(image: Image.Image) -> np.ndarray:
    values = np.array(image, np.uint8)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())


def _size(pixels: np.ndarray) -> tuple[int, int]:
    return pixels.shape[2], pixels.shape[1]
