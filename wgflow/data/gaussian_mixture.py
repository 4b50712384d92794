"""A Gaussian mixture fitted to points: where annealing begins whose end is a learned density."""

import warnings
from typing import Any

import torch
from torch import Tensor

from wgflow.data.lazy import PointSource
from wgflow.data.targets import GaussianMixture

SEEN = 5000
"""Points that a mixture is fitted to, of more than that."""

PARTS = (1, 2, 4, 8, 16)
"""Numbers of parts to choose from."""

RIDGE = 1e-4
"""Added to the variances of each part, in squared units of the points."""


def fitted(u: PointSource, *, seed: int = 0) -> GaussianMixture:
    """The mixture with full covariances that expectation-maximisation fits to points (n, d).

    With as many of `PARTS` parts as lower the Bayesian information criterion (Schwarz 1978).
    Points with a number that is not finite are left out.

    Args:
        u: points in units of order one, at least two.
        seed: of the choice of points and of where the fit starts.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as Fit  # an import of two seconds

    generator = torch.Generator().manual_seed(seed)
    x = u[torch.randperm(len(u), generator=generator)[:SEEN]].double()
    rows = x[x.isfinite().all(1)].cpu().numpy()
    best: Any = None
    least = float("inf")
    for parts in PARTS:
        if 2 * parts > len(rows):
            break
        with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
            fit = Fit(parts, reg_covar=RIDGE, random_state=seed).fit(rows)
        if not (found := fit.bic(rows)) < least:
            break
        best, least = fit, found
    alive = best.weights_ > 0  # a part that no point belongs to dies
    found = (best.means_, best.covariances_, best.weights_)
    means, c, weights = (torch.from_numpy(part[alive]) for part in found)
    c = (c + c.mT) / 2  # to the last digit
    return GaussianMixture(means, covariances=c, weights=weights)


def moments(mixture: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of a mixture."""
    a, m = mixture.weights, mixture.means
    mean = a @ m
    within = torch.einsum("k,kij->ij", a, mixture.factors @ mixture.factors.mT)
    return mean, within + (a[:, None] * (m - mean)).T @ (m - mean)
