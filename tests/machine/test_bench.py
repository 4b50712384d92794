"""What the bench counts as a step, and what it makes of the times."""

import time

import pytest
import torch
from command_line import refused, succeed, told
from torch import nn

from wgflow.cli.machine import gain_lines
from wgflow.machine import bench as bench_module
from wgflow.machine.bench import Gain, bench, in_turn, perceptron, products


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda energy: energy)


def test_calls_are_timed_in_turn():
    order = []
    works = {
        "slow": lambda: (order.append("slow"), time.sleep(0.004)),
        "fast": lambda: (order.append("fast"), time.sleep(0.001)),
    }
    found = in_turn(works, 0.004, rounds=3)
    assert {len(times) for times in found.values()} == {3}
    assert found["slow"].min() > found["fast"].min()  # of either, what nothing disturbed
    warm = order[4:]  # two calls of each come before
    blocks = [name for k, name in enumerate(warm) if k == 0 or warm[k - 1] != name]
    assert blocks == ["slow", "fast"] * 3


def test_the_products_are_those_of_one_gradient():
    layers = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
    shapes = [tuple(y.shape) for y in products(layers, 7)()]
    assert shapes == [(7, 5), (7, 1), (7, 3), (7, 5)]


def test_the_energy_is_the_default_one():
    sizes = [tuple(p.shape) for p in perceptron().parameters() if p.ndim == 2]
    assert sizes == [(2, 64), (128, 130), (128, 128)]
    assert not any(p.requires_grad for p in perceptron().parameters())


def test_it_measures_what_there_is_and_leaves_the_threads(uncompiled, monkeypatch):
    monkeypatch.setattr(bench_module, "usable_cores", lambda: 2)
    before = torch.get_num_threads()
    found = bench(0.05, chains=(8, 16))
    assert torch.get_num_threads() == before
    assert [speed.chains for speed in found.speeds] == [8, 16]
    assert all(min(speed) > 0 for speed in found.speeds)
    settings = {"2 threads", "mixed precision", "double precision", "compiled"}
    assert {gain.setting for gain in found.gains} == settings
    assert len(found.gains) == 8
    assert all(gain.low <= gain.ratio <= gain.high for gain in found.gains)
    assert found.failures == {}


def test_what_cannot_be_tried_is_said(monkeypatch):
    def broken(energy):
        def compiled(x):
            raise RuntimeError("no compiler\nfound")

        return compiled

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(bench_module, "usable_cores", lambda: 1)
    found = bench(0.02, chains=(4,))
    assert found.failures == {"threads": "there is one core", "compiled": "no compiler"}
    assert {gain.setting for gain in found.gains} == {"mixed precision", "double precision"}


def test_a_gain_is_how_many_times_faster_a_setting_is():
    def timed(works):
        assert list(works) == ["usual", "other"]
        both = {"usual": [4.0, 6.0, 4.0], "other": [2.0, 2.0, 2.0]}
        return {name: torch.tensor(times, dtype=torch.float64) for name, times in both.items()}

    energy = perceptron()
    gain = bench_module._gain("a", energy, bench_module.Setting(energy), 8, timed)
    assert gain == Gain("a", 8, 2.0, 2.0, 2.5)


@pytest.mark.parametrize(
    ("ratio", "low", "pays"), [(1.5, 1.2, True), (1.05, 1.04, False), (1.5, 0.9, False)]
)
def test_a_setting_pays_where_it_is_clearly_faster(ratio, low, pays):
    assert Gain("compiled", 64, ratio, low, 2.0).pays is pays


def test_a_line_says_where_a_setting_pays():
    gains = [Gain("a", 64, 0.5, 0.4, 0.6), Gain("a", 1024, 2.0, 1.9, 2.1)]
    (line,) = gain_lines([*gains])
    assert line == "a: 0.50 × at 64, 2.00 × at 1024; pays at 1024 chains"
    assert gain_lines(gains[:1])[0].endswith("does not pay here")


def test_the_verb_prints_both(uncompiled, monkeypatch):
    monkeypatch.setattr(bench_module, "bench", lambda seconds: bench(seconds, chains=(4,)))
    record = told("bench", "--seconds", 0.05)
    assert set(record) == {"speeds", "gains", "failures"}
    assert "double precision: " in succeed("bench", "--seconds", 0.05)
    assert "`seconds` must be > 0" in refused("bench", "--seconds", 0)
