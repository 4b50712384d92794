"""The given energies that are known by name."""

import difflib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wgflow._random import stream
from wgflow.data.foreign import check_regular, reading
from wgflow.data.targets import Funnel, Gaussian, GaussianMixture, Target, two_gaussians_50d
from wgflow.data.toys import rings, twenty_five_gaussians
from wgflow.targets.base import Modes, TargetEnergy
from wgflow.targets.distributions import IsotropicMixture, Mustache, random_gaussian
from wgflow.targets.hierarchical import HierarchicalNormal
from wgflow.targets.particles import DoubleWell, LennardJones
from wgflow.targets.regression import features_of, logistic_regression, scales
from wgflow.targets.symmetry import ParticleSystem
from wgflow.targets.wells import ManyWell

SEED = 0
"""Of what is random in a target itself: it is the same in every run."""


class Entry(NamedTuple):
    """An energy of the catalogue.

    Attributes:
        about: one sentence.
        build: from its dimension and file to the energy.
        dim: of x, where nothing else is asked for.
        smallest: the least dimension that may be asked for; None where it is fixed.
        file: what the file with its data is, if it needs one.
    """

    about: str
    build: Callable[[int, Path | None], TargetEnergy]
    dim: int
    smallest: int | None = None
    file: str = ""


def named(name: str, dim: int | None = None, file: Path | None = None) -> TargetEnergy:
    """The energy of a name in `ENTRIES`.

    Args:
        name: of the energy.
        dim: of x; None for that of the entry.
        file: its data, where the package does not hold them.

    Raises:
        ValueError: the name is unknown (the message has the nearest), the dimension is none of
            this energy, or its data file is missing, given without need or unreadable.
    """
    if name not in ENTRIES:
        raise ValueError(
            f"`target` must be a known name or FILE.py:NAME: got {name!r}; {_hint(name)}"
        )
    entry = ENTRIES[name]
    _check_dim(name, entry, dim)
    if file is None and entry.file:
        raise ValueError(f"`data` must be the file of {name}, {entry.file}: got none.")
    if file is not None and not entry.file:
        raise ValueError(f"`data` must be left out for {name}, which needs none: got {file}.")
    target = entry.build(entry.dim if dim is None else dim, file)
    return replace(target, name=name, about=entry.about)


def _hint(name: str) -> str:
    """What was meant, perhaps."""
    known, _, dim = name.partition(":")
    if known in ENTRIES and dim.isdecimal():
        return f"the dimension of {known!r} is given apart, as `dim`: {dim}."
    near = difflib.get_close_matches(name, ENTRIES, n=1)
    return f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(ENTRIES)}."


def _check_dim(name: str, entry: Entry, dim: int | None) -> None:
    if dim is None or dim == entry.dim:
        return
    if entry.smallest is None:
        raise ValueError(f"`dim` must be {entry.dim} for {name}: got {dim}.")
    if dim < entry.smallest:
        raise ValueError(f"`dim` must be ≥ {entry.smallest} for {name}: got {dim}.")


def gaussian(dim: int) -> TargetEnergy:
    """A Gaussian in random directions, of variances from 1/10 to 10."""
    known = random_gaussian(dim, generator=stream(SEED, dim))
    return _known(known, _isotropic(dim, 4.0))


def funnel(dim: int) -> TargetEnergy:
    """Neal's funnel, ``v ~ N(0, 3²)``."""
    return _known(Funnel(dim), _isotropic(dim, 3.0))


def mustache() -> TargetEnergy:
    """Hertrich and Gruhlke's mustache."""
    start = Gaussian(
        [0.0, 2.0], [[2.0, 0.0], [0.0, 30.0**2]]
    )  # x_2 has a mean of 2, and reaches 200
    return _known(Mustache(), start)


def gmm(dim: int) -> TargetEnergy:
    """Ten equal modes of covariance .01 I at uniform points of ``[-1, 1]^d``."""
    uniform = torch.rand(10, dim, dtype=torch.float64, generator=stream(SEED, dim))
    known = IsotropicMixture(2 * uniform - 1, 0.1)
    modes = Modes(known.means, torch.full((10,), 0.1, dtype=torch.float64))
    return replace(_known(known, _isotropic(dim, 1.5)), modes=modes)


def grid_of_gaussians() -> TargetEnergy:
    """Twenty-five Gaussians of the plane on a grid."""
    known = twenty_five_gaussians()
    return replace(_known(known, _isotropic(2, 2.0)), modes=Modes(known.means, known.weights))


def two_modes() -> TargetEnergy:
    """Two unit Gaussians in R^50, 16 apart, of masses 1/4 and 3/4."""
    known = two_gaussians_50d()
    return replace(_known(known, _isotropic(50, 6.0)), modes=Modes(known.means, known.weights))


