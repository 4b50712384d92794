"""Inpainting and denoising from the command line."""

import numpy as np
import pytest
import torch
from command_line import refused, size, succeed, told

from wgflow.tasks import denoise as denoising


def test_inpainting_keeps_what_is_known(runs, tmp_path):
    folder, out = runs["digits"].path, tmp_path / "x.npy"
    options = ["-n", 3, "--draws", 2, "--approach", 2, "--steps", 1, "--out", out]
    assert told("inpaint", folder, "--mask", "left", *options)["shape"] == [3, 2, 1, 8, 8]
    x, y = runs["digits"].dataset.test[:3, None].numpy(), np.load(out)
    assert np.allclose(y[..., 4:], np.broadcast_to(x, y.shape)[..., 4:], atol=1e-5)
    assert not np.allclose(y[:, 0, ..., :4], y[:, 1, ..., :4])
    succeed("inpaint", folder, *options, "--sampler", "ula", "--start", "noise", "--mode")
    picture = tmp_path / "x.png"
    succeed("inpaint", folder, *options[:-1], picture)
    assert size(picture) == (8 * (2 + 2), 8 * 3)
    assert "must be one of path, noise" in refused("inpaint", folder, "--start", "here")
    assert "`sampler` must be one of" in refused("inpaint", folder, "--sampler", "hmc")


def test_inpainting_points_by_files(runs, tmp_path):
    folder, file, mask, out = (runs["moons"].path, *(tmp_path / n for n in "abc"))
    file, mask, out = (f.with_suffix(".npy") for f in (file, mask, out))
    np.save(file, np.array([[0.5, 9.0], [1.0, 9.0]]))
    np.save(mask, np.array([False, True]))
    inputs = ["inpaint", folder, "--input", file, "--steps", 3, "--out", out]
    succeed(*inputs, "--mask", mask, "--draws", 4)
    y = np.load(out)
    assert y.shape == (2, 4, 2)
    np.save(mask, np.array([0, 1], np.uint8))
    succeed(*inputs, "--mask", mask, "--draws", 4)
    assert np.array_equal(y, np.load(out))
    assert np.allclose(y[..., 0], [[0.5], [1.0]])
    assert abs(y[..., 1]).max() < 8
    assert "Sides are of images: expected a mask FILE.npy" in refused(*inputs)
    assert "`side` must be one of left" in refused(*inputs, "--mask", "lft")
    assert "expected the scheme energy-matching" in refused(
        *inputs, "--mask", mask, "--start", "path"
    )
    np.save(file, np.zeros((2, 3)))
    assert "must hold points of shape (2,): got an array of shape (2, 3)" in refused(
        *inputs, "--mask", mask
    )
    assert "read from an .npy file" in refused("inpaint", folder, "--input", "x.txt")


def test_denoising_tells_errors_of_what_it_knows(runs, tmp_path):
    digits, out = runs["digits"], tmp_path / "x.npy"
    few = ["--steps", 2, "--burn-in", 1, "-n", 4, "--noise", 0.25, "--out", out]
    found = told("denoise", digits.path, *few)
    assert found["columns"] == ["clean", "noisy", "mode", "mean", "flow"]
    assert found["rms"]["noisy"] == pytest.approx(0.25, rel=0.2)
    x, mean = digits.dataset.test[:4].numpy(), np.load(out)
    assert found["rms"]["mean"] == pytest.approx(np.sqrt(((mean - x) ** 2).mean()), rel=1e-4)
    assert "root mean squared error" in succeed("denoise", digits.path, *few)
    given = tmp_path / "y.npy"
    np.save(given, x)
    unknown = told("denoise", digits.path, *few, "--input", given)
    assert (unknown["columns"], unknown["rms"]) == (["noisy", "mode", "mean", "flow"], {})
    moons = told("denoise", runs["moons"].path, *few)
    assert moons["columns"] == ["clean", "noisy", "mode", "mean"]
    assert "`noise` must be > 0 and finite: got 0" in refused("denoise", digits.path, "--noise", 0)


def test_the_prior_of_denoising_has_a_temperature(runs, tmp_path):
    """Above all temperatures only the observation is left, whose mode is itself."""
    few = ["--steps", 1, "--burn-in", 0, "--noise", 0.25, "--out", tmp_path / "x.npy"]
    cold, hot = (
        told("denoise", runs["moons"].path, *few, "--temperature", t)["rms"] for t in (1, 1e12)
    )
    assert hot["mode"] == pytest.approx(hot["noisy"], rel=1e-4)
    assert cold["mode"] != pytest.approx(cold["noisy"], rel=1e-2)


def test_noise_is_in_units_of_the_data_and_chains_begin_at_the_flow(runs, tmp_path, monkeypatch):
    digits = runs["digits"]

    def fake(energy, y, sigma, *arguments, **options):
        assert torch.allclose(sigma, (0.25 / digits.dataset.scale).expand_as(sigma))
        assert torch.equal(options["start"], digits.flow.denoise(y, sigma))
        return denoising.Denoised(y, y, y)

    monkeypatch.setattr(denoising, "denoise", fake)
    succeed("denoise", digits.path, "--noise", 0.25, "--out", tmp_path / "x.npy")


def test_other_columns_are_drawn_given_some(runs, tmp_path):
    folder, out = runs["moons"].path, tmp_path / "x.csv"
    options = ["inpaint", folder, "--out", out, "-n", 40, "--given"]
    found = told(*options, "x1=0.25")
    assert found["known"] == {"x1": 0.25}
    header, *rows = out.read_text().splitlines()
    assert header == "x0,x1"
    x = np.array([line.split(",") for line in rows], float)
    assert x.shape == (40, 2)
    assert (x[:, 1] == 0.25).all()
    assert found["columns"]["x0"]["mean"] == pytest.approx(x[:, 0].mean(), rel=1e-4)
    first = out.read_text()
    assert "Wrote 40 draws of x0" in succeed(*options, "1=0.25")
    assert out.read_text() == first
    assert "--given must be COLUMN=VALUE: got 'x1'" in refused(*options, "x1")
    assert "a finite number as its value: got 'a'" in refused(*options, "x1=a")
    assert "each column once: got 'x1' twice" in refused(*options, "x1=1", "--given", "x1=2")
    assert "got 'y'; the columns are x0, x1" in refused(*options, "y=1")
    assert "--given or --input must say" in refused(*options, "x1=1", "--input", "a.csv")
    assert "must have a finite number" in refused(*options, "x1=inf")


def test_empty_cells_of_a_table_are_filled(runs, tmp_path):
    folder, gaps, out = runs["moons"].path, tmp_path / "gaps.csv", tmp_path / "full.csv"
    gaps.write_text("x1,x0\n0.5,\n,\n0.25,1\n")
    options = ["inpaint", folder, "--input", gaps, "--out", out]
    found = told(*options, "--draws", 2)
    assert found == {"path": str(out), "rows": 3, "draws": 2, "cells": 3, "seed": 0}
    header, *rows = out.read_text().splitlines()
    x = np.array([line.split(",") for line in rows], float)
    assert (header, x.shape) == ("x0,x1", (6, 2))
    assert np.array_equal(x[[0, 1, 4, 5], 1], [0.5, 0.5, 0.25, 0.25])
    assert np.array_equal(x[4:, 0], [1, 1])
    assert len({*x[:4, 0]}) == 4
    said = succeed(*options, "-n", 1)
    assert said.startswith(f"Filled 1 cells in 1 of 1 rows; wrote them to {out}.")
    gaps.write_text("x1,y\n0.5,\n")
    assert "must have columns of the names x0, x1: got 'y'" in refused(*options)
