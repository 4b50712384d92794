"""The card of a published run, and its way to the Hub."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wgflow import plots
from wgflow.config import Config
from wgflow.report.material import Material, gather
from wgflow.report.page import Shown, figures
from wgflow.report.scores import tabulate
from wgflow.report.template import fill
from wgflow.report.verdict import verdict
from wgflow.runs.hub import Hub, HuggingFace, check_repository
from wgflow.runs.load import publish
from wgflow.runs.run import Run
from wgflow.storage import folder

CARD = "README.md"
PICTURES = "pictures"


def push_to_hub(
    run: Run,
    repository: str,
    *,
    private: bool = True,
    pictures: bool = True,
    hub: Hub | None = None,
) -> str:
    """Publish a run in a repository of the Hub, with a card; returns its address.

    What goes there is what `wgflow.publish` writes, without the folders of this machine, and the
    card: scores in words and in a table, settings, and pictures of the report. Log in first with
    ``hf auth login``, or set ``HF_TOKEN``.

    Args:
        run: the run; one that learned a module of the caller is shared without its code.
        repository: ``user/repository``; a new one is made, an existing one gets a commit.
        private: whether a new repository is seen by its owner alone.
        pictures: whether to draw them, which needs the data and shows held-out points.
        hub: another one than that of Hugging Face.

    Raises:
        ValueError: this is no name of a repository.
        HubError: the Hub could not be reached, or refused.
    """
    check_repository("repository", repository)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "run"
        publish(replace(run, config=without_paths(run.config)), path)
        write_card(run, path, repository, pictures=pictures)
        return (hub or HuggingFace()).upload(path, repository, private=private)


def write_card(run: Run, path: Path, repository: str, *, pictures: bool = True) -> None:
    """Write the card of a run, and its pictures, into the folder of what is published."""
    material = gather(run)
    drawn = figures(material) if pictures else {}
    if drawn:
        (path / PICTURES).mkdir()
    for name, shown in drawn.items():
        (path / PICTURES / f"{name}.png").write_bytes(plots.png(shown.figure))
    files = {f"{PICTURES}/{name}.png": shown for name, shown in drawn.items()}
    settings = (path / folder.CONFIG).read_text("utf8")
    folder.write_text(path / CARD, render_card(material, repository, settings, files))


def render_card(
    material: Material, repository: str, settings: str, files: Mapping[str, Shown]
) -> str:
    """The card as Markdown, whose head is what the Hub indexes."""
    return fill(
        "card.md",
        material=material,
        source=Path(material.source).name,
        repository=repository,
        settings=settings,
        fence="`" * max(3, 1 + max(map(len, re.findall("`+", settings)), default=0)),
        verdict=verdict(material)[1],
        scores=tabulate([material.scores or {}]),
        files=files,
    )


def without_paths(config: Config) -> Config:
    """The configuration with names of files in place of paths, which say who learned it where."""
    data = config.data
    test = None if data.test is None else Path(data.test).name
    if Path(data.name).is_absolute():
        data = replace(data, name=Path(data.name).name)
    return replace(config, data=replace(data, test=test))