def spike_and_slab(dim: int) -> TargetEnergy:
    """``N(0, I)/2 + N(0, .01² I)/2``: as likely a hundred times nearer to 0 as elsewhere."""
    eye = torch.eye(dim, dtype=torch.float64)
    known = GaussianMixture(torch.zeros(2, dim), covariances=torch.stack([eye, 1e-4 * eye]))
    return _known(known, _isotropic(dim, 1.5))


def many_well(dim: int) -> TargetEnergy:
    """A double well and a normal coordinate, d/2 times."""
    return _known(ManyWell(dim), _isotropic(dim, 2.0))


def double_well() -> TargetEnergy:
    """DW-4: four particles in the plane."""
    system = ParticleSystem(4, 2, centre_free=True, exchangeable=True)
    return _particles(DoubleWell(system), system, 3.0)


def lennard_jones() -> TargetEnergy:
    """LJ-13: thirteen particles in space."""
    system = ParticleSystem(13, 3, centre_free=True, exchangeable=True)
    return _particles(LennardJones(system), system, 1.0)


def breast_cancer() -> TargetEnergy:
    """Of standardised features, with prior ``N(0, I)``."""
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return logistic_regression(features, labels)


def eight_schools() -> TargetEnergy:
    """Rubin's eight schools in centred coordinates: μ, log τ and the effects."""
    mean = torch.tensor([0.0, 1.0, *[5.0] * 8], dtype=torch.float64)
    std = torch.tensor([5.0, 3.0, *[10.0] * 8], dtype=torch.float64)
    return _known(HierarchicalNormal(), Gaussian(mean, std.square().diag()))


def german_credit(file: Path) -> TargetEnergy:
    """As published: columns over their deviations, not centred, with prior ``N(0, 10² I)``.

    Args:
        file: ``german.data-numeric`` of the UCI repository, a thousand rows of 24 numbers and a
            class, 1 for good and 2 for bad; the probability is that of good.

    Raises:
        ValueError: it is not such a file.
    """
    with reading("`data`", "must be a file of rows of numbers"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a file without rows
        check_regular(file)
        table = np.loadtxt(file)
    if table.ndim != 2 or table.shape[1] != 25 or not len(table):
        raise ValueError(f"`data` must have 25 columns, the class last: got {table.shape}.")
    features, classes = features_of(table[:, :-1])[0], table[:, -1]
    scaled = features / scales(features)
    return logistic_regression(scaled, classes == 1, prior_scale=10.0, standardise=False)


ENTRIES: dict[str, Entry] = {
    "gaussian": Entry(
        "Gaussian in random directions, variances from .1 to 10", lambda d, _: gaussian(d), 10, 1
    ),
    "funnel": Entry("Neal's funnel, v ~ N(0, 9), x_i ~ N(0, e^v)", lambda d, _: funnel(d), 10, 2),
    "rings": Entry(
        "three circles of radius 1, 2 and 3", lambda *_: _known(rings(), _isotropic(2, 2.5)), 2
    ),
    "mustache": Entry("a correlated Gaussian bent along a quartic", lambda *_: mustache(), 2),
    "gmm": Entry("ten Gaussians of deviation .1 in a cube", lambda d, _: gmm(d), 20, 1),
    "25-gaussians": Entry(
        "Gaussians of deviation .1 on a 5 x 5 grid", lambda *_: grid_of_gaussians(), 2
    ),
    "two-modes": Entry("two Gaussians of masses 1/4 and 3/4", lambda *_: two_modes(), 50),
    "spike-and-slab": Entry(
        "two Gaussians around 0 of deviations 1 and .01, of mass 1/2 each",
        lambda d, _: spike_and_slab(d),
        *(10, 1),
    ),
    "many-well": Entry(
        "d/2 double wells of masses .16 and .84, and as many normal coordinates",
        lambda d, _: many_well(d),
        *(32, 2),
    ),
    "dw4": Entry("double well, four particles in the plane", lambda *_: double_well(), 8),
    "lj13": Entry("Lennard-Jones cluster, 13 particles", lambda *_: lennard_jones(), 39),
    "breast-cancer": Entry(
        "logistic regression, 569 rows of scikit-learn", lambda *_: breast_cancer(), 31
    ),
    "eight-schools": Entry(
        "hierarchical model of eight effects (Rubin 1981), centred", lambda *_: eight_schools(), 10
    ),
    "german-credit": Entry(
        "logistic regression, 1000 rows of UCI",
        lambda _, file: german_credit(file or Path()),
        25,
        file="german.data-numeric of the UCI repository",
    ),
}
"""Name of a given energy -> how it is made."""


def _known(known: Target, start: Gaussian) -> TargetEnergy:
    return TargetEnergy("", known, known.dim, start, known=known)


def _isotropic(dim: int, std: float) -> Gaussian:
    return Gaussian(torch.zeros(dim), std**2 * torch.eye(dim, dtype=torch.float64))


def _particles(
    energy: DoubleWell | LennardJones, system: ParticleSystem, std: float
) -> TargetEnergy:
    return TargetEnergy("", energy, system.dim, _isotropic(system.free, std), system=system)
