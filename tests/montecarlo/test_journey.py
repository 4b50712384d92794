"""What is kept of the way of particles: how much of it, which of them, and that it goes on."""

import math

import pytest
import torch
from problems import F64, double, seeded, z_score

from wgflow.montecarlo import journey
from wgflow.montecarlo.base import Stage
from wgflow.montecarlo.journey import FRAMES, NUMBERS, POINTS, Journey, framed
from wgflow.storage import checkpoint


def stage(beta=0.5, count=20, d=2):
    x = torch.arange(count * d, dtype=F64).reshape(count, d)
    return Stage(beta, x, torch.zeros(count, dtype=F64))


def walked(steps, begun=None, first=0):
    way = Journey() if begun is None else begun
    for step in range(first, steps):
        way = way.after([stage(step / 1000)], {"beta": step / 1000})
    return way


@pytest.mark.parametrize("steps", [1, FRAMES, FRAMES + 1, 200, 1000])
def test_frames_are_few_and_evenly_apart(steps):
    way = walked(steps)
    assert len(way.frames) <= FRAMES
    assert len(way.frames) > min(steps, FRAMES) / 2 - 1
    assert [f.step for f in way.frames] == list(range(0, steps, way.every))
    assert [f.beta for f in way.frames] == [f.step / 1000 for f in way.frames]
    assert len(way.metrics) == steps


def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path):
    checkpoint.save(tmp_path / "half", walked(70))
    half = checkpoint.load(tmp_path / "half", (Journey, journey.Frame))
    whole, again = walked(150), walked(150, half, 70)
    assert (whole.every, whole.metrics) == (again.every, again.metrics)
    for a, b in zip(whole.frames, again.frames, strict=True):
        assert torch.equal(a.x, b.x)


def test_points_are_drawn_by_their_weights():
    x = torch.randn(20_000, 2, dtype=F64, generator=seeded(0))
    tilted = Stage(0.3, x, x[:, 0])  # N(0, 1) weighed by e^x is N(1, 1)
    frame = framed(tilted, 7)
    assert (frame.step, frame.beta) == (7, 0.3)
    assert (frame.x.shape, frame.x.dtype) == ((POINTS, 2), torch.float32)
    assert z_score(frame.x.double(), double([1.0, 0.0])).abs().max() < 4
    assert torch.equal(frame.x, framed(tilted, 7).x)
    # Any part of them stands for all.
    assert z_score(frame.x[:200].double(), double([1.0, 0.0])).abs().max() < 4


def test_memory_is_bounded_in_many_coordinates():
    d = NUMBERS // 10
    assert framed(Stage(0.0, torch.zeros(50, d), torch.zeros(50)), 0).x.shape == (10, d)


def test_replicas_are_frames_side_by_side_that_grow_while_their_temperatures_stay():
    replicas = [stage(beta, 300) for beta in (0.0, 0.2, 1.0)]
    way = Journey().after([stage(0.0), stage(1.0)], {}).after(replicas, {})
    assert [f.beta for f in way.frames] == [0.0, 0.2, 1.0]
    assert [len(f.x) for f in way.frames] == [300] * 3
    for _ in range(4):
        way = way.after(replicas, {"ess": math.nan})
    assert [len(f.x) for f in way.frames] == [POINTS] * 3
    assert len(way.metrics) == 6
    many = Journey().after([stage(k / 99, 2) for k in range(100)], {})
    assert len(many.frames) == FRAMES
    assert (many.frames[0].beta, many.frames[-1].beta) == (0, 1)
