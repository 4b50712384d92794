"""Validation while learning: one cheap number on data that were never trained on.

The mean energy of the validation points plus log Z, ``nll``, in nats and original units: of the
running average in one and two dimensions, where log Z is by quadrature, and wherever draws of a
reference will do; else of the energy itself, by the held-out particles. In one and two dimensions,
with a known target, the exact ``kl`` as well, which decides nothing.
"""

import math

import torch
from torch import nn

from wgflow.data.dataset import Dataset
from wgflow.data.mixtures import EVIDENCE
from wgflow.energies.base import Tilted
from wgflow.likelihood.from_reference import MOST, ceiling_of
from wgflow.likelihood.quadrature import tabulate
from wgflow.samplers.particles import Particles, effective_fraction, react
from wgflow.schemes import Scheme
from wgflow.training.flat import by_quadrature, is_flat, is_known
from wgflow.training.held import POINTS, Validator, held, held_points

DRAWS = 16_384  # of a reference

HEAVIEST = float(MOST)
"""Weight of a draw of its reference that an energy may give one, with a mean weight of one.

Where the density is more, hardly a draw is, and a learner from draws does not see what it does
there. Cut so, 200,000 draws give log Z to ``√(HEAVIEST/n)``, .05, whatever was learned, and
resampled they are samples.
"""


def validator(
    dataset: Dataset, scheme: Scheme, energy: nn.Module, device: torch.device
) -> Validator:
    """What can be validated on a data set, with particles as ``scheme`` keeps them."""
    if is_known(dataset) or (is_flat(dataset) and not isinstance(energy, Tilted)):
        return by_quadrature(dataset, device)
    if isinstance(energy, Tilted):
        return tilted(dataset, energy, device)
    return held_out(dataset, device) if scheme.is_weighted else _nothing


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
    The density is cut where it is more than `HEAVIEST` times that of the reference: what is
    validated, and kept, is the energy with its cut. That which learns is cut at the same place
    until the next validation, if q is what it starts from, where this costs nothing: so few draws
    do not have all the weight.
    """
    points, jacobian = held_points(dataset, device)
    generator = torch.Generator(device).manual_seed(0)
    draws, log_q = energy.relative().reference(points[:1], DRAWS, generator=generator)
    with torch.no_grad():
        base = (tabulate(energy, points) - tabulate(energy.relative(), points)).mean()
    learning = None if log_q.any() else energy.relative()

    def validate(
        energy: nn.Module, average: nn.Module, particles: Particles | None
    ) -> dict[str, float]:
        assert isinstance(average, Tilted), "the average is a copy of the energy"
        tilt = average.relative()
        tilt.bound(math.inf)
        log_weight = -tabulate(tilt, draws) - log_q
        ceiling = ceiling_of(log_weight, HEAVIEST)
        tilt.bound(ceiling)
        if learning is not None:
            learning.bound(ceiling)
        log_weight = log_weight.clamp(max=ceiling)
        log_z = log_weight.logsumexp(0) - math.log(len(draws))
        value = base + tabulate(tilt, points).mean() + log_z
        found = {"nll": float(value) + jacobian}
        return found | {"reference_ess": float(effective_fraction(log_weight))}

    return validate


def least_gain(dataset: Dataset, energy: nn.Module) -> float:
    """Nats per validation point that an energy must gain to be kept in place of its start.

    Of an energy that tilts a density all points together must be `EVIDENCE` nats likelier than at
    the start, as for a stack of mixtures in place of a single Gaussian: where nothing is left to
    learn, the best of many looks is better than the start by chance, and worse on further points.
    """
    if not isinstance(energy, Tilted):
        return 0.0
    return EVIDENCE / min(len(held(dataset)), POINTS)


def _nothing(
    energy: nn.Module, average: nn.Module, particles: Particles | None
) -> dict[str, float]:
    return {}
