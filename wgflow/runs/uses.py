"""What a trained run is used for: filling in, denoising, interpolating, detecting outliers.

Each function is what the verb of its name on the command line does, for points in the units of
the data.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_choice, check_positive
from wgflow._tensor import Points
from wgflow.energies.base import Energy, Tempered
from wgflow.likelihood.quadrature import tabulate
from wgflow.metrics.samples import halves
from wgflow.runs.run import Run
from wgflow.samplers import MALA, ULA, Sampler
from wgflow.samplers.descent import cooling
from wgflow.tasks import denoise as denoising, inpaint as inpainting, interpolate as interpolation
from wgflow.tasks.ood import Auroc, auroc, mean_zscore, outlier_scores
from wgflow.training.learner import load_data

SAMPLERS: dict[str, type[MALA] | type[ULA]] = {"mala": MALA, "ula": ULA}
"""Samplers of chains at the data: exact; faster and biased by its step."""

DEFAULT_STEP, DEFAULT_TEMPERATURE = 1e-3, 10.0
"""Of chains in standardised units, for runs without particles and without a flow."""

STARTS = ("path", "noise")
"""Where chains of inpainting may start: carried by the flow, or cooled from noise."""


def inpaint(
    run: Run,
    x: Points,
    hidden: Tensor,
    *,
    draws: int = 1,
    start: str | None = None,
    approach: int = 80,
    steps: int = 100,
    sampler: str = "mala",
    mode: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws of the hidden coordinates given the others, (batch, draws, *event).

    Args:
        run: the density.
        x: points, (batch, *event); what their hidden coordinates hold does not matter.
        hidden: True where a coordinate is hidden, (*event,), bool.
        draws: for each point.
        start: one of `STARTS`; None for ``path`` where the run has a flow.
        approach: gradients of the flow, or steps of the cooling.
        steps: of the sampler after them.
        sampler: one of `SAMPLERS`.
        mode: whether to descend from each draw to a mode.
        generator: source of randomness.

    Raises:
        ValueError: on points or a mask of another shape, or numbers out of their ranges.
    """
    check_positive(approach=approach, steps=steps, draws=draws)
    u, energy = run.standardise(x), run.energy.energy
    with _precision(run, sampler):
        known = u.repeat_interleave(draws, 0)
        options = initialisation(run, start, approach, known, hidden, generator=generator)
        kernel = chain_sampler(run, sampler)
        options |= {"draws": draws, "generator": generator}
        drawn = inpainting.inpaint(energy, u, hidden, kernel, steps, **options)
        if mode:
            flat = inpainting.complete(energy, drawn.flatten(0, 1), hidden, steps)
            drawn = flat.reshape(drawn.shape)
    return run.unstandardise(drawn)


