"""What the examination of an installation finds, and what it makes of a broken one."""

import builtins
import sys
from importlib import metadata

import pytest
import torch
from command_line import run, succeed, told

from wgflow import doctor
from wgflow._version import __version__
from wgflow.machine import doctor as examination
from wgflow.machine.doctor import Package, requirements

LINES = [
    "torch>=1",
    "numpy>=999",
    'datasets>=2.19; extra == "huggingface"',
    'ruff; extra == "dev"',
]


@pytest.fixture
def installed(monkeypatch):
    """The metadata of a package that wants what is written above."""
    extras = {"Provides-Extra": ["huggingface", "dev"]}

    class Told:
        def get_all(self, key):
            return extras[key]

    monkeypatch.setattr(metadata, "requires", lambda name: LINES)
    monkeypatch.setattr(metadata, "metadata", lambda name: Told())
    versions = {"torch": torch.__version__, "numpy": "2.0.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize(
    ("found", "suits"),
    [("2.0", True), ("2.0+cpu", True), ("2.1rc1", True), ("1.9", False), (None, False)],
)
def test_a_package_suits_where_its_version_is_wanted(found, suits):
    assert Package("torch", ">=2.0", found).suits is suits


def test_a_healthy_installation_has_no_problems(monkeypatch, tmp_path):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path / "absent" / "sets"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(examination, "requirements", lambda: {"": [], "hub": []})
    found = doctor()
    assert found.healthy
    assert found.extras == {"hub": []}
    assert found.versions["wgflow"] == __version__
    assert "cpu" in found.devices
    assert found.threads["threads"] == torch.get_num_threads()
    assert {"float32", "float64"} <= set(found.precision["available"])
    assert found.data["folder"] == str(tmp_path / "absent" / "sets")
    assert found.data["writable"]
    assert found.data["fetched"] == []
    assert not (tmp_path / "absent").exists()


def test_what_is_missing_is_told_by_extra(installed):
    wanted = requirements()
    assert [p.name for p in wanted[""]] == ["torch", "numpy"]
    assert set(wanted) == {"", "huggingface"}  # not what only the package's own tests want
    found = doctor()
    assert found.extras == {"huggingface": ["datasets>=2.19 (absent)"]}
    assert found.problems == ["A dependency is missing: numpy>=999 (2.0.0)."]
    result = run("doctor")
    assert result.exit_code == 1
    assert "lacks datasets>=2.19 (absent): pip install 'wgflow[huggingface]'" in result.stdout


def test_without_metadata_nothing_is_wanted():
    assert requirements("a-package-that-nobody-has-installed") == {}


def test_pytorch_that_cannot_be_imported_is_a_finding(monkeypatch):
    real = builtins.__import__

    def broken(name, *rest):
        if name == "torch":
            raise OSError("libtorch.so: cannot open\nshared object file")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(builtins, "__import__", broken)
    found = doctor()
    assert "PyTorch cannot be imported: libtorch.so: cannot open." in found.problems
    assert (found.devices, found.precision, found.threads["threads"]) == ({}, {}, None)
    assert run("doctor").exit_code == 1


def test_the_verb_says_the_same_in_words_and_in_json(monkeypatch):
    monkeypatch.setattr(examination, "requirements", lambda: {"": [], "hub": []})
    record, words = told("doctor"), succeed("doctor")
    assert record["healthy"]
    assert record["versions"]["wgflow"] == __version__
    assert f"{__version__}, Python {record['versions']['python']}" in words
    assert record["data"]["folder"] in words
    assert "[hub]" in words
    assert words.endswith("complete\n")
