"""What tells whether a learned density can be trusted: numbers that `alarms` put into words.

Of vectors: the same density is seen as its particles that train, its held-out particles, fresh
samples, and the energy itself. Where these disagree about how much mass a cluster of the data has,
or put mass where no data are, one of them is wrong, whatever a likelihood or a distance says.
"""

import math

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow._tensor import Points, standard_error
from wgflow.data.dataset import Dataset
from wgflow.data.determined import determined
from wgflow.data.gaussian_mixture import SEEN, fitted
from wgflow.data.grids import ATOM, atoms
from wgflow.data.lazy import PointSource
from wgflow.data.moments import LARGEST
from wgflow.data.targets import Gaussian
from wgflow.energies.base import Energy
from wgflow.likelihood.annealing import annealed, schedule
from wgflow.likelihood.from_reference import values
from wgflow.likelihood.quadrature import tabulate
from wgflow.metrics.isolated import isolated
from wgflow.metrics.regions import Clusters, Reach, Shares, largest_difference
from wgflow.runs.run import Run
from wgflow.runs.uses import langevin_step
from wgflow.samplers import MALA
from wgflow.samplers.particles import Particles

ROWS = 2000
"""Train rows that clusters are found in, at most."""

MOST_ROWS = 100_000
"""Train rows that moments, and the farthest and isolated rows, are taken of."""

DRAWS = 50_000
"""Draws of the reference of an energy that has one, weighted to the density."""

CHAINS = 500
"""Chains that are annealed from the clusters to the density."""

COMPONENTS, PER_NUMBER = 64, 10
"""Gaussians of the mixture that a density is compared with, and rows for each of its numbers."""

CHUNK = 1000
"""Test points that it sees at a time."""

CUTS = (math.inf, 100.0, 10.0, 1.0)
"""Where gains are cut, in units of what a point may say against them."""

SMALLEST = 1e-6
"""Variance that each coordinate of Gaussians gets on top, as a share of its own or of that of all
rows, so that none is flat."""


def trust_scores(
    run: Run, samples: Points, *, density: bool = True, seed: int = 0
) -> dict[str, float]:
    """Numbers that `wgflow.metrics.alarms.alarms` reads.

    ``repeats`` of the samples; and of vectors ``atom`` where many rows share one value of a
    column, ``determined`` where columns follow from others, ``isolated`` and
    ``isolated_times`` where few rows lie far from all others;
    ``log_z_particles`` and ``log_z_held_out`` where particles carry weights;
    ``modes_<source>`` of the samples, the particles that train, those held out and the
    ``density``; and ``outside_<source>`` of all but the last.

    Args:
        run: the run.
        samples: fresh points of it, in the units of the data.
        density: whether shares of the density itself are annealed for.
        seed: of all draws.
    """
    data, generator = run.dataset, torch.Generator().manual_seed(seed)
    scores = {"repeats": repeats(samples), "repeats_floor": repeats(data.test)}
    if not _is_table(data):
        return scores
    scores |= particle_log_z(run)
    known = rows(data.train, MOST_ROWS, generator)
    if (share := max(share for _, share in atoms(known))) > ATOM:
        scores["atom"] = share
    if (found := isolated(torch.cat([known, data.test]))) is not None:
        scores |= {"isolated": float(found.rows), "isolated_times": found.times}
    u = run.standardise(known)
    if others := determined(u):
        scores["determined"] = float(len(others))
    test = run.standardise(data.test)
    points = {"samples": (run.standardise(samples), None)} | populations(run)
    reach = Reach(u, test)
    for name, each in points.items():
        found = reach.outside(*each)
        scores |= {f"outside_{name}": found.value, f"outside_{name}_error": found.error}
        scores[f"outside_{name}_floor"] = reach.floor
    seen, others = halves(u)
    clusters = Clusters(seen, seed=seed)
    if len(clusters) == 1:  # all of which every source has
        return scores
    true = clusters.shares(torch.cat([others, test]))
    shares = {name: clusters.shares(*each) for name, each in points.items()}
    if density:
        if run.tilt is not None:
            x, log_q = run.tilt.reference(run.like(1), DRAWS, generator=generator)
            shares["density"] = clusters.shares(x, -values(run.tilt, x) - log_q)
        else:
            energy, step = run.energy.energy, MALA(langevin_step(run))
            found = density_shares(energy, clusters, seen, step, generator=generator)
            shares["density"] = found
        scores["modes_density_draws"] = shares["density"].points
    for name, each in shares.items():
        off = largest_difference(each, true)
        scores |= {f"modes_{name}": off.value, f"modes_{name}_error": off.error}
    return scores


