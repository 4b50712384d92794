"""The verb that samples: sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgflow.cli.options import LEARNED, Json, Seed, output, seeded
from wgflow.cli.printing import note, say_either
from wgflow.cli.progress import waiting
from wgflow.storage.folder import SAMPLES

if TYPE_CHECKING:
    from wgflow.runs.sampling import Classes

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""The suffix of the file is its format:

- `wgflow sample runs/moons-0 -n 5000 --out points.npy`
- `wgflow sample runs/adults-0 -n 5000 --out rows.csv`: a row per point; of a table with its
names, integers and categories, also in a .parquet file
- `wgflow sample runs/digits-0 -n 64 --out digits.png`: a grid of images
- `wgflow sample mnist -n 64`: from a pretrained energy
- `wgflow sample runs/mnist-0 --time 2 --steps 200 --langevin 100`: finer steps of the flow
- `wgflow sample --pretrained mnist -n 64 --autoguidance 0`: by the flow of the density alone
- `wgflow sample runs/moons-0 --times runs/rings-0`: from the product of two densities
- `wgflow sample runs/moons-0 --temperature 0.5`: from the square of the density, sharper
- `wgflow sample runs/mnist-0 --class 3 -n 64 --out threes.png`: of one class, by Bayes' rule
- `wgflow sample --pretrained mnist --class all -n 10 --class-guidance 1 --stochastic`: a row for
each class
"""
)
def sample(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR|NAME]", help=LEARNED)] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A pretrained energy, even where a folder has its name, or USER/REPOSITORY of "
            "the Hub.",
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--number", min=1, help="Points to draw.")] = 1000,
    out: Annotated[
        Path | None,
        typer.Option(
            help=".npy, .csv, .parquet, .png for images; default DIR/samples.npy, NAME.png."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="noise, by the flow; or population, the particles. Default noise with a flow."
        ),
    ] = None,
    time: Annotated[
        float | None, typer.Option(help="End of a matched path from noise; default 2.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Of the flow: default 80 of a matched path; 10, or 40 if stochastic, of noise "
            "levels."
        ),
    ] = None,
    stochastic: Annotated[
        bool,
        typer.Option(
            "--stochastic",
            help="Ancestral sampling down the noise levels; default the probability flow.",
        ),
    ] = False,
    langevin: Annotated[
        int | None, typer.Option(help="Langevin steps after the flow; default 0.")
    ] = None,
    autoguidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Guidance scale away from the Gaussian of the data's moments, down the noise "
            "levels; default 0.15.",
        ),
    ] = None,
    times: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Multiply by the density of this run; repeat."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="T of p^(1/T): below 1 sharper, above 1 flatter.")
    ] = 1.0,
    classes: Annotated[
        str | None,
        typer.Option("--class", metavar="C", help="-n points of each class: 3, or 3,5, or all."),
    ] = None,
    guidance: Annotated[
        float, typer.Option(help="g of p(x) p(class|x)^g; 1 is Bayes' rule, above 1 sharper.")
    ] = 1.0,
    class_guidance: Annotated[
        float,
        typer.Option(
            help="Guidance scale of the flow towards the class: 0 is exact, above 0 accepts more "
            "draws."
        ),
    ] = 0.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw points from the learned density, in the units of the data."""
    from wgflow.data.arrays import write_points
    from wgflow.runs import hub, sampling
    from wgflow.runs.load import load

    if (folder is None) == (pretrained is None):
        got = "neither" if folder is None else "both"
        raise ValueError(f"DIR or --pretrained must be given, not both: got {got}.")
    source = hub.find_pretrained(pretrained) if pretrained else Path(str(folder))
    usual = _usual(pretrained) if pretrained else None
    file = output(out or usual, source, SAMPLES, f"{source}.png")
    options = {"time": time, "steps": steps, "langevin": langevin, "autoguidance": autoguidance}
    given = {name: value for name, value in options.items() if value is not None}
    runs = [load(path) for path in (source, *(times or []))]
    with waiting("Sampling"):
        drawn = sampling.sample(
            runs,
            count,
            temperature=temperature,
            classes=parse_classes(classes, guidance, class_guidance),
            start=start,
            tell=note,
            generator=seeded(seed),
            **given | ({"stochastic": True} if stochastic else {}),
        )
    across = count if len(drawn.labels) > 1 else 0
    write_points(file, drawn.x, columns=runs[0].schema, across=across)
    record = {"path": str(file), "shape": list(drawn.x.shape), "seed": seed}
    record |= {"evaluations": drawn.evaluations}
    cost = f"{drawn.evaluations:.4g} evaluations of the energy per point."
    if not drawn.labels:
        return say_either(as_json, record, f"Wrote {count} points to {file}.", cost)
    record |= {"classes": list(drawn.labels), "guidance": guidance, "draws": drawn.draws}
    record |= {"class_guidance": class_guidance, "ended": drawn.ended}
    names = ", ".join(map(str, drawn.labels))
    say_either(
        as_json,
        record,
        f"Wrote {count} points of each class ({names}) to {file}.",
        f"{drawn.draws} draws, of which {drawn.ended} were followed to the end; {cost}",
    )


def _usual(pretrained: str) -> Path:
    """Pictures of those that come with the package; others may be of any points."""
    _, repository, name = pretrained.rpartition("/")
    return Path(f"{name}.npy" if repository else f"{name}.png")


def parse_classes(
    classes: str | None, guidance: float = 1.0, class_guidance: float = 0.0
) -> "Classes | None":
    """The requested classes: ``all``, or numbers with commas between them; None for no request.

    Raises:
        ValueError: this is no list of numbers, or there is guidance without a class.
    """
    from wgflow.runs.sampling import Classes

    if classes is None:
        if guidance != 1 or class_guidance:
            raise ValueError(
                "--guidance and --class-guidance need --class: got "
                f"{guidance} and {class_guidance} without it."
            )
        return None
    words = [] if classes == "all" else [word.strip() for word in classes.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ValueError(
            f"--class must be numbers with commas between them, or all: got {classes!r}."
        )
    return Classes([int(word) for word in words], guidance, class_guidance)
