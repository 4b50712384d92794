"""Points of a class: what a run learned, and the labels of its data, joined by Bayes' rule."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wgflow._check import check_choice, check_nonnegative
from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.energies.conditional import LogProb
from wgflow.flows.base import ClassGuidance, Flow
from wgflow.metrics.classifier import UPDATES, NoisyClassifier
from wgflow.runs.run import STARTS, Run
from wgflow.storage.folder import LABELLER
from wgflow.tasks.condition import Chosen, reject

AHEAD_GUIDED = 1.5
"""Draws at a time for each missing point of a class to which draws are guided."""


def noisy_classifier_of(
    run: Run, tell: Callable[[str], None] = lambda line: None, *, updates: int = UPDATES
) -> NoisyClassifier:
    """The classifier of noisy points of a run's own data: trained once, kept in the run's folder.

    Args:
        run: the run.
        tell: hears that it is trained, and how accurate it is.
        updates: of `NoisyClassifier.fit`.

    Raises:
        ValueError: the data are not at hand, have no labels, or are no images.
    """
    file = run.path / LABELLER
    if file.is_file():
        return NoisyClassifier.load(file)
    data, paths = run.dataset, run.config.scheme.path
    if data.train_labels is None or data.test_labels is None:
        raise ValueError(f"A class needs labels: expected data that have some, got {data.name}.")
    tell(f"Learning the classes of {data.name}, once for {run.path} ...")
    classifier = NoisyClassifier.fit(
        data.learned,
        data.train_labels,
        noise=1.0 if paths is None else paths.noise,
        smoothing=run.config.data.smoothing,
        updates=updates,
        seed=run.config.seed,
    ).tested(data.standardise(data.test).to(data.test), data.test_labels)
    tell(f"Its accuracy on test points is {classifier.accuracy:.2%}.")
    classifier.save(file)
    return classifier


def sample_classes(
    run: Run,
    labels: list[int],
    count: int,
    *,
    classifier: LogProb | None = None,
    guidance: float = 1.0,
    class_guidance: float = 0.0,
    start: str | None = None,
    generator: Rng = None,
    **options: Any,
) -> Chosen:
    """``count`` points of each class, in the units of the data: by rejection, which is exact.

    Along a matched path draws are classified on the way too, and dropped where no class that is
    still wanted is likely. A class guidance k > 0 guides the flow to each class,
    `Flow.sample_class`, before the same rejection at the end: most draws are accepted then, but
    their distribution is no longer exactly that of the run given the class.

    Args:
        run: the density p.
        labels: the classes wanted.
        count: points of each.
        classifier: ``log p(c|x)`` of standardised points; None for `noisy_classifier_of` the
            run.
        guidance: g ≥ 1 of ``p(x) p(c|x)^g``.
        class_guidance: guidance scale k ≥ 0; 0 is exact.
        start: as of `Run.sample`.
        generator: source of randomness.
        options: of `Run.sample`.

    Raises:
        ValueError: as `Run.sample` and `reject`; on class guidance without a flow.
    """
    classifier = noisy_classifier_of(run) if classifier is None else classifier
    check_choice("start", start or STARTS[0], STARTS)
    check_nonnegative(class_guidance=class_guidance)
    flow = None if start == "population" else run.flow
    if class_guidance and flow is None:
        raise ValueError(
            f"`class_guidance` must be 0 without a flow from noise: got {class_guidance}."
        )
    flow = None if flow is None else flow.configured(**options)
    find = partial(
        reject, log_prob=classifier, guidance=guidance, generator=generator, count=count
    )
    legs = [] if flow is None else [_mixed(run, leg) for leg in flow.legs(generator)]
    if class_guidance and flow is not None:
        guides = [ClassGuidance(classifier, label, class_guidance) for label in labels]
        begins = [partial(_guided, run, flow, guide, generator) for guide in guides]
        parts = [
            find(begin, labels=[label], ahead=AHEAD_GUIDED)
            for begin, label in zip(begins, labels, strict=True)
        ]
        x, draws, ended = zip(*parts, strict=True)
        chosen = Chosen(torch.cat(x), sum(draws), sum(ended))
    elif legs:
        first, *others = legs
        chosen = find(lambda n: first(run.like(n)), labels=labels, legs=others)
    else:
        draw = partial(run.sample, start=start, generator=generator, **options)
        chosen = find(lambda n: run.standardise(draw(n)), labels=labels)
    return chosen._replace(x=run.unstandardise(chosen.x))


def _guided(run: Run, flow: Flow, guide: ClassGuidance, generator: Rng, count: int) -> Points:
    with run.mixed_precision():
        return flow.sample_class(run.like(count), guide, generator=generator)


def _mixed(run: Run, leg: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run_leg(x: Tensor) -> Tensor:
        with run.mixed_precision():
            return leg(x)

    return run_leg
