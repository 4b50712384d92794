"""The data of a run: its points, their moments, and the stream of batches."""

from dataclasses import replace

from torch import Generator, Tensor

from wgflow._random import noise_like, stream
from wgflow._tensor import Points
from wgflow.config import DTYPES, Config, Data
from wgflow.data import dataset as data
from wgflow.data.batches import Batches
from wgflow.data.dataset import Dataset
from wgflow.data.lazy import PointSource
from wgflow.data.mixtures import Stacks, open_minded, stacked, stacks
from wgflow.data.moments import DataMoments, center_of, covariance_of, extent_of, leading
from wgflow.energies.network import Network


def load_data(config: Config) -> Dataset:
    """The data set of a configuration; with smoothing, its held-out points have the noise."""
    dataset = data.load(
        config.data.name,
        size=config.data.size,
        test_fraction=config.data.test_fraction,
        validation_fraction=config.data.validation_fraction,
        test=config.data.test,
        seed=config.seed,
        dtype=DTYPES[config.dtype],
        image_size=config.data.image_size,
        scaling=config.data.scaling,
        transform=config.data.transform,
        wanted=config.data.reading,
    )
    if not config.data.smoothing:
        return dataset
    test = _smoothed(dataset, dataset.test, config, 3)
    if dataset.validation is None:
        return replace(dataset, test=test)
    return replace(
        dataset, test=test, validation=_smoothed(dataset, dataset.validation, config, 4)
    )


def _smoothed(dataset: Dataset, x: Points, config: Config, number: int) -> Points:
    """Points with the noise of the smoothing, from the random stream of that number."""
    sigma, noise = config.data.smoothing, noise_like(x, generator=stream(config.seed, number))
    if dataset.transform is None:
        return x + sigma * dataset.scale * noise
    return dataset.unstandardise(dataset.standardise(x) + sigma * noise)


def moments_of(network: Network, dataset: Dataset, u: PointSource, data: Data) -> DataMoments:
    """Shape and, if a network needs them, moments of the standardised points u.

    With flips, of images and their mirror images.
    """
    flips = data.flips
    if not network.needs_moments:
        return DataMoments(dataset.event_shape, points=len(u))
    covariance = covariance_of(u, flips=flips)
    if covariance is None and network.axes:
        covariance = leading(u, network.axes, flips=flips)
    center = center_of(dataset, u, flips=flips)
    found = Stacks([], [])
    if network.needs_mixture:
        held = dataset.validation
        unseen = None if held is None else dataset.standardise(held)
        found = stacks(u, unseen) if network.needs_coarse else Stacks(stacked(u, unseen), [])
    extent = None
    if network.needs_extent and isinstance(covariance, Tensor):
        extent = extent_of(u, covariance, center, flips=flips, noise=data.smoothing)
    families, coarse = (tuple(open_minded(each, len(u))) for each in found)
    return DataMoments(dataset.event_shape, covariance, center, families, coarse, extent, len(u))


def batches_of(
    config: Config, dataset: Dataset, x: PointSource, *, generator: Generator
) -> Batches:
    """The stream of batches of ``x``, the standardised train points.

    Raises ValueError for flips of points whose units differ from pixel to pixel.
    """
    flips = config.data.flips
    if flips and dataset.shift.ndim:
        raise ValueError(
            '`data.flips` needs images scaled by range, data.scaling = "range": got '
            f"{dataset.name} scaled by coordinate."
        )
    size = min(config.training.batch_size, len(x))
    noise = 0.0 if config.scheme.adds_noise else config.data.smoothing
    return Batches(x, size, flips=flips, noise=noise, generator=generator)
