"""The verbs about one trained run: evaluate, report, publish, push-to-hub."""

from pathlib import Path
from typing import Annotated

import typer

from wgflow.cli.options import Folder, Json, Learned, Seed
from wgflow.cli.printing import (
    alarm_lines,
    end_by,
    say,
    say_either,
    say_json,
    say_lines,
    score_table,
    verdict_of,
)
from wgflow.cli.progress import waiting

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""- `wgflow evaluate runs/moons-0`
- `wgflow evaluate runs/mnist-0 --samples 1000 --features classifier`
- `wgflow evaluate runs/moons-0 --json | jq .kl`

A score `x` comes with `x_floor`, what two independent samples of the data score against each
other, or with `x_error`, its standard error, where they exist.
"""
)
def evaluate(
    folder: Learned,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Points to draw; default by their cost.")
    ] = None,
    likelihood: Annotated[
        bool | None,
        typer.Option(help="Estimate log Z; default unless the energy is convolutional."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Image scores: classifier, efficientnet, or Inception's weights."
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Score a run: divergences, likelihood and distances of samples, with floors and errors.

    What the scores say against the run follows in words.
    """
    from wgflow.runs.evaluate import evaluate
    from wgflow.runs.load import load

    options = {"samples": samples, "likelihood": likelihood, "features": features, "seed": seed}
    with waiting("Evaluating"):
        scores = evaluate(load(folder), **options)
    if as_json:
        say_json({"run": str(folder)} | scores | verdict_of(scores))
    else:
        say(score_table({folder.name: scores}))
        say_lines(alarm_lines(scores))
    end_by(scores)


@verbs.command(epilog="- `wgflow report runs/moons-0`")
def report(folder: Folder, as_json: Json = False) -> None:
    """Write the report of a run: one self-contained HTML file."""
    from wgflow.report import write_report

    path = write_report(folder)
    say_either(as_json, {"path": str(path)}, f"Report: {path}")


@verbs.command(epilog="- `wgflow publish runs/mnist-0 published/mnist`")
def publish(
    folder: Folder, out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")]
) -> None:
    """Write the energy of a run in half precision, without its training state, to share."""
    from wgflow.runs.load import load, publish

    publish(load(folder), out)
    typer.echo(f"Published: {out}")


@verbs.command(
    name="push-to-hub",
    epilog="""- `wgflow push-to-hub runs/moons-0 user/moons`

It needs the extra `hub` and an account: `hf auth login`, or a token in `HF_TOKEN`. The pictures
show held-out points of the data.
""",
)
def push_to_hub(
    folder: Folder,
    repository: Annotated[str, typer.Argument(metavar="USER/REPOSITORY", help="On the Hub.")],
    public: Annotated[bool, typer.Option("--public", help="A new one is seen by all.")] = False,
    pictures: Annotated[bool, typer.Option(help="Draw what the report draws.")] = True,
    as_json: Json = False,
) -> None:
    """Publish a run on the Hugging Face Hub, with a card of its scores, settings and pictures."""
    from wgflow.report.card import push_to_hub
    from wgflow.runs.load import load

    with waiting("Publishing"):
        address = push_to_hub(load(folder), repository, private=not public, pictures=pictures)
    hint = f"Next: wgflow sample --pretrained {repository} -n 100 --out points.csv"
    say_either(as_json, {"address": address}, f"Published: {address}", hint)
