"""The learned density of a given energy V, improved by V itself where its form allows."""

import copy
import math

import torch
from torch import Tensor

from wgflow._tensor import Points, Values
from wgflow.data.mixtures import Gaussians
from wgflow.energies.mixture import Family, NoisyMixture
from wgflow.energies.noise_mlp import NoiseMLP
from wgflow.montecarlo.base import Counted
from wgflow.montecarlo.evaluation import counted
from wgflow.montecarlo.informed import Weighed, divergence, informed
from wgflow.runs import sampled
from wgflow.runs.load import load
from wgflow.runs.run import Run
from wgflow.storage import checkpoint, folder
from wgflow.targets.base import TargetEnergy
from wgflow.training.progress import read_state

TRIES = 3
"""Fits, each with draws of the one before, which find the mass that it has where π has none."""


def inform(run: Run, target: TargetEnergy) -> Run:
    """Replace what a run learned by a mixture that is fitted to V too, if that is nearer to it.

    By the divergence of `wgflow.montecarlo.informed`, on validation points and draws of either.
    The checkpoint of the run is written anew, and what it was is kept until the scores are
    recorded: a run that is killed in between begins from that again.

    Returns:
        The run, as it is of an energy without a mixture, without a value of log Z or validation
        points, and where what was learned is nearer.
    """
    run = _as_learned(run)
    energy, found, held = run.energy.energy, run.target, run.dataset.validation
    if not isinstance(energy, NoiseMLP) or found is None or held is None:
        return run
    log_z = found.normaliser.value
    if not (math.isfinite(log_z) and math.isfinite(run.normaliser.value)):
        return run
    variance = energy.levels.lowest**2
    generator = torch.Generator().manual_seed(run.config.seed)
    unseen = _weighed(run, energy, target, held, log_z, generator)
    old = divergence(_log_q(energy, unseen.x) - run.normaliser.value, unseen)
    parts, drawn_from = [_noisy(f, variance) for f in energy.source.parts], energy
    for _ in range(TRIES):
        seen = _weighed(run, drawn_from, target, run.dataset.train[:], log_z, generator)
        mixture = informed(parts, seen)
        if mixture is None:
            return run
        nearer = _with(energy, _clean(mixture, variance))
        # By draws of its own: others would not see mass that it has far away.
        own = _weighed(run, nearer, target, held, log_z, generator)
        if float(divergence(_log_q(nearer, own.x), own)) < float(old):
            break
        drawn_from = nearer
    else:
        return run
    _write(run, nearer)
    return load(run.path)


def _as_learned(run: Run) -> Run:
    """The run as samples alone taught it."""
    kept = run.path / folder.TARGET / sampled.LEARNED
    if not kept.is_file():
        return run
    folder.write_bytes(run.path / folder.CHECKPOINT, kept.read_bytes())
    return load(run.path)


def _weighed(
    run: Run,
    energy: NoiseMLP,
    target: TargetEnergy,
    x: Points,
    log_z: float,
    generator: torch.Generator,
) -> Weighed:
    """Points of π and as many draws of a mixture of the run, in standardised units, float64."""
    like = torch.empty(len(x), x.shape[1], dtype=run.dtype)
    level = energy.at(like, None)
    with torch.no_grad():
        drawn = energy.source.sample(like, level, generator=generator)
        u = torch.cat([run.standardise(x.to(run.dtype)), drawn])
        x = run.energy.unstandardise(u)
        volume = run.energy(x).double() - run.energy.energy(u).double()
        log_base = -energy.source(u, energy.at(u, None)).double()
    value, _ = counted(Counted(target.reduced), x.double())
    return Weighed(u.double(), volume - value - log_z, log_base)


def _log_q(energy: NoiseMLP, u: Points) -> Values:
    with torch.no_grad():
        return -energy(u.to(energy.residual.mean.dtype)).double()


def _noisy(family: Family, variance: float) -> Gaussians:
    """A family at the lowest level of noise, whose density is that of the run."""
    axes, spread = family.axes.double(), family.variances.double() + variance
    covariances = axes @ (spread[:, :, None] * axes.mT)
    return Gaussians(family.log_weights.double().exp(), family.means.double(), covariances)


def _clean(mixture: Gaussians, variance: float) -> Gaussians:
    """The mixture that has that noise beside its own covariances, as far as they are larger."""
    eye = torch.eye(mixture.means.shape[1], dtype=torch.float64)
    return mixture._replace(covariances=mixture.covariances - variance * eye)


def _with(energy: NoiseMLP, mixture: Gaussians) -> NoiseMLP:
    """The energy of a mixture alone."""
    changed = copy.deepcopy(energy)
    changed.mixture = NoisyMixture([mixture]).to(energy.residual.mean.dtype)
    changed.draws = energy.draws and copy.deepcopy(changed.mixture)
    changed.residual.head.data.zero_()
    return changed


def _write(run: Run, energy: NoiseMLP) -> None:
    """The checkpoint with another energy, as at the end of a run."""
    state = read_state(run.path, run.config.scheme, run.config.device)
    weights: dict[str, Tensor] = energy.state_dict()
    learner = state["learner"]
    kept = {name: x for name, x in learner["average"].items() if not name.startswith("module.")}
    learner["average"] = kept | {f"module.{name}": x for name, x in weights.items()}
    learner["energy"] = weights
    file = run.path / folder.CHECKPOINT
    folder.write_bytes(run.path / folder.TARGET / sampled.LEARNED, file.read_bytes())
    checkpoint.save(file, state)
