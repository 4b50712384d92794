"""What the documents show works: code runs, commands parse, links lead somewhere."""

import contextlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from wgflow import __version__
from wgflow.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf8"), re.S | re.M)


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


def test_python_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    code = blocks(PAGES[0], "python")
    assert code
    for block in code:
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["x"].shape == (100, 2)
    assert namespace["log_p"].isfinite().all()
    assert namespace["run"].steps == 20


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
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf8"))
    if "://" not in link
]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_to_files(page, link):
    assert ((ROOT / page).parent / link).is_file()


def test_the_changelog_knows_the_version():
    assert __version__ in (ROOT / "CHANGELOG.md").read_text("utf8")
