"""Samples of runs, of products of runs and of classes, with what they cost: one call for all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from wgflow._random import Rng
from wgflow._tensor import Points
from wgflow.energies.conditional import check_labels
from wgflow.runs.classes import noisy_classifier_of, sample_classes
from wgflow.runs.compose import compose, counted
from wgflow.runs.run import Run


@dataclass(frozen=True)
class Classes:
    """Which classes to sample, and how: see `wgflow.runs.classes.sample_classes`.

    Args:
        labels: the classes; none for all.
        guidance: g ≥ 1 of ``p(x) p(class|x)^g``; 1 is Bayes' rule.
        class_guidance: guidance scale k ≥ 0 of the flow; 0 is exact.
    """

    labels: Sequence[int] = ()
    guidance: float = 1.0
    class_guidance: float = 0.0


class Drawn(NamedTuple):
    """Samples and what they cost.

    Attributes:
        x: points, (count, *event); of classes, those of the first class first.
        evaluations: evaluations of the energy per point.
        labels: the classes, in order; none without.
        draws: points started, for samples of classes.
        ended: those of them that were followed to their end.
    """

    x: Points
    evaluations: float
    labels: tuple[int, ...] = ()
    draws: int = 0
    ended: int = 0


def sample(
    runs: Sequence[Run],
    count: int,
    *,
    temperature: float = 1.0,
    classes: Classes | None = None,
    tell: Callable[[str], None] = lambda line: None,
    generator: Rng = None,
    **options: Any,
) -> Drawn:
    """Points of ``Π_j p_j^{1/T}`` of several runs, or of one, all together or by class.

    Args:
        runs: at least one; where points start is up to the first.
        count: points; of each class, where there are any.
        temperature: T > 0.
        classes: None for points of all classes together.
        tell: called with a line when the classifier of the classes is trained.
        generator: source of randomness.
        options: of `Run.sample`.

    Raises:
        ValueError: as `compose`, `Run.sample` and `sample_classes`.
    """
    plain = len(runs) == 1 and temperature == 1
    run, counter = counted(runs[0] if plain else compose(runs, temperature=temperature))
    options["generator"] = generator
    if classes is None:
        x = run.sample(count, **options)
        return Drawn(x, counter.points / count)
    classifier = noisy_classifier_of(run, tell)
    labels = list(classes.labels or range(classifier.classes))
    check_labels(labels, classifier.classes)
    options |= {"guidance": classes.guidance, "class_guidance": classes.class_guidance}
    chosen = sample_classes(run, labels, count, classifier=classifier, **options)
    x = chosen.x.flatten(0, 1)
    return Drawn(x, counter.points / len(x), tuple(labels), chosen.draws, chosen.ended)
