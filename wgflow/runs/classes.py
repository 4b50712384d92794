"""Points of a class: what a run learned, and the labels of its data, joined by Bayes' rule."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wgflow.flows import heat
from wgflow.runs.chains import from_units, precision, to_units
from wgflow.tasks.condition import Chosen, Conditional, LogProb, reject
from wgflow.config import DTYPES
from wgflow.storage.folder import LABELLER
from wgflow.metrics.labelling import UPDATES, Labeller
from wgflow.energies.noise_levels import Levels
from wgflow.runs.run import Run
from wgflow.runs.run import STARTS
from wgflow.samplers import ULA, sample
from wgflow._check import check_choice, check_positive
from wgflow.samplers.population import follow
from wgflow.schemes import EnergyMatching, matching

AHEAD_PULLED = 1.5
"""Draws at a time for each missing point of a class that they are pulled to."""

LOOKS = (0.3, 0.5)
"""Times of a path at which draws without hope are dropped; before, too little can be seen."""


def labeller_of(
    run: Run, tell: Callable[[str], None] = lambda line: None, *, updates: int = UPDATES
) -> Labeller:
    """The labeller of a run's own data: trained once, and kept in the run's folder.

    Args:
        run: the run.
        tell: hears that it is trained, and how good it is.
        updates: of `Labeller.fit`.

    Raises:
        ValueError: the data are not at hand, have no labels, or are no images.
    """
    file = run.path / LABELLER
    if file.is_file():
        return Labeller.load(file)
    data, paths = run.dataset, matching(run.config.scheme)
    if data.train_labels is None or data.test_labels is None:
        raise ValueError(f"A class needs labels: expected data that have some, got {data.name}.")
    tell(f"Learning the classes of {data.name}, once for {run.path} ...")
    labeller = Labeller.fit(
        data.learned,
        data.train_labels,
        noise=1.0 if paths is None else paths.noise,
        smoothing=run.config.data.smoothing,
        updates=updates,
        seed=run.config.seed,
    ).tested(data.standardise(data.test).to(data.test), data.test_labels)
    tell(f"{labeller.accuracy:.2%} of its test points are told right.")
    labeller.save(file)
    return labeller


def draw_classes(
    run: Run,
    labels: list[int],
    count: int,
    *,
    labeller: LogProb,
    guidance: float = 1.0,
    pull: float = 0.0,
    start: str | None = None,
    generator: torch.Generator | None = None,
    **path: Any,
) -> Chosen:
    """``count`` points of each class, in the units of the data: see `wgflow.tasks.condition.reject`.

    Points on paths from noise are looked at on the way, at the times `LOOKS`, and those without
    hope are dropped. A pull k > 0 leads them to their class instead, by the guidance
    ``k s²(1-t)/(εt)`` of `wgflow.tasks.condition.Conditional`, before the same rejection at the end.
    Most are accepted then, but their law is no longer that of the run given the class: it has no
    name. Down levels of noise nobody looks, and a pull is the guidance k at each.

    Args:
        run: the law p that is drawn from.
        labels: the classes wanted.
        count: points of each.
        labeller: ``log p(c|x)`` of standardised points, such as `labeller_of`.
        guidance: g ≥ 1.
        pull: k ≥ 0; 0 is exact, 1 would be enough for paths independent of their noise.
        start: as of `Run.sample`.
        generator: source of randomness.
        path: options of `Run.sample`.

    Raises:
        ValueError: as `Run.sample` and `reject`; on a negative pull, or without paths from noise.
    """
    check_choice("start", start or STARTS[0], STARTS)
    levels = None if start == "population" else run.levels
    paths = None if start == "population" or levels else matching(run.config.scheme)
    if not pull >= 0 or (pull and paths is None and levels is None):
        raise ValueError(
            "A pull acts along learned paths from noise: expected at least 0, and 0 without "
            f"such paths, got {pull}."
        )
    if pull and levels is not None and run.temperature != 1:
        raise ValueError(
            "Tempered laws have no flow of levels to pull along: expected temperature 1 with a "
            f"pull, got {run.temperature}."
        )
    if paths is not None or levels is not None:
        path = run.options(path)
    find = partial(reject, log_prob=labeller, guidance=guidance, generator=generator, count=count)
    if pull and levels is not None:
        begin = partial(_pulled_down, run, levels, labeller, pull, generator, **path)
        chosen = _each(find, begin, labels)
    elif paths is None:
        draw = partial(run.sample, start=start, generator=generator, **path)
        chosen = find(lambda n: to_units(run, draw(n)), labels=labels)
    elif pull:
        begin = partial(_pulled, run, paths, labeller, pull, generator, **path)
        chosen = _each(find, begin, labels)
    else:
        first, *legs = _legs(run, paths, generator, **path)
        chosen = find(lambda n: first(_noise(run, paths, n, generator)), labels=labels, legs=legs)
    return chosen._replace(x=from_units(run, chosen.x))


def _each(find: Callable[..., Chosen], begin: Callable[..., Tensor], labels: list[int]) -> Chosen:
    """What is found of every class when each is pulled to by itself."""
    parts = [find(partial(begin, c), labels=[c], ahead=AHEAD_PULLED) for c in labels]
    x, draws, ended = zip(*parts, strict=True)
    return Chosen(torch.cat(x), sum(draws), sum(ended))


def _pulled_down(
    run: Run,
    levels: Levels,
    labeller: LogProb,
    pull: float,
    generator: torch.Generator | None,
    label: int,
    count: int,
    **path: Any,
) -> Tensor:
    """Points of a class that came down levels of noise."""
    law = Conditional(run.energy.energy, labeller, label, pull)
    with precision(run, "ula"):
        return heat.generate(law, levels, run.like(count), generator=generator, **path)


def _noise(run: Run, paths: EnergyMatching, count: int, generator) -> Tensor:
    shape, dtype = (count, *run.event_shape), DTYPES[run.config.dtype]
    return paths.noise * torch.randn(shape, generator=generator, dtype=dtype)


def _pulled(
    run: Run,
    paths: EnergyMatching,
    labeller: LogProb,
    pull: float,
    generator: torch.Generator | None,
    label: int,
    count: int,
    *,
    time: float = 2.0,
    steps: int = 80,
    langevin: int = 0,
) -> Tensor:
    """The path of `wgflow.samplers.population.follow`, pulled towards a class until t = 1."""
    check_positive(time=time, steps=steps)
    energy, h, epsilon = run.energy.energy, time / steps, paths.temperature
    x = _noise(run, paths, count, generator)
    options: dict[str, Any] = {"temperature": epsilon, "time": h, "steps": 1}
    with precision(run, "ula"):
        for k in range(steps):
            t = (k + 0.5) * h  # the middle of the step, where 1/t is finite
            g = pull * paths.noise**2 * (1 - t) / (epsilon * t)
            law = Conditional(energy, labeller, label, g) if t < 1 else energy
            x = follow(law, x, **options)
        if langevin:
            x = sample(ULA(epsilon * h), energy, x, langevin, generator=generator)
    return x


def _legs(
    run: Run,
    paths: EnergyMatching,
    generator: torch.Generator | None,
    *,
    time: float = 2.0,
    steps: int = 80,
    langevin: int = 0,
) -> list[Callable[[Tensor], Tensor]]:
    """The path of `wgflow.samplers.population.follow`, cut at the steps nearest to `LOOKS`."""
    check_positive(time=time, steps=steps)
    h = time / steps
    cuts = sorted({0, steps} | {min(steps, max(1, round(look / h))) for look in LOOKS})
    lengths = [after - before for before, after in itertools.pairwise(cuts)]

    def leg(x: Tensor, n: int, langevin: int) -> Tensor:
        with precision(run, "ula"):
            return follow(
                run.energy.energy,
                x,
                temperature=paths.temperature,
                time=n * h,
                steps=n,
                langevin=langevin,
                generator=generator,
            )

    last = lengths.pop()
    return [
        *(partial(leg, n=n, langevin=0) for n in lengths),
        partial(leg, n=last, langevin=langevin),
    ]