def initialisation(
    run: Run,
    start: str | None,
    steps: int,
    known: Tensor,
    hidden: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> dict[str, Any]:
    """Options of `wgflow.tasks.inpaint.inpaint`: where chains start, or temperatures to cool from.

    Points are of all chains, (chains, *event), in standardised units; otherwise as `inpaint`.
    """
    start = start or ("noise" if run.flow is None else "path")
    check_choice("start", start, STARTS)
    if start == "noise":
        return {"temperatures": cooling(highest_temperature(run), steps)}
    flow = run.require_flow()
    return {"start": flow.bridge(known, hidden, steps=steps, generator=generator)}


def denoise(
    run: Run,
    y: Points,
    noise: float,
    *,
    steps: int = 200,
    burn_in: int = 100,
    draws: int = 1,
    temperature: float = 1.0,
    sampler: str = "mala",
    generator: torch.Generator | None = None,
) -> dict[str, Points]:
    """``mode`` and ``mean`` of x given ``y = x + noise ξ``, and the estimate of the ``flow``.

    Args:
        run: the prior.
        y: noisy points, (batch, *event).
        noise: its standard deviation, in the units of the data.
        steps: that the mean is over.
        burn_in: steps before those.
        draws: chains for each point.
        temperature: T of the prior ``exp(-E/T)``; above 1 trusts it less.
        sampler: one of `SAMPLERS`.
        generator: source of randomness.

    Raises:
        ValueError: on points of another shape, or numbers out of their ranges.
    """
    check_positive(noise=noise)
    u, sigma = run.standardise(y), (noise / run.energy.scale).to(y)
    flown = None if run.flow is None else run.flow.denoise(u, sigma)
    energy = Tempered(run.energy.energy, temperature)
    options: dict[str, Any] = {"burn_in": burn_in, "draws": draws, "start": flown}
    options["generator"] = generator
    with _precision(run, sampler):
        kernel = chain_sampler(run, sampler)
        found = denoising.denoise(energy, u, sigma, kernel, steps, **options)
    estimates = {"mode": found.mode, "mean": found.mean}
    estimates |= {} if flown is None else {"flow": flown}
    return {name: run.unstandardise(v) for name, v in estimates.items()}


def interpolate(
    run: Run, ends: Points, *, points: int = 11, steps: int = 300
) -> list[dict[str, interpolation.Path]]:
    """Paths between the first and the second point, the third and the fourth, and so on.

    For each pair the ``straight`` one, the one ``relaxed`` by the string method, and the one
    along the ``flow`` where that is an invertible map.

    Args:
        run: the density.
        ends: (2 n, *event); a last one without a partner is left out.
        points: of a path, ends included.
        steps: of the relaxation.

    Raises:
        ValueError: on fewer than two ends, equal ones, or points of another shape.
    """
    u, energy = run.standardise(ends), run.energy.energy
    if len(u) < 2:
        raise ValueError(f"A path has two ends: expected two points or more, got {len(u)}.")
    found = []
    for a, b in zip(u[0::2], u[1::2], strict=False):
        step = langevin_step(run)
        paths = {
            "straight": interpolation.straight(energy, a, b, points),
            "relaxed": interpolation.interpolate(energy, a, b, steps, points=points, step=step),
        }
        x = None if run.flow is None else run.flow.interpolate(a, b, points)
        if x is not None:
            paths["flow"] = interpolation.Path(x, tabulate(energy, x))
        found.append({n: path._replace(x=run.unstandardise(path.x)) for n, path in paths.items()})
    return found


def ood(
    run: Run,
    others: Mapping[str, Points],
    *,
    background: Energy | None = None,
    count: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Auroc]]:
    """How well each outlier score tells other points from the run's own test points.

    One half of the test points is the reference of the scores, the other is compared.

    Args:
        run: the density.
        others: points by name, in the units of the data.
        background: E_b of the likelihood ratio; None for none.
        count: at most so many points of each set.
        seed: of the halves and of noise.

    Raises:
        ValueError: on points of another shape, or too few of them.
    """
    for x in others.values():
        run.standardise(x[:1])
    reference, inside = (half[:count] for half in halves(run.dataset.test, seed=seed))
    scores = scorer(run, reference, background=background, seed=seed)
    own = scores(inside)
    return {
        name: {score: auroc(own[score], found) for score, found in scores(x[:count]).items()}
        for name, x in others.items()
    }


def other_data(run: Run, name: str) -> Points:
    """Test points of another data set, loaded with the settings of the run."""
    data = replace(run.config.data, name=name, size=None)
    return load_data(replace(run.config, data=data)).test


def scorer(
    run: Run, reference: Points, *, background: Energy | None = None, seed: int = 0
) -> Callable[[Points], dict[str, Tensor]]:
    """All outlier scores of points, by name, relative to reference points of the data."""
    generator = torch.Generator().manual_seed(seed)
    usual = None
    if run.flow is not None:
        usual = run.reconstruction_error(reference, generator=generator)

    def scores(x: Points) -> dict[str, Tensor]:
        found = outlier_scores(run.energy, x, reference, background=background)
        if usual is not None:
            errors = run.reconstruction_error(x, generator=generator)
            found["reconstruction_error"] = mean_zscore(errors, usual)
        return found

    return scores


def langevin_step(run: Run) -> float:
    """A Langevin step for chains, in squared standardised units: stable, not optimal."""
    settled = None if run.particles is None else run.particles.langevin_step
    if run.flow is not None:
        return run.flow.langevin_step(settled)
    return DEFAULT_STEP if settled is None else settled


def highest_temperature(run: Run) -> float:
    """A temperature at which chains cross between modes."""
    return DEFAULT_TEMPERATURE if run.flow is None else run.flow.highest_temperature


def chain_sampler(run: Run, name: str) -> Sampler[Any]:
    """The sampler of that name, with a step that suits the run."""
    check_choice("sampler", name, SAMPLERS)
    return SAMPLERS[name](langevin_step(run))


def _precision(run: Run, sampler: str) -> Any:
    # Acceptance ratios need all digits.
    return run.mixed_precision() if sampler == "ula" else nullcontext()
