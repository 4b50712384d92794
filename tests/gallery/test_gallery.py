"""The worked examples run, and their pages show what is there."""

import ast
import re
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
SCRIPTS = sorted(path for path in GALLERY.glob("*.py") if path.stem != "write")
SHORT = {"images": 2, "anomalies": 2, "conditionals": 2, "posterior": 1}
"""Steps in the tests, where they are not four."""

SMALLER = {
    "plane": [("samples=2000", "samples=200, likelihood=False"), ("scores['kl']", "0.0")],
    "conditionals": [("p.sample(500", "p.sample(20")],
    # The page shows samples and log Z of the energy alone, so that its density may be a rough one.
    "posterior": [
        ("particles=2000", "particles=100"),
        ('{STEPS}"]', '{STEPS}", "energy.width=8", "scheme.scheme.dynamics.size=64"]'),
    ],
    "images": [("run.sample(4", "run.sample(1"), ("subplots(4", "subplots(1")],
}
"""What else is smaller in the tests than on a page."""


def shortened(script):
    source = script.read_text("utf8")
    short, count = re.subn(
        r"^STEPS = \d+$", f"STEPS = {SHORT.get(script.stem, 4)}", source, flags=re.M
    )
    assert count == 1
    for shown, smaller in SMALLER.get(script.stem, []):
        assert shown in short
        short = short.replace(shown, smaller)
    return short


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs_and_prints_what_its_page_shows(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(shortened(script), script.name, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert labels(said) == labels(script.with_suffix(".txt").read_text("utf8"))
    shown = {path.name for path in GALLERY.glob(f"{script.stem}.png")}
    assert {path.name for path in tmp_path.glob("*.png")} == shown


def labels(text):
    """The lines without their numbers, which depend on the steps."""
    return [re.sub(r"[-+]?\d[\d.e+-]*", "#", line) for line in text.splitlines()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_its_page_has_its_question_code_and_output(script):
    page = script.with_suffix(".md").read_text("utf8")
    assert ast.get_docstring(ast.parse(script.read_text("utf8"))) in page
    assert "{literalinclude} " + script.name in page
    assert "{literalinclude} " + f"{script.stem}.txt" in page
    for link in re.findall(r"\]\(([^)#\s]+)", page):
        assert (GALLERY / link).is_file()
    assert f"]({script.stem}.md)" in (GALLERY / "index.md").read_text("utf8")
