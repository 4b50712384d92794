"""Mean and covariance of standardised points, which the confinement of an energy is made of."""

import math

import torch
from torch import Tensor

from wgflow.data import Dataset
from wgflow.stored import Many, chunks, mean_of

LARGEST = 1024
"""Coordinates up to which the confinement knows their covariance."""


def center_of(dataset: Dataset, u: Many, *, flips: bool = False) -> Tensor | None:
    """The mean of standardised points, (*event), float64; None where it is zero by their units.

    With flips, of the images and their mirror images.

    Images scaled by range have a mean of their own in every pixel. A confinement around the
    origin would cost them thousands of nats in the pixels that hardly vary.
    """
    if dataset.shift.ndim:
        return None
    mean = mean_of(chunks(u), len(u))
    return (mean + mean.flip(-1)) / 2 if flips else mean


def covariance_of(u: Many, *, flips: bool = False) -> Tensor | None:
    """The covariance of flattened points, (d, d), float64; None above `LARGEST` coordinates.

    With flips, of images and their mirror images, which may lie far from the span of the images.
    A hundredth of the mean variance is added to the diagonal, so that it is never singular.
    """
    d = math.prod(u.shape[1:])
    if d > LARGEST:
        return None
    second, mean = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    for part in chunks(u):
        flat = part.flatten(1).double()
        second += flat.T @ flat / len(u)
        mean += flat.sum(0) / len(u)
    if flips:
        mirror = torch.arange(d).reshape(u.shape[1:]).flip(-1).flatten()
        mean = (mean + mean[mirror]) / 2
        second = (second + second[mirror][:, mirror]) / 2
    covariance = second - mean[:, None] * mean
    ridge = 0.01 * covariance.diagonal().mean()
    return covariance + ridge * torch.eye(d, dtype=torch.float64)
