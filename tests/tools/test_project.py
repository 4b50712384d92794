"""The files that say how to join the project agree with what is there."""

import re
import tomllib
from pathlib import Path

from wgflow import __version__
from wgflow.machine.doctor import NOT_FOR_USERS

ROOT = Path(__file__).parents[2]


def text(name):
    return (ROOT / name).read_text("utf8")


def test_continuous_integration_and_guide_call_targets_that_exist():
    called = {t for name in (".github/workflows/ci.yml", "CONTRIBUTING.md") for t in makes(name)}
    assert called == {"test", "test-oldest", "docs", "distributions", "first-report", "audit"}
    for target in called:
        assert re.search(rf"^{target}:", text("Makefile"), re.M), target


def makes(name):
    return re.findall(r"(?:run: |^|`)make ([\w-]+)", text(name), re.M)


def test_the_citation_has_the_version():
    assert re.search(r"^version: (.+)$", text("CITATION.cff"), re.M).group(1) == __version__


def test_every_extra_is_for_users_or_known_not_to_be():
    extras = set(tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"])
    assert set(NOT_FOR_USERS) <= extras
    shown = set(re.findall(r"wgflow\[(\w+)\]", "".join(p.read_text() for p in pages())))
    assert extras - set(NOT_FOR_USERS) <= shown


def pages():
    return [*(ROOT / "docs").rglob("*.md"), *(ROOT / "wgflow").rglob("*.py")]
