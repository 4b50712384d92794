"""Training and resuming from the command line."""

import json
from pathlib import Path

from command_line import SMALL, refused, succeed, told

import wgflow
from wgflow.config import Config, build, loads, override
from wgflow.metrics.alarms import alarms, worst
from wgflow.schemes import DualScoreMatching, EnergyMatching, NearProximal


def test_settings_by_precedence(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('seed = 1\ndtype = "float64"\n[data]\nname = "rings"\n[training]\nsteps = 7\n')
    show = ["train", "--config", file, "--show-config"]

    def shown(*more):
        return loads(succeed(*show, *more))

    assert (shown().seed, shown().data.name, shown().training.steps) == (1, "rings", 7)
    over = shown("moons", "--set", "seed=2", "--set", "training.steps=8", "--device", "cuda:1")
    assert (over.seed, over.data.name, over.training.steps) == (2, "moons", 8)
    assert (over.dtype, over.device) == ("float64", "cuda:1")
    last = shown("moons", "--set", "data.name=pinwheel", "--set", "seed=2", "--seed", 3)
    assert (last.seed, last.data.name) == (3, "pinwheel")
    assert shown("--set", "training.steps=8", "--steps", 9).training.steps == 9


def test_shown_defaults_are_the_defaults():
    assert loads(succeed("train", "--show-config")) == Config()


def test_data_choose_their_recipe():
    def shown(*words):
        return loads(succeed("train", *words, "--show-config"))

    kinds = {name: type(shown(name).scheme) for name in ("moons", "mnist")}
    assert kinds == {"moons": NearProximal, "mnist": EnergyMatching}
    assert isinstance(shown("mnist", "--init", "runs/mnist-0").scheme, DualScoreMatching)
    assert shown("faces/", "--config", "images").energy == shown("mnist").energy
    assert shown("mnist", "--config", "tables").energy == shown("digits").energy
    assert shown("mnist", "--set", "energy=mlp").energy == Config().energy


def test_names_of_data_survive():
    name = 'odd "name" = [1] \\ ü.csv'
    assert loads(succeed("train", name, "--show-config")).data.name == name


def test_test_points_of_ones_own():
    name = 'odd "name" ü.csv'
    shown = loads(succeed("train", "x.csv", "--test", name, "--show-config"))
    assert (shown.data.name, shown.data.test) == ("x.csv", name)


def test_train_writes_a_run(trained):
    files = {file.name for file in trained.iterdir()}
    assert {"config.toml", "scores.json", "samples.npy", "report.html", "metrics.jsonl"} <= files
    config = loads((trained / "config.toml").read_text())
    assert (config.seed, config.energy.width, config.training.steps) == (5, 8, 4)
    scores = json.loads((trained / "scores.json").read_text())
    assert {"kl", "nll", "log_z", "sliced_w2", "sliced_w2_floor"} <= set(scores)


def test_a_run_is_not_overwritten(trained):
    assert "no run is overwritten" in refused("train", "moons", "--out", trained)


def test_resume_of_a_finished_run_says_the_same(trained, cheap):
    scores = json.loads((trained.parent / "scores.json").read_text())
    said = {"run": str(trained), "verdict": worst(scores) or "healthy"}
    said["alarms"] = [alarm._asdict() for alarm in alarms(scores)]
    assert told("resume", trained, "--no-report") == scores | said


def test_the_default_folder_is_of_the_data_and_the_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text(
        "a,b\n" + "".join(f"{k % 7},{k % 5}\n" for k in range(90))
    )
    config = build(override({}, 'data.name="points.csv"', "seed=3", *SMALL[:-1]))
    assert wgflow.fit(config).path == Path("runs/points-3")
