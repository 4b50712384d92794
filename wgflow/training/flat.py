"""Validation in one and two dimensions, where log Z is by quadrature."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from wgflow.data.dataset import Dataset
from wgflow.likelihood import quadrature
from wgflow.likelihood.quadrature import refined_log_z, tabulate
from wgflow.samplers.particles import Particles
from wgflow.training.held import Validator, held_points

CELLS = 144  # along each axis of two: about 0.1 s per validation of the default network
MARGIN = 0.25  # of the data's range, on both sides; with it cells end where a checkerboard's do
SEEN = 2**16  # train points, in random order, that the range is of
FINE = 6  # cells between the quartiles of a coordinate, at least: else a few rows are far away
ROUGH = 0.05  # nats between a grid and every second of its cells, beyond which it is too coarse
FINER = (1, 2, 4)  # times as many cells along each axis are tried, as long as they are too coarse
FLAT_POINTS = 10_000  # in one and two dimensions, where energies cost little
AROUND = 72  # cells along each axis of the box three times as wide, that lie outside of the grid
QUARTILES = torch.tensor([0.25, 0.75], dtype=torch.float64)


def is_known(dataset: Dataset) -> bool:
    """Whether the exact density is known, in so few dimensions that it can be integrated."""
    return dataset.target is not None and math.prod(dataset.event_shape) <= 2


def is_flat(dataset: Dataset) -> bool:
    """Whether a grid over the train points has room between the quartiles of each coordinate."""
    if len(dataset.event_shape) != 1 or dataset.event_shape[0] > 2:
        return False
    u = _seen(dataset).double()
    low, middle, high = u.amin(0), u.quantile(QUARTILES, 0), u.amax(0)
    cell = (1 + 2 * MARGIN) * (high - low) / _cells(u)
    return bool((middle[1] - middle[0] >= FINE * cell).all())


def by_quadrature(dataset: Dataset, device: torch.device) -> Validator:
    """``mean E + log Z`` of the running average, on a grid over the standardised data.

    With wider cells around it, for what the confinement leaves there. On the first of `FINER`
    grids that is fine enough for log Z; with its error added, so that an energy with peaks that
    none resolves is not taken for a likely one. And ``KL(p_d‖p)`` where the target is known,
    which is normalised on the grid too, whose cells may straddle the edges of its support.
    """
    points, jacobian = held_points(dataset, device, FLAT_POINTS)
    seen = _seen(dataset)
    box, *finer = (box_around(seen, times * _cells(seen)) for times in FINER)
    boxes, outside = [_on(grid, device) for grid in (box, *finer)], _on(_outside(box), device)
    log_target = _target(dataset, box) if is_known(dataset) else None

    def validate(
        energy: nn.Module, average: nn.Module, particles: Particles | None
    ) -> dict[str, float]:
        log_model = -tabulate(average, boxes[0].nodes, boxes[0].chunk)
        inside = refined_log_z(average, boxes, ROUGH, first=log_model)
        beyond = (-tabulate(average, outside.nodes)).logsumexp(0) + math.log(outside.volume)
        log_z = inside.value.logaddexp(beyond)  # zero beyond, where an energy is infinite
        mean = tabulate(average, points).mean() + jacobian
        found = {"nll": float(mean + log_z + inside.error)}
        if log_target is not None:
            found["kl"] = float(quadrature.kl(log_target, (log_model - log_z).cpu(), box))
        return found

    return validate


def _on(grid: quadrature.Grid, device: torch.device | str) -> quadrature.Grid:
    return replace(grid, nodes=grid.nodes.to(device))


def box_around(x: Tensor, cells: int | None = None) -> quadrature.Grid:
    """A grid over the range of points and a margin, in their dtype; CELLS² cells unless given."""
    low, high = x.amin(0), x.amax(0)
    margin = MARGIN * (high - low)
    corners = (low - margin).tolist(), (high + margin).tolist()
    return quadrature.Grid.box(*corners, cells or _cells(x), dtype=x.dtype)


def _outside(box: quadrature.Grid) -> quadrature.Grid:
    low, high = box.nodes.amin(0).double(), box.nodes.amax(0).double()
    margin = (high - low) / (2 * (len(box.nodes) ** (1 / box.dim) - 1))
    width, low = high - low + 2 * margin, low - margin
    corners = (low - width).tolist(), (low + 2 * width).tolist()
    wide = quadrature.Grid.box(*corners, AROUND, dtype=box.nodes.dtype)
    within = ((wide.nodes > low) & (wide.nodes < low + width)).all(1)
    return replace(wide, nodes=wide.nodes[~within])


def _cells(x: Tensor) -> int:
    return CELLS if x.shape[1] == 2 else CELLS**2


def _seen(dataset: Dataset) -> Tensor:
    return dataset.standardise(dataset.train[:SEEN])


def _target(dataset: Dataset, box: quadrature.Grid) -> Tensor:
    target = dataset.target
    assert target is not None
    return quadrature.log_density(lambda u: -target.log_prob(dataset.unstandardise(u)), box)
