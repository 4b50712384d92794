"""What is timed of two ranks."""

import pytest

from benchmarks import ranks
from benchmarks.ranks import WORKS, line, timed
from wgflow.config import build
from wgflow.distributed.islands import share
from wgflow.distributed.ranks import ALONE, Ranks

SMALL = {
    "data": {"name": "moons", "size": 200},
    "training": {"batch_size": 8},
    "scheme": {"dynamics": {"size": 16, "held_out": 16}},
}


@pytest.mark.parametrize("name", WORKS)
def test_two_ranks_take_half_of_every_work(name):
    whole = WORKS[name][1]
    half = share(whole, Ranks(1, 2))
    assert half.training.batch_size * 2 == whole.training.batch_size
    assert half.scheme.dynamics.size * 2 == whole.scheme.dynamics.size


def test_a_step_alone_takes_time(monkeypatch):
    monkeypatch.setitem(WORKS, "small", (2, build(SMALL)))
    assert min(timed("small", ALONE, "")) > 0


def test_the_line_tells_how_many_times_as_fast_two_are(monkeypatch):
    monkeypatch.setattr(ranks, "of", lambda name, size: (0.3 / size, 0.4 / size**2))
    assert line("plane, default").split()[2:] == [
        "300.0",
        "150.0",
        "2.00",
        "400.0",
        "100.0",
        "4.00",
    ]
