"""Published runs: what they keep, and the energies that come with the package."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refused, succeed
from problems import seeded

from wgflow.config import Config, Data, Training
from wgflow.energies.unet import UNetSpec
from wgflow.runs import zoo
from wgflow.runs.evaluate import evaluate
from wgflow.runs.fit import fit
from wgflow.runs.load import load, publish
from wgflow.schemes import EnergyMatching
from wgflow.storage import folder

CONFIG = Config(
    data=Data("digits", scaling="range"),
    energy=UNetSpec(widths=(8, 8)),
    scheme=EnergyMatching(),
    training=Training(steps=4, batch_size=32),
)


def test_a_published_run_is_its_energy(tmp_path):
    run = fit(CONFIG, tmp_path / "run")
    for name in (folder.SCORES, folder.LABELLER):
        (run.path / name).write_text(name)
    publish(run, tmp_path / "out")
    assert all((tmp_path / "out" / n).read_text() == n for n in (folder.SCORES, folder.LABELLER))
    kept = load(tmp_path / "out")
    assert kept.particles is None
    assert kept.held_out is None
    assert (kept.steps, kept.config, kept.event_shape) == (4, CONFIG, (1, 8, 8))
    x = run.dataset.test[:50]
    before, after = run.energy(x), kept.energy(x)
    error = (after - before).std() / before.std()
    assert 0 < error < 2e-3
    a, b = (r.sample(3, generator=seeded(1), steps=3) for r in (run, kept))
    torch.testing.assert_close(a, b, rtol=0, atol=0.01)
    sizes = [
        (tmp_path / n / f).stat().st_size
        for n, f in (("run", folder.CHECKPOINT), ("out", folder.ENERGY))
    ]
    assert sizes[1] < sizes[0] / 5


def test_publishing_begins_a_new_folder_and_forgets_paths(tmp_path):
    first = fit(CONFIG, tmp_path / "first")
    second = fit(replace(CONFIG, init=str(tmp_path / "first")), tmp_path / "second")
    publish(second, tmp_path / "out")
    for file in (tmp_path / "out").glob("*.*"):
        assert str(tmp_path).encode() not in file.read_bytes()
    with pytest.raises(ValueError, match="new"):
        publish(first, tmp_path / "out")


@pytest.mark.parametrize("name", zoo.names())
def test_a_pretrained_energy_draws_images(name):
    run = load(zoo.pretrained(name))
    x = run.sample(2, generator=seeded(1))
    assert x.shape == (2, 1, 28, 28)
    inside = ((x > -0.2) & (x < 1.2)).double().mean()
    assert inside > 0.99  # on the range of images, where noise is not
    assert run.config.init is None


def test_no_such_energy():
    with pytest.raises(ValueError, match="`pretrained` must be one of"):
        zoo.pretrained("nothing")


def test_a_name_is_a_pretrained_energy_where_there_is_no_such_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert zoo.find("mnist") == load("mnist").path == zoo.pretrained("mnist")
    assert zoo.find("nothing") == Path("nothing")
    (tmp_path / "mnist").mkdir()
    assert zoo.find("mnist") == Path("mnist")
    with pytest.raises(ValueError, match=r"config\.toml"):
        load("mnist")


def test_a_run_begins_with_a_pretrained_energy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = load("mnist")
    np.save("images.npy", np.random.default_rng(0).random((80, 1, 28, 28), np.float32))
    data = replace(known.config.data, name="images.npy")
    training = Training(steps=1, batch_size=2, learning_rate=1e-12)
    config = replace(known.config, init="mnist", dtype="float32", data=data, training=training)
    run = fit(config, "run")
    assert run.config.init == str(zoo.pretrained("mnist"))
    x = torch.rand(4, 1, 28, 28, generator=seeded(0))
    error = (run.energy(x) - known.energy(x)).std() / known.energy(x).std()
    assert error < 1e-3


def test_verbs_take_the_names_of_pretrained_energies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeed("sample", "mnist", "-n", "2", "--steps", "2")
    np.save("seen.npy", np.zeros((1, 1, 28, 28), np.float32))
    inpaint = ("--input", "seen.npy", "--draws", "1", "--approach", "1", "--steps", "1")
    succeed("inpaint", "mnist", *inpaint)
    assert {p.name for p in tmp_path.glob("*.png")} == {"mnist.png", "mnist-inpainted.png"}


def test_scores_of_what_came_along_are_left_as_they_are(tmp_path, monkeypatch):
    run = fit(CONFIG, tmp_path / "run")
    evaluate(run, samples=8, likelihood=False)
    assert (tmp_path / "run" / folder.SCORES).is_file()
    publish(run, tmp_path / "zoo" / "out")
    (tmp_path / "zoo" / "out" / folder.SCORES).unlink()
    monkeypatch.setattr(zoo, "HOME", tmp_path / "zoo")
    assert evaluate(load("out"), samples=8, likelihood=False)
    assert not (tmp_path / "zoo" / "out" / folder.SCORES).exists()


def test_samples_are_of_one_density(tmp_path):
    assert "DIR or --pretrained must be given, not both: got neither" in refused("sample")
    assert "got both" in refused("sample", str(tmp_path), "--pretrained", "mnist")
    assert "`pretrained` must be one of" in refused("sample", "--pretrained", "nothing")


def test_the_command_line_publishes_and_samples_the_zoo(tmp_path):
    fit(CONFIG, tmp_path / "run")
    succeed("publish", str(tmp_path / "run"), str(tmp_path / "out"))
    succeed("sample", str(tmp_path / "out"), "-n", "2", "--steps", "2")
    picture = tmp_path / "digits.png"
    succeed("sample", "--pretrained", "mnist", "-n", "4", "--steps", "3", "--out", str(picture))
    assert picture.read_bytes()[1:4] == b"PNG"
