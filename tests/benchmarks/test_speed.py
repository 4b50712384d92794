"""The table of speeds: what is timed, and which way its ratios go."""

import importlib.util

import torch

from benchmarks.speed import Perceptron, lines, main, works
from wgflow.machine.bench import products


def test_the_products_are_those_of_the_perceptron():
    shapes = [tuple(y.shape) for y in products(Perceptron(), 5)()]
    assert shapes == [(5, 256), (5, 256), (5, 1), (5, 2), (5, 256), (5, 256)]


def test_a_ratio_above_one_says_that_wgflow_is_faster():
    found = {
        "WGFlow, Langevin": torch.tensor([20.0, 20.0, 20.0]),
        "WGFlow, MALA": torch.tensor([10.0, 10.0, 10.0]),
        "other, Langevin": torch.tensor([10.0, 10.0, 10.0]),
        "other, MALA": torch.tensor([20.0, 20.0, 20.0]),
    }
    told = lines(found)
    assert told[2].split()[-4:] == ["2.00", "(2.00", "to", "2.00)"]
    assert told[3].split()[-4:] == ["0.50", "(0.50", "to", "0.50)"]


def test_peers_that_are_not_installed_are_left_out(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert set(works(4)) == {"WGFlow, Langevin", "WGFlow, MALA", "products"}
    before = torch.get_num_threads()
    main(["--chains", "4", "--seconds", "0.01"])
    torch.set_num_threads(before)
    assert "4 chains" in capsys.readouterr().out