def halves(u: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that clusters are found in, and others, that say what shares they have.

    Few rows have clusters by chance, which hold more of them than of any others.
    """
    half = min(max(2, len(u) // 2), ROWS)  # one row alone is no cluster
    return u[:half], u[half:]


def rows(x: PointSource, most: int, generator: torch.Generator) -> Tensor:
    """Some of the points at random, without those that lack a coordinate."""
    chosen = x[torch.randperm(len(x), generator=generator)[:most]]
    return chosen[chosen.isfinite().all(1)]


def repeats(x: Points) -> float:
    """Share of points that are copies of others, those of each value but one."""
    return 1 - len(torch.unique(x, dim=0)) / len(x)


def populations(run: Run) -> dict[str, tuple[Points, Tensor]]:
    """Particles of a run in standardised units and their log-weights, by what they are for."""
    kept = {"particles": run.particles, "held_out": run.held_out}
    return {name: (p.x, p.log_weight) for name, p in kept.items() if p is not None}


def gaussian_nll(data: Dataset, *, seed: int = 0) -> dict[str, float]:
    """``nll_gaussian`` of the test points, under the Gaussian of the moments of the train points.

    None of images.
    """
    if not _is_table(data):
        return {}
    x = rows(data.train, MOST_ROWS, torch.Generator().manual_seed(seed)).double()
    mean, scale = x.mean(0), x.std(0)
    covariance = torch.cov(((x - mean) / scale).T).reshape(len(scale), -1)
    covariance = covariance + SMALLEST * torch.eye(len(scale), dtype=torch.float64)
    gaussian = Gaussian(torch.zeros(len(scale)), covariance)
    nll = scale.log().sum() - gaussian.log_prob((data.test.double() - mean) / scale)
    error = standard_error(nll)
    return {"nll_gaussian": float(nll.mean()), "nll_gaussian_error": error}


def over_mixture(run: Run, *, seed: int = 0) -> dict[str, float]:
    """``nll_over_mixture``: how much likelier a mixture of Gaussians makes the test points.

    That is ``E[log r - log p]`` for the density p of the run and ``r = (1-ε) q + ε p``, with a
    mixture q that is fitted to train points in the units of learning, and ``ε = 1/(n+1)`` of n
    test points. As the density of the data itself is the likeliest, it bounds KL(data‖model) from
    below. The share of p costs ε nats, and lets no point speak against q by more than -log ε,
    such as one far away that only p expects. Nor does a point far away that only q expects hide
    what all the others say: see `cut`. None of images.

    Raises:
        ValueError: as `Run.log_prob`.
    """
    data = run.dataset
    if not _is_table(data):
        return {}
    d, count = data.event_shape[0], min(len(data.train), SEEN)
    size = count // (PER_NUMBER * (1 + d + d * (d + 1) // 2))
    sizes = [min(max(size, 1), COMPONENTS)]
    q = fitted(data.learned, sizes=sizes, floor=SMALLEST, seed=seed)
    mixture = run.energy.around(q)
    own = tabulate(run.log_prob, data.test, CHUNK)
    gain = cut(defended(-own - tabulate(mixture, data.test, CHUNK)))
    error = math.hypot(standard_error(gain), run.normaliser.error)
    return {"nll_over_mixture": float(gain.mean()), "nll_over_mixture_error": error}


def defended(gain: Tensor) -> Tensor:
    """``log r/p`` for ``r = (1-ε) q + ε p``, of ``log q/p`` at n points, (n,), and ε = 1/(n+1)."""
    least = -math.log(len(gain) + 1)
    return torch.logaddexp(gain + math.log1p(-math.exp(least)), torch.full_like(gain, least))


def cut(gain: Tensor) -> Tensor:
    """Values cut from above where their mean, less two errors, is largest, of `CUTS` places.

    ``E[min(g, c)] ≤ E[g]`` for any c, so that a bound from below stays one; and the mean of values
    of which one is a million times the others says nothing.
    """
    most = math.log(len(gain) + 1)
    found = [gain.clamp(max=c * most) for c in CUTS]
    lower = [float(g.mean()) - 2 * standard_error(g) for g in found]
    return found[max(range(len(found)), key=lambda k: (not math.isnan(lower[k]), lower[k]))]


def particle_log_z(run: Run) -> dict[str, float]:
    """``log Z`` by the weights that particles took along, of both populations.

    The error is that of their present weights alone.
    """
    if not run.config.scheme.is_weighted or run.particles is None or run.held_out is None:
        return {}
    return _log_z("particles", run.particles) | _log_z("held_out", run.held_out)


def _log_z(name: str, p: Particles) -> dict[str, float]:
    spread = max(0.0, 1 / float(p.effective_fraction) - 1)  # equal weights may round below
    error = math.sqrt(spread / len(p.log_weight))
    return {f"log_z_{name}": float(p.log_z), f"log_z_{name}_error": error}


def density_shares(
    energy: Energy, clusters: Clusters, u: Points, step: MALA, *, generator: Rng = None
) -> Shares:
    """Shares of the density itself, of chains annealed from a Gaussian for each cluster.

    Each cluster has chains of its own from the start, so that none is missed because particles
    never went there, and their weights say what the density leaves of it.

    Args:
        energy: E, in the units of the points.
        clusters: of the data.
        u: points of the data, (batch, d).
        step: the transport.
        generator: source of randomness.
    """
    mixture = clusters.mixture(u)
    x = mixture.sample(CHAINS, dtype=u.dtype, generator=generator)
    betas = schedule(min(max(64, 4 * u.shape[1]), 400))
    return clusters.shares(*annealed(mixture, energy, x, betas, step, generator=generator))


def _is_table(data: Dataset) -> bool:
    return len(data.event_shape) == 1 and data.event_shape[0] <= LARGEST
