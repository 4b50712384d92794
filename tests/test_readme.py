"""What the documents show works: code runs, commands parse, links lead somewhere."""

import contextlib
import re
import shlex
import struct
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import typer

from wgflow import __version__
from wgflow.cli import app
from wgflow.config import KINDS
from wgflow.metrics.samples import DISTANCES

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "results").glob("*.md")]),
]


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf8"), re.S | re.M)


def prose(page):
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf8"), flags=re.S | re.M)


def commands(page):
    """Every ``wgflow`` command on a line of its own, indented or in a block."""
    text = page.read_text("utf8").replace("\\\n", " ")
    return re.findall(r"^(?:    )?(wgflow .+)$", text, re.M)


def spans(page):
    """Every ``wgflow`` command in running text, perhaps without its arguments."""
    return re.findall(r"`(wgflow [^`]+)`", page.read_text("utf8"))


COMMANDS = sorted({command for page in PAGES for command in commands(page)})
SPANS = sorted({command for page in PAGES for command in spans(page)})


def parse(command):
    """Parse as the shell and the command line would, without running it."""
    words = shlex.split(command, comments=True)[1:]
    group = typer.main.get_command(app)
    with group.make_context("wgflow", words) as context:
        _, verb, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        verb.make_context(verb.name, rest, parent=context).close()


SMALLER = {
    "docs/energies.md": [("particles=4000\n", "particles=200, settings=['training.steps=1']\n")],
    "docs/distributed.md": [("launched(2, 1,", "launched(1, 1,")],
    "README.md": [("samples=500", "samples=500, likelihood=False")],
    "docs/start.md": [("samples=500", "samples=500, likelihood=False")],
    "docs/points.md": [("steps=20", "steps=2"), ("2000", "600")],
    "docs/results/images.md": [("run.sample(1000,", "run.sample(12,")],
}
"""What is smaller in the tests than on a page."""


def write_mnist(path):
    """A few images in place of MNIST, as files in the folder of data."""
    (path / "mnist").mkdir()
    numbers = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = numbers.integers(0, 256, (130, 28, 28), dtype=np.uint8)
        head = struct.pack(">HBBIII", 0, 8, 3, *images.shape)
        (path / "mnist" / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = np.arange(130, dtype=np.uint8) % 10
        head = struct.pack(">HBBI", 0, 8, 1, len(labels))
        (path / "mnist" / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name)
def test_python_on_the_pages_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path))
    write_mnist(tmp_path)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    with mock.patch.dict(KINDS), mock.patch.dict(DISTANCES):
        code = blocks(page, "python")
        for shown, smaller in SMALLER.get(name(page), []):
            assert any(shown in block for block in code), shown
            code = [block.replace(shown, smaller) for block in code]
        for block in code:
            exec(compile(block, page.name, "exec"), vars(module))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command):
    with contextlib.suppress(typer.Exit):  # --help ends the parsing
        parse(command)


@pytest.mark.parametrize("command", SPANS)
def test_verbs_and_options_in_the_text_exist(command):
    _, verb, *rest = shlex.split(command)
    known = typer.main.get_command(app).commands[verb].params
    options = {option for parameter in known for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= options


@pytest.mark.parametrize(
    "command", ["wgflow trian moons", "wgflow train moons --epochs 3", "wgflow evaluate"]
)
def test_a_wrong_command_would_be_seen(command):
    with pytest.raises(Exception, match=r"No such (command|option)|Missing (argument|parameter)"):
        parse(command)


def test_the_readme_shows_commands():
    shown = {c.split()[1] for c in [*commands(PAGES[0]), *spans(PAGES[0])]}
    assert {"train", "sample", "evaluate", "compare", "resume"} <= shown


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf8")
    targets = {
        t
        for page in PAGES
        for b in blocks(page, "sh")
        for t in re.findall(r"^make (\S+)", b, re.M)
    }
    assert targets >= {"demo", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


LINKS = [
    (name(page), link)
    for page in PAGES
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(page))
    if "://" not in link
]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_to_files(page, link):
    assert ((ROOT / page).parent / link).is_file()


def test_the_changelog_knows_the_version():
    assert __version__ in (ROOT / "CHANGELOG.md").read_text("utf8")
