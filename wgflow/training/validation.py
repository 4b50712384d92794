"""Validation while learning: one cheap number on data that were never trained on.

In one and two dimensions, with a known target, the exact KL by quadrature, ``kl``; otherwise the
mean energy of the validation points plus the held-out estimate of log Z, ``nll``. Both in nats, in
original units.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wgflow.data.dataset import Dataset
from wgflow.data.mixtures import EVIDENCE
from wgflow.energies.base import Rescaled, Tilted
from wgflow.likelihood import quadrature
from wgflow.likelihood.quadrature import tabulate
from wgflow.samplers.particles import Particles, effective_fraction, react
from wgflow.schemes import Scheme
from wgflow.training.checks import is_known

CELLS = 144  # along each axis: about 0.1 s per validation of the default network in 2-D
MARGIN = 0.25  # of the data's range, on both sides; with it cells end where a checkerboard's do
POINTS = 2000  # at most, of those validated on
DRAWS = 16_384  # of a reference

FEWEST = 0.1
"""Effective share of draws of a reference, below which log Z from their weights is not believed of
an energy that learns from such draws.

Where it is less, a few draws carry the estimate: what the reference hardly ever visits may hold
most of the mass unseen, and then log Z is too small and the likelihood of any point too large.
"""

Validator = Callable[[nn.Module, nn.Module, Particles | None], dict[str, float]]
"""(energy, its running average, held-out particles) -> metrics; draws no random numbers."""


def validator(
    dataset: Dataset, scheme: Scheme, energy: nn.Module, device: torch.device
) -> Validator:
    """What can be validated on a data set, with particles as ``scheme`` keeps them."""
    if is_known(dataset):
        return exact(dataset, device)
    if isinstance(energy, Tilted):
        return tilted(dataset, energy, device)
    return held_out(dataset, device) if scheme.is_weighted else _nothing


def exact(dataset: Dataset, device: torch.device) -> Validator:
    """``KL(p_d‖p)`` of the running average, by quadrature on a box around the data.

    The target too is normalised on the grid, whose cells may straddle the edges of its support.
    """
    target = dataset.target
    assert target is not None
    box = box_around(dataset.train[:])
    log_target = quadrature.log_density(lambda x: -target.log_prob(x), box)
    there = replace(box, nodes=box.nodes.to(device))

    def validate(
        energy: nn.Module, average: nn.Module, particles: Particles | None
    ) -> dict[str, float]:
        kept = Rescaled(average, dataset.shift.to(device), dataset.scale.to(device))
        log_model = quadrature.log_density(kept, there).cpu()
        return {"kl": float(quadrature.kl(log_target, log_model, box))}

    return validate


def held_out(dataset: Dataset, device: torch.device) -> Validator:
    """``mean E + log Z`` of the energy itself, which the held-out particles follow.

    The mean is over the validation points, or over the test points of data without any.
    """
    points, jacobian = held_points(dataset, device)

    def validate(
        energy: nn.Module, average: nn.Module, particles: Particles | None
    ) -> dict[str, float]:
        if particles is None:
            return {}
        # They move every few steps only; the reaction updates their log Z.
        log_z = react(particles, energy).log_z
        mean = tabulate(energy, points).mean()
        return {"nll": float(mean + log_z.cpu()) + jacobian}

    return validate


def tilted(dataset: Dataset, energy: Tilted, device: torch.device) -> Validator:
    """``mean E + log mean e^{-s}`` of the running average, over draws of its reference.

    The draws are the same at every validation, so that differences between two have little noise.
    """
    points, jacobian = held_points(dataset, device)
    generator = torch.Generator(device).manual_seed(0)
    draws, _ = energy.relative().reference(points[:1], DRAWS, generator=generator)
    with torch.no_grad():
        base = (tabulate(energy, points) - tabulate(energy.relative(), points)).mean()

    def validate(
        energy: nn.Module, average: nn.Module, particles: Particles | None
    ) -> dict[str, float]:
        assert isinstance(average, Tilted), "the average is a copy of the energy"
        tilt = average.relative()
        log_weight = -tabulate(tilt, draws)
        log_z = log_weight.logsumexp(0) - math.log(len(draws))
        value = base + tabulate(tilt, points).mean() + log_z
        found = {"nll": float(value) + jacobian}
        return found | {"reference_ess": float(effective_fraction(log_weight))}

    return validate


def is_trusted(scheme: Scheme[Any], found: Mapping[str, float]) -> bool:
    """Whether an energy may be kept for its validation: see `FEWEST`.

    It may, however far it is from its reference, where its own particles follow it, or where it
    learns without any.
    """
    follows = scheme.keeps_population or not scheme.is_weighted
    return follows or found.get("reference_ess", 1.0) >= FEWEST


def least_gain(dataset: Dataset, energy: nn.Module) -> float:
    """Nats per validation point that an energy must gain to be kept in place of its start.

    Of an energy that tilts a density all points together must be `EVIDENCE` nats likelier than at
    the start, as for a stack of mixtures in place of a single Gaussian: where nothing is left to
    learn, the best of many looks is better than the start by chance, and worse on further points.
    """
    if is_known(dataset) or not isinstance(energy, Tilted):
        return 0.0
    return EVIDENCE / min(len(_held(dataset)), POINTS)


def _held(dataset: Dataset) -> Tensor:
    return dataset.test if dataset.validation is None else dataset.validation


def held_points(dataset: Dataset, device: torch.device) -> tuple[Tensor, float]:
    """Points to validate on, standardised, and the mean log-volume of their units."""
    held = _held(dataset)
    points = dataset.standardise(held[:POINTS]).to(device)
    jacobian = float(dataset.scale.double().log().expand(dataset.event_shape).sum())
    if dataset.transform is not None:
        jacobian -= float(dataset.transform.log_derivative(held[:POINTS]).sum(1).mean())
    return points, jacobian


def box_around(x: Tensor, cells: int = CELLS) -> quadrature.Grid:
    """A grid over the range of points and a margin, in their dtype."""
    low, high = x.amin(0), x.amax(0)
    margin = MARGIN * (high - low)
    corners = (low - margin).tolist(), (high + margin).tolist()
    return quadrature.Grid.box(*corners, cells, dtype=x.dtype)


def _nothing(
    energy: nn.Module, average: nn.Module, particles: Particles | None
) -> dict[str, float]:
    return {}
