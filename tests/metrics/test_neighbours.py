"""Precision, recall, density and coverage by their definitions; copies are found."""

import pytest
import torch

from wgflow.metrics.neighbours import copying, nearest, overlap

F64 = torch.float64


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cloud(seed, n=60, shape=(3,)):
    return torch.randn(n, *shape, generator=seeded(seed), dtype=F64)


def within(x, k):
    """Radii, and for every point of any set the balls that it lies in, point by point."""
    radii = [sorted(float((a - b).norm()) for b in x)[k] for a in x]  # the nearest is itself
    return lambda p: [float((p - a).norm()) <= r for a, r in zip(x, radii, strict=True)]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_shares_are_those_of_the_definitions(k):
    x, y = 0.8 * cloud(0, 30), cloud(1, 40)
    in_x, in_y = within(x, k), within(y, k)
    balls = [in_y(p) for p in x]
    expected = {
        "precision": sum(map(any, balls)) / 30,
        "recall": sum(any(in_x(p)) for p in y) / 40,
        "density": sum(map(sum, balls)) / (k * 30),
        "coverage": sum(any(row[j] for row in balls) for j in range(40)) / 40,
    }
    found = {n: float(v) for n, v in overlap(x, y, neighbours=k, chunk=7)._asdict().items()}
    assert found == pytest.approx(expected, abs=1e-12)
    assert len(set(found.values())) == 4


def test_points_on_a_line():
    y = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # radii 1, 1, 2, 7
    x = torch.tensor([[0.5], [20.0], [2.5]])  # radii 2, 17.5, 2
    found = overlap(x, y, neighbours=1)
    # 0.5 lies in the balls of 0 and 1; 2.5 in that of 3; 20 in none.
    assert [float(share) for share in found] == pytest.approx([2 / 3, 1, 3 / 3, 3 / 4])


def test_far_sets_share_nothing():
    assert [float(share) for share in overlap(cloud(0) + 100, cloud(1))] == [0, 0, 0, 0]


def test_identical_sets_share_everything():
    found = overlap(cloud(0), cloud(0))
    assert [float(found.precision), float(found.recall), float(found.coverage)] == [1, 1, 1]
    assert float(found.density) >= 1


def test_a_dropped_mode_costs_recall_and_coverage_not_precision():
    y = torch.cat([cloud(1, 300), cloud(2, 300) + 50])
    found = overlap(cloud(0, 600), y)
    assert float(found.precision) > 0.95
    assert float(found.recall) == pytest.approx(0.5, abs=0.05)
    assert float(found.coverage) == pytest.approx(0.5, abs=0.05)


def test_samples_off_the_data_cost_precision_and_density_not_recall():
    x = torch.cat([cloud(1, 300), cloud(2, 300) + 50])
    found = overlap(x, cloud(0, 600))
    assert float(found.recall) > 0.95
    assert float(found.precision) == pytest.approx(0.5, abs=0.05)
    assert float(found.density) == pytest.approx(0.5, abs=0.1)


def test_an_outlier_of_the_reference_raises_precision_not_density():
    x, y = cloud(0, 100) + 8, torch.cat([cloud(1, 100), cloud(2, 1) + 12])
    found = overlap(x, y)
    assert float(found.precision) > 0.9
    assert float(found.density) < 0.25


def test_outliers_of_the_samples_raise_recall_not_coverage():
    x = torch.cat([cloud(0, 20) * 0.01, torch.eye(3, dtype=F64) * 6, -torch.eye(3, dtype=F64) * 6])
    found = overlap(x, cloud(1, 200))
    assert float(found.recall) > 0.95
    assert float(found.coverage) < 0.5


def shares(x, y, **options):
    return [float(share) for share in overlap(x, y, **options)]


def test_order_chunks_translation_and_event_shape_change_nothing():
    x, y = cloud(0, 50, (6,)), cloud(1, 73, (6,)) * 1.2
    whole = pytest.approx(shares(x, y))
    assert shares(x, y, chunk=11) == whole
    assert shares(x.flip(0), y[torch.randperm(73, generator=seeded(4))]) == whole
    assert shares(x + 1e5, y + 1e5) == whole
    assert shares(x.reshape(50, 2, 3), y.reshape(73, 2, 3)) == whole


# Copies ------------------------------------------------------------------------------------------

TRAIN, HELD_OUT = cloud(0, 500, (1, 4, 4)), cloud(1, 300, (1, 4, 4))


def test_copies_have_ratio_zero_and_their_originals_are_found():
    chosen = torch.tensor([3, 499, 0, 77])
    found = copying(TRAIN[chosen] + 0, TRAIN, HELD_OUT, chunk=100)
    assert found.neighbours.tolist() == chosen.tolist()
    assert found.distances.tolist() == [0, 0, 0, 0]
    assert found.ratio == 0


def test_fresh_samples_have_a_ratio_near_one_and_near_copies_between():
    assert copying(cloud(2, 300, (1, 4, 4)), TRAIN, HELD_OUT).ratio == pytest.approx(1, abs=0.05)
    noise = 0.1 * cloud(3, 300, (1, 4, 4))
    found = copying(TRAIN[:300] + noise, TRAIN, HELD_OUT)
    torch.testing.assert_close(found.distances, noise.flatten(1).norm(dim=1))
    assert 0.05 < found.ratio < 0.25


def test_held_out_distances_are_those_to_the_training_set():
    found = copying(TRAIN[:5] + 1, TRAIN, HELD_OUT, chunk=64)
    distances = torch.cdist(HELD_OUT.flatten(1), TRAIN.flatten(1))
    torch.testing.assert_close(found.fresh, distances.amin(1))
    ratio = float(found.distances.median() / distances.amin(1).median())
    assert found.ratio == pytest.approx(ratio, rel=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 500, 4096])
def test_chunks_do_not_change_the_nearest_point(chunk):
    places, distances = nearest(HELD_OUT[:20], TRAIN, chunk=chunk)
    expected = torch.cdist(HELD_OUT[:20].flatten(1), TRAIN.flatten(1)).min(1)
    assert torch.equal(places, expected.indices)
    torch.testing.assert_close(distances, expected.values)


def test_float32_copies_far_from_the_origin_are_still_at_distance_zero():
    train = TRAIN.float() + 1000
    assert copying(train[:9], train, HELD_OUT.float() + 1000).distances.tolist() == [0.0] * 9


# Errors ------------------------------------------------------------------------------------------

ERRORS = [
    (lambda: overlap(cloud(0), cloud(1), neighbours=0), "`neighbours` must be > 0"),
    (lambda: overlap(cloud(0, 5), cloud(1)), "must have 6 points: got 5 and 60"),
    (lambda: overlap(cloud(0), cloud(1)[:, :2]), r"the shape \(2,\) of the reference: got \(3,\)"),
    (lambda: copying(TRAIN, TRAIN, TRAIN), r"`held_out` must be new.* > 0: got 0\.0"),
    (lambda: nearest(TRAIN[:0], TRAIN), "must have 1 points: got 0 and 500"),
    (lambda: nearest(TRAIN / 0, TRAIN), "must be finite"),
]


@pytest.mark.parametrize(("call", "match"), ERRORS)
def test_errors_name_rule_expected_and_got(call, match):
    with pytest.raises(ValueError, match=match):
        call()
