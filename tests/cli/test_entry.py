"""The command line: help, versions, and how it refuses."""

import subprocess
import sys

import pytest
from command_line import fake_run, refused, run, succeed
from typer.testing import CliRunner

from wgflow import __version__
from wgflow.cli import app


@pytest.mark.parametrize("verb", [[], ["train"], ["compare"], ["data"], ["inpaint"], ["doctor"]])
def test_help_does_not_import_torch(verb):
    command = [sys.executable, "-X", "importtime", "-m", "wgflow", *verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "wgflow.cli" in imported
    assert not imported & {"torch", "numpy", "scipy", "sklearn", "matplotlib"}
    assert "wgflow train" in done.stdout or verb not in ([], ["train"])


def test_every_verb_has_help_with_an_example():
    verbs = ["train", "resume", "sample", "evaluate", "report", "compare", "list"]
    verbs += ["inpaint", "denoise", "interpolate", "score", "ood", "doctor"]
    for verb in verbs:
        assert f"wgflow {verb}" in succeed(verb, "--help")
    assert all(f" {verb} " in succeed("--help") for verb in verbs)


def completed(words):
    """What a shell is offered for the last of the words."""
    asked = {"_WGFLOW_COMPLETE": "complete_bash", "COMP_WORDS": f"wgflow {words}"}
    asked["COMP_CWORD"] = str(1 + words.count(" "))
    done = CliRunner().invoke(app, env=asked, prog_name="wgflow")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [("tra", ["train"]), ("train --st", ["--steps"]), ("data fetch fa", ["fashion-mnist"])],
)
def test_shells_complete_verbs_options_and_data_sets(words, offered):
    assert completed(words) == offered
    assert completed("xyz") == []


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _wgflow_completion wgflow"),
        ("zsh", "#compdef wgflow"),
        ("fish", "complete --command wgflow --no-files"),
    ],
)
def test_the_script_that_shells_read_names_the_program(shell, line):
    asked = {"_WGFLOW_COMPLETE": f"source_{shell}"}
    done = CliRunner().invoke(app, env=asked, prog_name="wgflow")
    assert done.exit_code == 0
    assert f"_WGFLOW_COMPLETE=complete_{shell}" in done.stdout
    assert line in done.stdout
    asked = {"_WGFLOW_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "wgflow tra"}
    asked |= {"COMP_WORDS": "wgflow tra", "COMP_CWORD": "1"}
    asked |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "train" in CliRunner().invoke(app, env=asked, prog_name="wgflow").stdout


def test_version():
    assert succeed("--version") == f"{__version__}\n"


def test_refusals_are_one_line(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("seed =")
    other = tmp_path / "other"
    other.mkdir()
    new = fake_run(tmp_path / "new")
    cases = {
        "DATA or --config must be given": ["train"],
        "Did you mean 'training.steps'?": ["train", "moons", "--set", "training.step=1"],
        "A setting is written key=value": ["train", "moons", "--set", "training.steps"],
        "must be a file that exists or": ["train", "--config", tmp_path / "none.toml"],
        "A configuration is a TOML file": ["train", "--config", broken],
        "did you mean 'moons'?": ["train", "moonz", "--out", tmp_path / "run"],
        "`steps` must be > 0": ["train", "moons", "--steps", -1],
        "written to .npy, .csv, .parquet, .png": ["sample", new, "--out", "x.gif"],
        "`paths` must name at least 2 runs": ["compare", new],
        "run `wgflow evaluate": ["compare", new, new],
        "must be a run, with config.toml": ["compare", other, other],
    }
    for message, arguments in cases.items():
        assert message in refused(*arguments)
    for verb in ("resume", "sample", "evaluate"):
        assert "must be a run, with config.toml" in refused(verb, other)
        assert "must be a run with a checkpoint" in refused(verb, new)
    assert not (tmp_path / "run").exists()


def test_debug_shows_where_an_error_arose():
    result = run("--debug", "train")
    assert isinstance(result.exception, ValueError)
    assert result.stderr == ""


def test_usage_errors_stay_typers():
    result = run("trian")
    assert result.exit_code == 2
    assert "No such command" in result.stderr
