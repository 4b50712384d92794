"""The command line: what it says, what it writes, and how it refuses."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from wgflow.cli.output import read_array, write_images, write_table
from wgflow.cli.tables import differences, score_table
from wgflow.cli.training import free_folder

from wgflow import __version__
from wgflow.cli import app
from wgflow.cli.progress import Progress, waiting
from wgflow.config import Config, Data, dumps, loads
from wgflow.schemes import DualScoreMatching, EnergyMatching, NearProximal

SMALL = [
    *("--set", "training.batch_size=64", "--set", "training.evaluate_every=2"),
    *("--set", "energy.width=8", "--set", "energy.features=4"),
    *("--set", "scheme.dynamics.size=64", "--set", "scheme.dynamics.held_out=64"),
    *("--set", "data.size=200", "--steps", "4"),
]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


def fake_run(folder, *, scores=None, **config):
    folder.mkdir()
    (folder / "config.toml").write_text(dumps(Config(**config)), "utf8")
    (folder / "environment.json").write_text('{"status": "finished"}', "utf8")
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores), "utf8")
    return folder


@pytest.mark.parametrize("verb", [[], ["train"], ["compare"], ["data"], ["inpaint"]])
def test_help_does_not_import_torch(verb):
    command = [sys.executable, "-X", "importtime", "-m", "wgflow", *verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "wgflow.cli" in imported
    assert not imported & {"torch", "numpy", "scipy", "sklearn", "matplotlib"}
    assert "wgflow train" in done.stdout or verb in (["compare"], ["data"], ["inpaint"])


def test_every_verb_has_help_with_an_example():
    verbs = ["train", "resume", "sample", "evaluate", "report", "compare", "list"]
    verbs += ["inpaint", "denoise", "interpolate", "ood"]
    for verb in verbs:
        assert f"wgflow {verb}" in succeed(verb, "--help").stdout
    assert all(f" {verb} " in succeed("--help").stdout for verb in verbs)


def test_version():
    assert succeed("--version").stdout == f"{__version__}\n"


def test_settings_by_precedence(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('seed = 1\ndtype = "float64"\n[data]\nname = "rings"\n[training]\nsteps = 7\n')
    show = ["train", "--config", file, "--show-config"]

    def shown(*more):
        return loads(succeed(*show, *more).stdout)

    assert (shown().seed, shown().data.name, shown().training.steps) == (1, "rings", 7)
    over = shown("moons", "--set", "seed=2", "--set", "training.steps=8", "--device", "cuda:1")
    assert (over.seed, over.data.name, over.training.steps) == (2, "moons", 8)
    assert (over.dtype, over.device) == ("float64", "cuda:1")
    last = shown("moons", "--set", "data.name=pinwheel", "--set", "seed=2", "--seed", 3)
    assert (last.seed, last.data.name) == (3, "pinwheel")
    assert shown("--set", "training.steps=8", "--steps", 9).training.steps == 9


def test_shown_defaults_are_the_defaults():
    assert loads(succeed("train", "--show-config").stdout) == Config()


def test_data_choose_their_recipe():
    def shown(*words):
        return loads(succeed("train", *words, "--show-config").stdout)

    kinds = {name: type(shown(name).scheme) for name in ("moons", "mnist")}
    assert kinds == {"moons": NearProximal, "mnist": EnergyMatching}
    assert isinstance(shown("mnist", "--init", "runs/mnist-0").scheme, DualScoreMatching)
    assert shown("faces/", "--config", "images").energy == shown("mnist").energy
    assert shown("mnist", "--config", "digits").scheme.dynamics.size == 1024
    assert shown("mnist", "--set", "energy=mlp").energy == Config().energy


def test_names_of_data_survive():
    name = 'odd "name" = [1] \\ ü.csv'
    assert loads(succeed("train", name, "--show-config").stdout).data.name == name


def test_refusals_are_one_line(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("seed =")
    other = tmp_path / "other"
    other.mkdir()
    new = fake_run(tmp_path / "new")
    cases = {
        "Training needs data: expected DATA or --config": ["train"],
        "Did you mean 'training.steps'?": ["train", "moons", "--set", "training.step=1"],
        "A setting is written key=value": ["train", "moons", "--set", "training.steps"],
        "expected a file that exists or": ["train", "--config", tmp_path / "none.toml"],
        "A configuration is a TOML file": ["train", "--config", broken],
        "did you mean 'moons'?": ["train", "moonz", "--out", tmp_path / "run"],
        "`steps` must be > 0": ["train", "moons", "--steps", -1],
        "written to .npy, .csv, .png": ["sample", new, "--out", "x.gif"],
        "A comparison needs two runs": ["compare", new],
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


def test_default_folder_is_numbered(tmp_path):
    config = Config(seed=3, data=Data(name="some/points.csv"))
    assert free_folder(tmp_path, config) == tmp_path / "points-3"
    (tmp_path / "points-3").mkdir()
    (tmp_path / "points-3-2").mkdir()
    assert free_folder(tmp_path, config) == tmp_path / "points-3-3"


def test_list(tmp_path):
    assert "Begin with" in succeed("list", tmp_path / "none").stdout
    fake_run(tmp_path / "a", seed=4, scores={"kl": 0.125, "nll": math.pi})
    fake_run(tmp_path / "b", data=Data(name="/far/away/points.csv"))
    (tmp_path / "no run").mkdir()
    first, second = json.loads(succeed("list", tmp_path, "--json").stdout)["runs"]
    assert (first["run"], first["seed"], first["kl"]) == (str(tmp_path / "a"), 4, 0.125)
    assert (second["data"], second["kl"]) == ("points.csv", None)
    shown = succeed("list", tmp_path).stdout
    assert "0.125" in shown
    assert "points.csv" in shown
    assert "finished" in shown


def test_list_data(tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path))
    found = json.loads(succeed("list", "--data", "--json").stdout)
    assert {"moons", "eight-gaussians", "digits"} <= set(found["data"])
    assert found["not_fetched"] == ["mnist", "fashion-mnist"]
    lines = succeed("list", "--data").stdout.splitlines()
    assert [line.split()[0] for line in lines] == found["data"]
    assert "mnist  (not fetched: wgflow data fetch mnist)" in lines


def test_fetching_says_what_it_cannot_do(tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "expected mnist or fashion-mnist, got 'cifar'" in refused("data", "fetch", "cifar")
    assert "run `wgflow data fetch mnist`" in refused("train", "mnist")
    failed = run("data", "fetch", "mnist")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "expected npm on the PATH, got no npm" in failed.stderr


def test_compare(tmp_path):
    a = fake_run(tmp_path / "a", seed=1, scores={"kl": 0.5, "kl_error": 0.01, "sliced_w2": 2.0})
    b = fake_run(tmp_path / "b", seed=2, scores={"kl": float("inf"), "sliced_w2": 1.0})
    compared = json.loads(succeed("compare", a, b, "--json").stdout)
    assert compared["runs"][str(a)]["kl_error"] == 0.01
    assert compared["runs"][str(b)]["kl"] is None
    assert compared["differences"] == {"seed": {str(a): 1, str(b): 2}}
    shown = succeed("compare", a, b).stdout
    assert "0.5 ± 0.01" in shown
    assert "seed" in shown


def test_differences_show_keys_that_only_one_run_has():
    a, b = {"x": 1, "h": 0.5, "s": "n"}, {"x": 1, "g": True, "s": "m"}
    assert differences({"a": a, "b": b}) == {
        "h": {"a": 0.5, "b": None},
        "s": {"a": "n", "b": "m"},
        "g": {"a": None, "b": True},
    }


def test_scores_stand_beside_their_floors_and_errors():
    scores = {"kl": 0.5, "kl_error": 0.25, "w2": 3.0, "w2_floor": 2.0, "mode_error": 0.75}
    names, cells = score_table({"r": scores}).columns
    assert list(names.cells) == ["kl", "w2", "mode_error"]
    assert list(cells.cells) == ["0.5 ± 0.25", "3  (floor 2)", "0.75"]


def test_a_table_of_points_reads_back(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    write_table(tmp_path / "x.csv", x)
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "x0,x1,x2"
    back = np.loadtxt(tmp_path / "x.csv", delimiter=",", skiprows=1, dtype=np.float32)
    assert np.array_equal(back, x)
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_fill_a_grid_row_by_row(tmp_path, channels):
    x = np.arange(3.0).reshape(3, 1, 1, 1) * np.ones((3, channels, 2, 4))
    write_images(tmp_path / "x.png", x)
    pixels = np.asarray(Image.open(tmp_path / "x.png")).reshape(4, 8, channels)
    assert (pixels[:2, :4] == 0).all()
    assert (pixels[:2, 4:] == 127).all()
    assert (pixels[2:, :4] == 255).all()
    assert (pixels[2:, 4:] == 0).all()


def test_what_is_unknown_is_black_and_dims_nothing_else(tmp_path):
    x = np.arange(4.0).reshape(4, 1, 1, 1) * np.ones((4, 1, 2, 2))
    write_images(tmp_path / "x.png", x)
    x[0, :, 0] = np.nan
    write_images(tmp_path / "y.png", x)
    whole, part = (np.asarray(Image.open(tmp_path / name)) for name in ("x.png", "y.png"))
    assert np.array_equal(whole, part)
    assert part.max() == 255


def test_bytes_are_levels_of_images_and_numbers_elsewhere(tmp_path):
    for shape in ((2, 1, 3, 3), (3, 3)):
        np.save(tmp_path / "x.npy", np.full(shape, 1, np.uint8))
        assert read_array(tmp_path / "x.npy").flat[0] == (1.5 / 256 if len(shape) == 4 else 1)


def test_only_images_make_a_picture(tmp_path):
    with pytest.raises(ValueError, match=r"must have shape .* got \(2,\)"):
        write_images(tmp_path / "x.png", np.zeros((5, 2)))


def test_progress_off_a_terminal_is_an_occasional_line(capsys):
    with Progress(3, every=1e9) as progress:
        progress(1, {"kl": 0.5, "ess": 0.25, "unknown": 1.0})
        progress(2, {"ess": 0.75})
        progress(3, {"acceptance": 0.5})
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "step 3/3  KL 0.5  ESS 0.75  acceptance 0.5\n"


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(2) as progress:
        progress(1, {"kl": 0.5})
    assert "KL 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_waiting_is_told_on_a_terminal(capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with waiting("Scoring"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert ("Scoring" in err) is terminal


@pytest.fixture(scope="module")
def cheap():
    """Evaluation by one distance on few lines: what is scored is the business of other tests."""
    from wgflow.metrics.samples import SlicedWasserstein
    from wgflow.runs import evaluate as evaluation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "DISTANCES", {"sliced_w2": SlicedWasserstein(8)})
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cheap) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "moons"
    result = succeed("train", "moons", "--out", folder, "--seed", 5, *SMALL)
    assert "Report: " in result.stdout
    assert "sliced_w2" in result.stdout
    assert "step 4/4" in result.stderr
    shutil.copy(folder / "scores.json", folder.parent)
    return folder


def test_train_writes_a_run(trained):
    files = {file.name for file in trained.iterdir()}
    assert {"config.toml", "scores.json", "samples.npy", "report.html", "metrics.jsonl"} <= files
    config = loads((trained / "config.toml").read_text())
    assert (config.seed, config.energy.width, config.training.steps) == (5, 8, 4)
    scores = json.loads((trained / "scores.json").read_text())
    assert {"kl", "nll", "log_z", "sliced_w2", "sliced_w2_floor"} <= set(scores)


def test_a_run_is_not_overwritten(trained):
    assert "no run is overwritten" in refused("train", "moons", "--out", trained, *SMALL)


def test_evaluate_prints_one_object(trained):
    scores = json.loads(succeed("evaluate", trained, "--samples", 500, "--json").stdout)
    assert scores["run"] == str(trained)
    assert {"kl", "nll", "nll_error", "log_z", "sliced_w2", "sliced_w2_floor"} <= set(scores)


def test_samples_are_seeded_and_in_every_format(trained, tmp_path):
    files = [tmp_path / name for name in ("a.npy", "b.npy", "c.npy", "d.csv")]
    for file, seed in zip(files, (1, 1, 2, 1), strict=True):
        said = succeed("sample", trained, "-n", 50, "--out", file, "--seed", seed, "--json")
        told = json.loads(said.stdout)
        # The weights of 64 particles, then for each point a start and fifty rounds of two moves.
        assert told.pop("evaluations") == 64 / 50 + 1 + 50 * 2
        assert told == {"path": str(file), "shape": [50, 2], "seed": seed}
    a, b, c = (np.load(file) for file in files[:3])
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert np.array_equal(np.loadtxt(files[3], delimiter=",", skiprows=1, dtype=a.dtype), a)
    assert "must have shape" in refused("sample", trained, "--out", tmp_path / "e.png")


def test_resume_of_a_finished_run_says_the_same(trained):
    scores = json.loads((trained.parent / "scores.json").read_text())
    resumed = json.loads(succeed("resume", trained, "--no-report", "--json").stdout)
    assert resumed == {"run": str(trained)} | scores


def test_report_is_written_again(trained):
    (trained / "report.html").unlink()
    said = json.loads(succeed("report", trained, "--json").stdout)
    assert Path(said["path"]) == trained / "report.html"
    assert (trained / "report.html").stat().st_size > 1000


def test_a_comparison_of_runs_is_a_page(trained, tmp_path):
    out = tmp_path / "compared.html"
    said = json.loads(succeed("compare", trained, trained, "--out", out, "--json").stdout)
    assert said["report"] == str(out)
    assert out.stat().st_size > 1000
