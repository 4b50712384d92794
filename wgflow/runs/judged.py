"""Scores of samples of a given energy, and of the density that was learned from them."""

import contextlib
import math

import torch
from torch import Tensor

from wgflow._random import Rng
from wgflow.metrics.sampled import distances, mode_shares
from wgflow.metrics.samples import occupancy_error
from wgflow.montecarlo.base import Counted, Sampled
from wgflow.montecarlo.diagnostics import split_rhat
from wgflow.montecarlo.evaluation import counted
from wgflow.montecarlo.minima import missed
from wgflow.runs.run import Run
from wgflow.samplers.particles import effective_fraction
from wgflow.targets.base import TargetEnergy

DRAWS = 10_000
"""Points of either side that distances are taken of, at most."""

BEYOND = 1e-3
"""Share of the samples that may lie farther out than their reach."""

PROPOSALS = 4096
"""Draws of the learned density that are weighed."""


def judged(
    target: TargetEnergy, x: Tensor, found: Sampled, *, generator: Rng = None
) -> dict[str, float]:
    """What is known of the samples: mode shares, distances to exact draws, mass that they lack.

    Args:
        target: the energy.
        x: samples, (count, dim).
        found: of the method.
        generator: of exact draws.
    """
    off = (target.project(x).double() - target.start.mean) @ target.start.whiten.T
    scores = {"target_reach": float(off.abs().quantile(1 - BEYOND, 0).max())}
    if target.modes is not None and target.modes.masses is not None:
        masses = target.modes.masses.double()
        found_shares = mode_shares(x, target.modes.centers.to(x)).shares.double()
        floor = occupancy_error(masses, max(found.ess, 1.0))
        scores["target_mode_error"] = float((found_shares - masses).abs().max())
        scores["target_mode_error_floor"] = float(floor.max())
    if target.known is not None:
        count = min(len(x), DRAWS)
        draws = target.known.sample(2 * count, dtype=x.dtype, generator=generator)
        first, second = target.lift(draws).chunk(2)
        for name, scored in distances(x[:count], first, second, target.energy).items():
            scores |= {f"target_{name}": scored.score, f"target_{name}_floor": scored.floor}
        scores["target_log_z_true"] = target.known.log_z
    lost = missed(
        Counted(target.reduced), target.project(x), found.log_z.value, generator=generator
    )
    if lost:
        scores["target_missed"] = sum(mode.share for mode in lost)
    if found.chains is not None:
        with contextlib.suppress(ValueError):  # of too few positions
            scores["target_rhat"] = float(split_rhat(found.chains).max())
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def proposal_scores(run: Run, target: TargetEnergy, *, seed: int = 0) -> dict[str, float]:
    """How good a proposal the learned density q is: effective fraction of weights ``e^{-V}/q``.

    And both relative entropies to p, by ``log Z`` of V: of draws of q, and of held-out samples.
    """
    generator = torch.Generator().manual_seed(seed)
    u = run.sample(PROPOSALS, generator=generator)
    log_q = run.log_prob(u).double()
    energy = Counted(target.reduced)
    v, _ = counted(energy, u.double())
    found = run.target
    assert found is not None
    unseen = run.dataset.test[:PROPOSALS].to(u)
    forward = -counted(energy, unseen.double())[0] - run.log_prob(unseen).double()
    log_z = found.normaliser.value
    reverse = log_q + v
    scores = {
        "proposal_ess": float(effective_fraction(-v - log_q)),
        "target_kl": float(forward.mean()) - log_z,
        "target_kl_error": float(forward.std()) / math.sqrt(len(unseen)),
        "target_kl_reverse": float(reverse.mean()) + log_z,
        "target_kl_reverse_error": float(reverse.std()) / math.sqrt(len(u)),
    }
    return {name: value for name, value in scores.items() if math.isfinite(value)}
