"""The stream of batches: permutations, flips, noise; resumed is uninterrupted."""

import numpy as np
import pytest
import torch

from wgflow.data.batches import Batches
from wgflow.data.lazy import LazyPoints


def rows(x):
    return {tuple(row) for row in x.flatten(1).tolist()}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_each_epoch_is_a_fresh_permutation():
    x = torch.arange(12.0)[:, None]
    stream = Batches(x, 4, generator=generator())
    epochs = [torch.cat([next(stream) for _ in range(3)]) for _ in range(2)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(0).values, x)
    assert not torch.equal(*epochs)


def test_left_over_points_come_in_a_later_epoch():
    x = torch.arange(10.0)[:, None]
    stream = Batches(x, 4, generator=generator())
    for _ in range(5):
        assert len(rows(torch.cat([next(stream), next(stream)]))) == 8
    counts = torch.cat([next(stream) for _ in range(4_000)]).long().flatten().bincount()
    # Each epoch takes 8 of 10: variance 0.16 per epoch and point, over 2,000 epochs.
    assert ((counts - 1_600).abs() < 4 * (2_000 * 0.16) ** 0.5).all()


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 7])
def test_resumed_batches_are_the_uninterrupted_ones(taken):
    x = torch.randn(11, 2, generator=generator())
    stream = Batches(x, 4, generator=generator(1))
    for _ in range(taken):
        next(stream)
    state = stream.state_dict()
    expected = [next(stream) for _ in range(9)]
    resumed = Batches(x, 4, generator=generator(2))
    resumed.load_state_dict(state)
    for batch in expected:
        assert torch.equal(next(resumed), batch)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_batches_are_seeded_and_leave_the_generator_alone_afterwards():
    x = torch.arange(8.0)[:, None]
    shared = generator(5)
    stream = Batches(x, 4, generator=shared)
    before = shared.get_state()
    first = [next(stream) for _ in range(5)]
    assert torch.equal(shared.get_state(), before)
    again = Batches(x, 4, generator=generator(5))
    assert all(torch.equal(next(again), batch) for batch in first)


@pytest.mark.parametrize("size", [0, 6])
def test_a_batch_must_fit(size):
    with pytest.raises(ValueError, match=f"`size` of a batch must be 1 to 5: got {size}"):
        Batches(torch.zeros(5, 1), size)


def test_state_of_other_data_is_refused():
    stream = Batches(torch.zeros(5, 1), 2)
    with pytest.raises(ValueError, match="must be of 6 points: got one of 5"):
        Batches(torch.zeros(6, 1), 2).load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match=r"must hold epoch, position and points: got \['a'\]"):
        stream.load_state_dict({"a": torch.zeros(1)})


def test_flips_mirror_half_of_the_images():
    x = torch.rand(500, 3, 4, 5, generator=generator())
    stream = Batches(x, 100, flips=True, generator=generator(1))
    count, pattern = 0, []
    for _ in range(4):
        epoch = torch.cat([next(stream) for _ in range(5)])
        where = (epoch[:, None, 0, 0] == x[None, :, 0, 0]).all(-1)
        mirrored = (epoch.flip(-1)[:, None, 0, 0] == x[None, :, 0, 0]).all(-1)
        assert torch.equal(where.sum(0) + mirrored.sum(0), torch.ones(500).long())
        index = (where | mirrored).int().argmax(1)
        straight = torch.where(mirrored.any(1)[:, None, None, None], epoch.flip(-1), epoch)
        assert torch.equal(straight, x[index])
        count += int(mirrored.sum())
        pattern.append(mirrored.any(0))
    assert abs(count - 1000) < 4 * 500**0.5
    assert not torch.equal(pattern[0], pattern[1])


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 7])
def test_flips_resume_bit_for_bit(taken):
    x = torch.rand(11, 1, 3, 4, generator=generator())
    stream = Batches(x, 4, flips=True, generator=generator(1))
    for _ in range(taken):
        next(stream)
    state = stream.state_dict()
    expected = [next(stream) for _ in range(9)]
    resumed = Batches(x, 4, flips=True, generator=generator(2))
    resumed.load_state_dict(state)
    assert all(torch.equal(next(resumed), batch) for batch in expected)


def test_smoothing_adds_fresh_noise_of_its_deviation():
    x = torch.zeros(1000, 3, dtype=torch.float64)
    stream = Batches(x, 500, noise=0.3, generator=generator(1))
    first, second, third = (next(stream) for _ in range(3))
    both = torch.cat([first, second, third])
    for other in (second, third):
        assert abs(float((first * other).mean())) < 4 * 0.09 / 1500**0.5
    square = both.flatten() ** 2
    assert abs(float(square.mean() - 0.09)) < 4 * float(square.std()) / len(square) ** 0.5


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_smoothing_resumes_bit_for_bit(taken):
    x = torch.rand(10, 2, generator=generator(0))
    stream = Batches(x, 4, noise=0.1, generator=generator(1))
    for _ in range(taken):
        next(stream)
    state = stream.state_dict()
    expected = [next(stream) for _ in range(4)]
    resumed = Batches(x, 4, noise=0.1, generator=generator(2))
    resumed.load_state_dict(state)
    for batch in expected:
        assert torch.equal(next(resumed), batch)


def test_flips_are_of_images():
    with pytest.raises(ValueError, match=r"`flips` needs points \(channels.*got \(2,\)"):
        Batches(torch.zeros(5, 2), 2, flips=True)


def test_numbers_with_noise_are_renewed_in_every_batch():
    values = np.arange(6.0)[:, None] + 0.25
    points = LazyPoints(values, torch.arange(6), torch.float64, renew=renewed)
    batches = Batches(points, 6, generator=torch.Generator().manual_seed(0))
    first, second = (next(batches).flatten().sort().values for _ in range(2))
    assert torch.equal(first.floor(), torch.arange(6.0).double())
    assert torch.equal(second.floor(), first.floor())
    assert (first != second).all()
    assert points[:].flatten().tolist() == values.flatten().tolist()
    doubled = points.map(lambda x: 2 * x).fresh(torch.arange(6))
    assert torch.equal((doubled / 2).floor().flatten(), first.floor())


def renewed(x, generator):
    return x.floor() + torch.rand(x.shape, dtype=x.dtype, generator=generator)
