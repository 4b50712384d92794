"""What `wgflow sample --class` does: points of some classes of the data, a row for each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wgflow.cli.output import note, say_json, write_images, writer

if TYPE_CHECKING:
    from wgflow.runs.compose import Counted
    from wgflow.runs.run import Run

ALL = "all"

Classes = Annotated[
    str | None,
    typer.Option("--class", metavar="C", help="Of classes, -n points of each: 3, or 3,5, or all."),
]
Guidance = Annotated[
    float, typer.Option(help="g of p(x) p(class|x)^g; 1 is Bayes' rule, above 1 sharper.")
]

Pull = Annotated[
    float, typer.Option(help="Towards the class on the way from noise: 0 is exact, 4 is faster.")
]


@dataclass(frozen=True)
class Asked:
    """What the command line asked for.

    Args:
        classes: ``all``, or numbers with commas between them.
        guidance: g.
        pull: k.
        count: points of each class.
        seed: of the draws.
        file: where they go.
        as_json: whether to say it in JSON.
    """

    classes: str
    guidance: float
    pull: float
    count: int
    seed: int
    file: Path
    as_json: bool


def parse(classes: str, number: int) -> list[int]:
    """The classes that are asked for, of so many; ValueError for what is no list of them."""
    from wgflow.tasks.condition import check_labels

    if classes == ALL:
        return list(range(number))
    words = [word.strip() for word in classes.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ValueError(
            f"A class is a number: expected some of 0 to {number - 1} with commas between them, "
            f"or {ALL}, got {classes!r}."
        )
    labels = [int(word) for word in words]
    check_labels(labels, number)
    return labels


def check_no_class(guidance: float, pull: float) -> None:
    """Refuse what leads to a class when none is asked for: it would be ignored."""
    if guidance != 1 or pull:
        raise ValueError(
            "Guidance and pull are towards a class: expected --class with them, got --guidance "
            f"{guidance} and --pull {pull} alone."
        )


def sample_classes(
    run: "Run", counter: "Counted", asked: Asked, *, start: str | None, **path: Any
) -> None:
    """Draw points of each class, write them in the order of the classes, and say what it took."""
    import torch

    from wgflow.runs.classes import noisy_classifier_of, sample_classes as sample_classes

    classifier = noisy_classifier_of(run, note)
    labels = parse(asked.classes, classifier.classes)
    chosen = sample_classes(
        run,
        labels,
        asked.count,
        classifier=classifier,
        guidance=asked.guidance,
        class_guidance=asked.pull,
        start=start,
        generator=torch.Generator().manual_seed(asked.seed),
        **path,
    )
    x = chosen.x.flatten(0, 1).cpu().numpy()
    if asked.file.suffix == ".png":
        write_images(asked.file, x, asked.count if len(labels) > 1 else None)
    else:
        writer(asked.file)(asked.file, x)
    record = {
        "path": str(asked.file),
        "shape": list(x.shape),
        "seed": asked.seed,
        "classes": labels,
        "guidance": asked.guidance,
        "pull": asked.pull,
        "draws": chosen.draws,
        "ended": chosen.ended,
        "evaluations": counter.points / len(x),
    }
    if asked.as_json:
        say_json(record)
        return
    names = ", ".join(map(str, labels))
    typer.echo(f"Wrote {asked.count} points of each class ({names}) to {asked.file}.")
    typer.echo(
        f"{chosen.draws} draws, of which {chosen.ended} to the end; "
        f"{record['evaluations']:.4g} evaluations of the energy per point."
    )
