"""Sampling from the command line."""

import shutil

import numpy as np
import pytest
from command_line import only, refused, size, succeed, told

from wgflow.storage.folder import LABELLER


def test_samples_are_seeded_and_in_every_format(trained, tmp_path):
    files = [tmp_path / name for name in ("a.npy", "b.npy", "c.npy", "d.csv")]
    for file, seed in zip(files, (1, 1, 2, 1), strict=True):
        said = told("sample", trained, "-n", 50, "--out", file, "--seed", seed)
        # The weights of 64 particles, then for each point a start and fifty rounds of two moves.
        assert said.pop("evaluations") == 64 / 50 + 1 + 50 * 2
        assert said == {"path": str(file), "shape": [50, 2], "seed": seed}
    a, b, c = (np.load(file) for file in files[:3])
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert np.array_equal(np.loadtxt(files[3], delimiter=",", skiprows=1, dtype=a.dtype), a)
    assert "must have shape" in refused("sample", trained, "--out", tmp_path / "e.png")


def test_samples_from_noise_take_options(runs, tmp_path):
    out = ["-n", 4, "--out", tmp_path / "x.npy"]
    path = ["--time", 1, "--steps", 5, "--langevin", 2]
    digits = runs["digits"].path
    # One gradient per step of the path, per Langevin step, and where those start.
    assert told("sample", digits, *out, *path)["evaluations"] == 5 + 2 + 1
    assert told("sample", digits, *out, "--start", "noise")["evaluations"] == 80
    assert "80 evaluations of the energy per point" in succeed("sample", digits, *out)
    assert "Samples start from particles" in refused(
        "sample", digits, *out, "--start", "population"
    )
    assert "`start` must be noise" in refused("sample", runs["moons"].path, *out, "--steps", 3)
    assert "leads from noise" in refused("sample", runs["moons"].path, *out, "--start", "noise")
    composed = ["--times", digits, "--temperature", 2]
    assert told("sample", digits, *out, *path, *composed)["shape"] == [4, 1, 8, 8]


def test_the_command_line_draws_of_a_class(runs, tmp_path):
    digits = runs["digits"].path
    out = tmp_path / "threes.npy"
    found = told("sample", digits, "--class", 3, "-n", 4, "--steps", 5, "--out", out)
    assert np.load(out).shape == (4, 1, 8, 8)
    expected = {"classes": [3], "shape": [4, 1, 8, 8], "seed": 0, "guidance": 1.0}
    assert found.items() >= expected.items()
    assert found["class_guidance"] == 0.0
    assert (found["draws"], found["ended"], found["evaluations"]) == (40, 40, 50.0)
    line = succeed("sample", digits, "--class", 3, "-n", 4, "--steps", 5, "--out", out)
    assert "4 points of each class (3)" in line
    assert "40 draws, of which 40 were followed to the end; 50 evaluations" in line
    never = refused("sample", digits, "--class", 2, "-n", 1, "--steps", 2)
    assert "expected class 2 at least 1 times in 1000 draws, got it 0 times" in never


def test_a_picture_has_a_row_for_each_class(runs, tmp_path):
    shutil.copytree(runs["digits"].path, tmp_path / "run")
    only(3, certainty=0.0).save(tmp_path / "run" / LABELLER)
    options = ("-n", 2, "--steps", 3, "--out", tmp_path / "all.png")
    found = told("sample", tmp_path / "run", "--class", "all", *options)
    assert found["classes"] == list(range(10))
    assert size(tmp_path / "all.png") == (2 * 8, 10 * 8)
    found = told("sample", tmp_path / "run", "--class", "5, 0,9", *options)
    assert found["classes"] == [5, 0, 9]
    assert size(tmp_path / "all.png") == (2 * 8, 3 * 8)


def test_guidance_reaches_the_acceptance(runs, tmp_path):
    """p(c|x) = 1/2 everywhere: g = 4 takes 16 draws for a point, g = 1 two."""
    shutil.copytree(runs["digits"].path, tmp_path / "run")
    only(1, classes=2, certainty=0.0).save(tmp_path / "run" / LABELLER)
    options = ("--class", 1, "-n", 60, "--steps", 1, "--out", tmp_path / "x.npy")
    plain = told("sample", tmp_path / "run", *options)["draws"]
    sharp = told("sample", tmp_path / "run", *options, "--guidance", 4)["draws"]
    assert plain == 256  # more than enough at once
    assert 500 < sharp < 1700
    for option in ("--guidance", "--class-guidance"):
        assert "need --class" in refused("sample", tmp_path / "run", option, 4)


def test_class_guidance_reaches_the_flow(runs, tmp_path):
    options = ("--class", 3, "-n", 4, "--steps", 5, "--out", tmp_path / "x.npy")
    found = told("sample", runs["digits"].path, *options, "--class-guidance", 2)
    assert (found["draws"], found["evaluations"], found["class_guidance"]) == (6, 7.5, 2.0)


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        ("3,x", "or all: got '3,x'"),
        ("-1", "or all: got '-1'"),
        ("", "or all: got ''"),
        ("10", "different classes from 0 to 9: got 10"),
        ("1,1", "different classes from 0 to 9: got 1, 1"),
    ],
)
def test_classes_that_are_none_are_refused(runs, classes, match):
    assert match in refused("sample", runs["digits"].path, "--class", classes)


def test_help_tells_of_classes():
    text = " ".join(succeed("sample", "--help").split())
    assert "--class" in text
    assert "Bayes" in text
