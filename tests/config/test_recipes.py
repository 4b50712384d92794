"""Recipes are whole configurations, found by name, and chosen by the kind of data."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from wgflow.config import Config, Training, loads
from wgflow.config.recipes import MANY, configure, names, recipe, usual
from wgflow.schemes import DetailedBalance, DualScoreMatching, Joint


def read(name):
    return loads(recipe(name).read_text("utf8"))


def test_the_recipes():
    images = ["images", "images-density", "images-equilibrium"]
    assert names() == [*images, "large-tables", "plane", "tables"]
    plane = configure(None, "plane")
    assert replace(plane, scheme=Config().scheme, training=Training()) == Config()
    assert plane.scheme == replace(Config().scheme, inner_steps=1)


@pytest.mark.parametrize("name", names())
def test_a_recipe_is_a_configuration_of_no_data(name):
    assert read(name).data.name == loads("").data.name


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ValueError, match=r"one of images, images-density, .* got 'imgs'"):
        recipe("imgs")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("moons", "plane"),
        ("points.csv", None),
        ("digits", "tables"),
        ("mnist", "images"),
        ("fashion-mnist", "images"),
        ("hf:cifar10", "images"),
    ],
)
def test_kinds_of_data_have_settings_of_their_own(source, expected):
    assert usual(source) == expected


def written(path, rows):
    """The same table in each format that has a header or an end."""
    x = np.zeros((rows, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 1]})
    {
        ".csv": lambda: csv.write_csv(table, path),
        ".tsv": lambda: csv.write_csv(table, path, csv.WriteOptions(delimiter="\t")),
        ".parquet": lambda: parquet.write_table(table, path),
        ".npy": lambda: np.save(path, x),
        ".npz": lambda: np.savez(path, x=x),
    }[path.suffix]()
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npy", ".npz"])
def test_many_rows_have_settings_of_their_own(tmp_path, suffix):
    few = written(tmp_path / f"few{suffix}", MANY // 2)
    many = written(tmp_path / f"many{suffix}", MANY)
    assert (usual(few), usual(many)) == ("tables", "large-tables")
    assert configure(many).training.learning_rate == read("large-tables").training.learning_rate
    some = f"data.size={MANY - 1}"
    assert configure(many, None, some).training == read("tables").training
    assert configure(many, "large-tables", some).training == read("large-tables").training


def test_many_rows_of_a_frame_have_them_too():
    for count, name in ((MANY - 1, "tables"), (MANY, "large-tables")):
        assert configure(pd.DataFrame({"a": np.arange(count)})).training == read(name).training


def test_large_tables_are_tables_with_a_trial_and_cheaper_steps():
    few, many = read("tables"), read("large-tables")
    inner = replace(many.scheme.scheme, dynamics=few.scheme.scheme.dynamics)
    alike = replace(many.scheme, scheme=inner, inner_steps=few.scheme.inner_steps)
    assert few.scheme == alike
    assert few.energy == replace(many.energy, features=few.energy.features, start="stack")
    assert many.energy.start == "trial"
    assert few.training.steps == many.training.steps
    cost, less = (
        c.scheme.inner_steps * c.scheme.scheme.dynamics.size + c.scheme.scheme.dynamics.draws
        for c in (few, many)
    )
    assert cost > less


def test_folders_are_of_images(tmp_path):
    assert usual(str(tmp_path)) == "images"


def test_a_folder_does_not_hide_a_known_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("moons", "digits"):
        (tmp_path / name).mkdir()
    assert usual("moons") == "plane"
    assert usual("digits") == "tables"


def test_images_that_begin_with_an_energy_are_in_the_second_phase():
    assert usual("mnist", begun=True) == "images-density"
    assert usual("moons", begun=True) == "plane"


def test_the_equilibrium_goes_on_with_the_density():
    second, third = read("images-density"), read("images-equilibrium")
    assert isinstance(third.scheme, Joint)
    assert isinstance(third.scheme.equilibrium, DetailedBalance)
    assert (second.energy, second.scheme, second.dtype, second.data) == (
        third.energy,
        third.scheme.transport,
        third.dtype,
        third.data,
    )
    sampler = third.scheme.equilibrium.dynamics.sampler
    assert sampler.width == third.energy.lowest
    assert sampler.step_size == pytest.approx(sampler.width**2 / 4)


def test_the_density_begins_with_the_network_of_the_transport():
    first, second = read("images"), read("images-density")
    assert isinstance(second.scheme, DualScoreMatching)
    for name in ("widths", "blocks", "patch", "attention", "spectral"):
        assert getattr(first.energy, name) == getattr(second.energy, name)
    assert second.data.smoothing == second.energy.lowest
    wells = first.scheme.temperature * (1 - first.scheme.cutoff)
    assert second.energy.lowest == pytest.approx(wells**0.5)
    assert first.dtype == second.dtype
