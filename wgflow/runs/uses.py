"""What a trained run is used for: inpainting, denoising, interpolating, outliers.

Each function is what the verb of its name on the command line does, for points in the units of
the data.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_choice, check_positive
from wgflow._random import Rng, noise_like, stream
from wgflow._tensor import Points
from wgflow.data.arrays import read_array
from wgflow.data.lazy import PointSource
from wgflow.data.tables import TABLES
from wgflow.energies.base import Tempered
from wgflow.flows.base import DEFAULT_STEP, DEFAULT_TEMPERATURE
from wgflow.likelihood.quadrature import tabulate
from wgflow.runs.run import Run
from wgflow.samplers import MALA, ULA, Sampler
from wgflow.samplers.descent import cooling
from wgflow.tasks import denoise as denoising, inpaint as inpainting, interpolate as interpolation

SAMPLERS: dict[str, type[MALA] | type[ULA]] = {"mala": MALA, "ula": ULA}
"""Samplers of chains at the data: exact; faster and biased by its step."""

STARTS = ("path", "noise")
"""Where chains of inpainting may start: carried by the flow, or cooled from noise."""


@dataclass(frozen=True)
class Chains:
    """Markov chains at the data.

    Args:
        draws: chains for each point.
        burn_in: steps first: for inpainting, gradients of the flow or steps of the cooling.
        steps: of the sampler after those.
        sampler: one of `SAMPLERS`.
    """

    draws: int = 1
    burn_in: int = 100
    steps: int = 200
    sampler: str = "mala"

    def of(self, run: Run) -> Sampler[Any]:
        """The sampler, with a step that suits the run."""
        check_choice("sampler", self.sampler, SAMPLERS)
        return SAMPLERS[self.sampler](langevin_step(run))

    def precision(self, run: Run) -> Any:
        """The context of mixed precision, except for acceptance ratios, which need all digits."""
        return run.mixed_precision() if self.sampler == "ula" else nullcontext()


def read_points(run: Run, file: Path | str, count: int) -> Points:
    """The first points of an .npy file or a table, in the units of the data, (batch, *event).

    Raises:
        ValueError: the file holds no points, or points of another shape than the run's, or its
            columns have other names.
    """
    if Path(file).suffix.lower() in TABLES:
        return run.read(file, generator=stream(run.config.seed, 7))[:count]
    x = torch.from_numpy(read_array(Path(file)))[:count].to(run.dtype)
    check_points(run, x, str(file))
    return x


def mask(run: Run, name: str) -> Tensor:
    """True where a coordinate is hidden, (*event,): a side of an image, or an .npy file."""
    if name.endswith(".npy"):
        return torch.from_numpy(read_array(Path(name)) != 0)
    return inpainting.side(name, run.event_shape)


def inpaint(
    run: Run,
    x: Points,
    hidden: Tensor,
    *,
    chains: Chains = Chains(burn_in=80, steps=100),
    start: str | None = None,
    mode: bool = False,
    generator: Rng = None,
) -> Tensor:
    """Draws of the hidden coordinates given the others, (batch, draws, *event).

    Args:
        run: the density.
        x: points, (batch, *event); what their hidden coordinates hold does not matter.
        hidden: True where a coordinate is hidden, (*event,), bool.
        chains: those that draw; their burn-in carries or cools them.
        start: one of `STARTS`; None for ``path`` where the run has a flow.
        mode: whether to descend from each draw to a mode.
        generator: source of randomness.

    Raises:
        ValueError: on points or a mask of another shape, or numbers out of their ranges.
    """
    check_positive(burn_in=chains.burn_in, steps=chains.steps, draws=chains.draws)
    u, energy, kernel = run.standardise(x), run.energy.energy, chains.of(run)
    with chains.precision(run):
        known = u.repeat_interleave(chains.draws, 0)
        options = initialisation(run, start, chains.burn_in, known, hidden, generator=generator)
        options |= {"draws": chains.draws, "generator": generator}
        drawn = inpainting.inpaint(energy, u, hidden, kernel, chains.steps, **options)
        if mode:
            flat = inpainting.complete(energy, drawn.flatten(0, 1), hidden, chains.steps)
            drawn = flat.reshape(drawn.shape)
    return run.unstandardise(drawn)


def initialisation(
    run: Run,
    start: str | None,
    steps: int,
    known: Tensor,
    hidden: Tensor,
    *,
    generator: Rng = None,
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
    chains: Chains = Chains(),
    temperature: float = 1.0,
    generator: Rng = None,
) -> dict[str, Points]:
    """``mode`` and ``mean`` of x given ``y = x + noise ξ``, and the estimate of the ``flow``.

    Args:
        run: the prior.
        y: noisy points, (batch, *event).
        noise: its standard deviation, in the units of the data.
        chains: those that the mean is over, after their burn-in.
        temperature: T of the prior ``exp(-E/T)``; above 1 trusts it less.
        generator: source of randomness.

    Raises:
        ValueError: on points of another shape, numbers out of their ranges, or a run that maps
            the columns of its data.
    """
    check_positive(noise=noise)
    if run.energy.transform is not None:
        raise ValueError(
            "Noise must be Gaussian in standardised units too: expected a run with "
            f"data.transform none, got {run.config.data.transform}."
        )
    u, sigma, kernel = run.standardise(y), (noise / run.energy.scale).to(y), chains.of(run)
    flown = None if run.flow is None else run.flow.denoise(u, sigma)
    energy = Tempered(run.energy.energy, temperature)
    options: dict[str, Any] = {"burn_in": chains.burn_in, "draws": chains.draws, "start": flown}
    options["generator"] = generator
    with chains.precision(run):
        found = denoising.denoise(energy, u, sigma, kernel, chains.steps, **options)
    estimates = {"mode": found.mode, "mean": found.mean, "flow": flown}
    return {n: run.unstandardise(v) for n, v in estimates.items() if v is not None}


def denoise_known(
    run: Run, x: Points, noise: float, *, generator: Rng = None, **options: Any
) -> tuple[dict[str, Points], dict[str, float]]:
    """Points x as ``clean``, with noise added as ``noisy``, and estimates by `denoise`.

    Returns:
        the points by name, and the root mean squared error of all but the clean ones.
    """
    y = x + noise * noise_like(x, generator=generator)
    found = {"noisy": y} | denoise(run, y, noise, generator=generator, **options)
    errors = {name: float((z - x).square().mean()) ** 0.5 for name, z in found.items()}
    return {"clean": x} | found, errors


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
        raise ValueError(f"`ends` must be at least 2 points: got {len(u)}.")
    relaxed = partial(interpolation.interpolate, energy, points=points, step=langevin_step(run))
    found = []
    for a, b in zip(u[0::2], u[1::2], strict=False):
        paths = {
            "straight": interpolation.straight(energy, a, b, points),
            "relaxed": relaxed(a, b, steps),
        }
        x = None if run.flow is None else run.flow.interpolate(a, b, points)
        if x is not None:
            paths["flow"] = interpolation.Path(x, tabulate(energy, x))
        found.append({n: path._replace(x=run.unstandardise(path.x)) for n, path in paths.items()})
    return found


def langevin_step(run: Run) -> float:
    """A Langevin step for chains, in squared standardised units: stable, not optimal."""
    settled = None if run.particles is None else run.particles.langevin_step
    if run.flow is not None:
        return run.flow.langevin_step(settled)
    return DEFAULT_STEP if settled is None else settled


def highest_temperature(run: Run) -> float:
    """A temperature at which chains cross between modes."""
    return DEFAULT_TEMPERATURE if run.flow is None else run.flow.highest_temperature


def check_points(run: Run, x: PointSource, source: str) -> None:
    """Raise ValueError unless x holds points of the shape that the run learned."""
    if tuple(x.shape[1:]) != run.event_shape or not len(x):
        raise ValueError(
            f"{source} must hold points of shape {run.event_shape}: got an array of shape "
            f"{tuple(x.shape)}."
        )
