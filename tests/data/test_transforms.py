"""Maps of columns: inverses, derivatives, bounds, and when they are chosen."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from wgflow.data import gaussianise
from wgflow.data.dataset import load
from wgflow.data.gaussianise import BOUNDS, GAIN, fitted
from wgflow.data.transforms import Column, Transform

COLUMNS = (
    Column(),
    Column("yeo-johnson", 1.0, 0.5, 0.0),
    Column("yeo-johnson", -3.0, 2.0, 0.4),
    Column("asinh", -3.0, 0.5),
    Column("log", 0.0, 4.0, 1e-4),
    Column("logit", 0.0, 1.0, 1e-3),
    Column("logit", -1.0, 2.0, 0.04),
    Column("logit", 0.0, 100.0, 1e-6),
)
MAPS = Transform(COLUMNS)
LOW = torch.tensor([-math.inf] * 4 + [0.0, 0.0, -1.0, 0.0]).double()
HIGH = torch.tensor([math.inf] * 5 + [1.0, 1.0, 100.0]).double()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=200, spread=3.0):
    """y of all sizes that a standardised column has."""
    noise = torch.randn(count, len(COLUMNS), generator=seeded(), dtype=torch.float64)
    return spread * noise


def test_inverse_undoes_the_maps():
    x = MAPS.inverse(images())
    torch.testing.assert_close(MAPS.forward(x), images(), rtol=1e-9, atol=1e-7)
    beyond = ((x < LOW) | (x > HIGH)).any(0)
    assert beyond.tolist() == [False] * 4 + [False, True, True, False]


def test_maps_increase_and_the_derivative_is_theirs():
    # Zero deviations too, where both halves of Yeo and Johnson's map meet.
    x = torch.cat([MAPS.inverse(images()), MAPS.inverse(torch.zeros(1, 8).double())])
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(MAPS.forward(x).sum(), x)
    assert (slope > 0).all()
    torch.testing.assert_close(slope.log(), MAPS.log_derivative(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0, 1.7, 2.0])
def test_yeo_johnson_is_that_of_scipy(power):
    x = np.linspace(-5, 5, 101)
    found = Transform((Column("yeo-johnson", shape=power),)).forward(torch.tensor(x)[:, None])
    np.testing.assert_allclose(found[:, 0].numpy(), stats.yeojohnson(x, power), atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_point_leaves_its_bounds_however_it_is_rounded(dtype):
    far = torch.tensor([-1e4, -100.0, 100.0, 1e4])[:, None].expand(4, 8)
    x = MAPS.within(MAPS.inverse(far.double(), dtype))
    assert x.dtype == dtype
    x = x.double()[:, 4:]
    assert ((x > LOW[4:]) & (x <= HIGH[4:])).all()
    assert (x[:, 1:] < HIGH[5:]).all()


@pytest.mark.parametrize("kind", ["log", "logit"])
@pytest.mark.parametrize("z", [0.03, 0.02, 0.01, 0.0, -0.5, -300.0])
def test_a_bound_bends_from_the_nearest_known_point_on(kind, z):
    """The curve beyond is that within, turned about it."""
    delta, b = 0.02, 4.0
    maps = Transform((Column(kind, 1.0, b, delta),))
    x = torch.tensor([[1 + b * z]], dtype=torch.float64)
    near = math.log(z) if z >= delta else 2 * math.log(delta) - math.log(2 * delta - z)
    expected = near - (math.log1p(-z) if kind == "logit" else 0.0)
    assert float(maps.forward(x)) == pytest.approx(expected, rel=1e-12)
    assert float(maps.inverse(maps.forward(x))) == pytest.approx(float(x), rel=1e-9, abs=1e-9)
    if kind == "logit":
        other = torch.tensor([[1 + b * (1 - z)]], dtype=torch.float64)
        assert float(maps.forward(other)) == pytest.approx(-expected, rel=1e-9)
        assert float(maps.inverse(maps.forward(other))) == pytest.approx(float(other), rel=1e-9)


def test_points_beyond_a_bound_are_reflected_and_others_stay():
    maps = Transform((Column("log", 1.0, 4.0, 0.01), Column("logit", 0.0, 2.0, 0.1), Column()))
    x = torch.tensor([[2.0, 0.5, -9.0], [0.99, 2.05, 9.0], [0.5, -7.0, 0.0]]).double()
    expected = torch.tensor([[2.0, 0.5, -9.0], [1.01, 1.95, 9.0], [1.04, 0.2, 0.0]]).double()
    torch.testing.assert_close(maps.within(x), expected)


def test_bounds_bend_at_the_nearest_train_point():
    share = 100 * (2 * normal(2000, seed=1) + 1).sigmoid()
    x = torch.stack([normal(2000).exp(), share], 1)
    maps = fitted(x, others=[0.5 * x[:1]])
    assert kinds(maps) == ["log", "logit"]
    least, most = x.aminmax(dim=0)
    nearest = (100 - most[1]) / 100
    assert nearest < least[1] / 100
    assert maps.columns[0].shape == pytest.approx(float(least[0] / x[:, 0].median()), rel=1e-3)
    assert maps.columns[1].shape == pytest.approx(float(nearest), rel=1e-9)


def test_a_point_as_near_to_a_bound_as_numbers_are_has_an_image():
    x = torch.stack([(3 * normal(2000)).exp(), (3 * normal(2000, seed=1)).sigmoid()], 1)
    x[0] = 5e-324
    maps = fitted(x)
    assert kinds(maps) == ["log", "logit"]
    y = maps.forward(x)
    assert y.isfinite().all()
    assert (y[1:] > y[0]).all()
    assert maps.log_derivative(x).isfinite().all()


def test_state_is_plain_and_gives_the_same_maps():
    assert Transform.from_state(MAPS.state()) == MAPS
    assert Transform.from_state(None) is None
    assert Transform(COLUMNS[1:]) != MAPS


def test_leading_axes_may_be_any():
    x = MAPS.inverse(images(6))
    assert torch.equal(MAPS.forward(x.reshape(2, 3, 8)).reshape(6, 8), MAPS.forward(x))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def kinds(maps):
    return [column.kind for column in maps.columns]


def test_each_kind_of_column_gets_its_map():
    z = normal(2000, 4)
    table = torch.stack(
        [5 + z[:, 0], (1.2 * z[:, 1]).exp(), 40 + z[:, 2].sinh() - 3 * z[:, 2].exp(), z[:, 3]], 1
    )
    table[:, 3] = 100 * (2 * table[:, 3]).sigmoid()
    maps = fitted(table)
    assert kinds(maps) == ["identity", "log", "yeo-johnson", "logit"]
    assert kinds(fitted(table, "yeo-johnson")) == ["identity", *["yeo-johnson"] * 2, "identity"]


@pytest.mark.parametrize("seed", range(3))
def test_two_heavy_tails_are_no_longer_heavy(seed):
    """Cauchy tails, and one row a million deviations away: the others keep their scale."""
    x = normal(2000, 2)
    x[:200, 0] = torch.tan(math.pi * (torch.rand(200, generator=seeded(seed)).double() - 0.5))
    x[7, 1] = 1e6
    maps = fitted(x)
    assert kinds(maps) == ["asinh", "asinh"]
    y = maps.forward(x)
    deviation = y.std(0)
    assert float(((y - y.mean(0)) / deviation).abs().max()) < 30
    bulk = y[200:].quantile(torch.tensor([0.25, 0.75]).double(), 0)
    assert ((bulk[1] - bulk[0]) / deviation > 0.8).all()  # of 1.35 for a Gaussian


def test_a_gaussian_of_any_units_and_correlation_is_left_alone():
    factor = torch.tensor([[1.0, 0.99, 0.2], [0.0, 0.1, 0.3], [0.0, 0.0, 50.0]]).double()
    assert fitted(20 + normal(500, 3) @ factor) is None
    assert fitted(normal(30, 2)) is None


def test_a_bound_that_any_point_refutes_is_none():
    x = normal(500, 1).exp()
    beyond = torch.zeros(1, 1).double()
    assert kinds(fitted(x)) == ["log"]
    assert kinds(fitted(x, others=[beyond])) == ["yeo-johnson"]
    numbers = fitted(x, "yeo-johnson")
    assert fitted(x, others=[beyond]) == numbers  # and says nothing else


def test_maps_bring_what_they_promise():
    """The Gaussian's log-likelihood of the rows, in their units, gains by each map."""

    def likelihood(x, maps):
        y = maps.forward(x)
        fit = torch.distributions.MultivariateNormal(y.mean(0), torch.cov(y.T, correction=0))
        return float((fit.log_prob(y) + maps.log_derivative(x).sum(1)).mean())

    x = (
        normal(1000, 3)
        @ torch.tensor([[1.0, 0.9, 0.5], [0.0, 0.3, 0.5], [0.0, 0.0, 0.5]]).double()
    )
    x = torch.cat([x[:, :2].exp(), x[:, 2:]], 1)
    maps = fitted(x)
    assert kinds(maps) == ["log", "log", "identity"]
    found = likelihood(x, maps)
    for j in range(2):
        less = Transform((*maps.columns[:j], Column(), *maps.columns[j + 1 :]))
        assert found - likelihood(x, less) > GAIN


def test_relations_between_columns_are_not_broken_for_the_sake_of_one():
    parts = normal(2000, 2).exp()
    total = parts.sum(1, keepdim=True) + 0.01 * normal(2000, 1, seed=1)
    assert kinds(fitted(parts)) == ["log", "log"]
    assert fitted(torch.cat([parts, total], 1), "yeo-johnson") is None  # they would gain alone


def test_units_of_learning_are_those_after_the_maps(tmp_path):
    z = normal(300, 2).numpy()
    np.save(tmp_path / "x.npy", np.stack([z[:, 0], np.exp(z[:, 1])], 1))
    data = load(tmp_path / "x.npy", transform="auto", validation_fraction=0.2)
    plain = load(tmp_path / "x.npy", validation_fraction=0.2)
    assert kinds(data.transform) == ["identity", "log"]
    assert torch.equal(data.train, plain.train)
    assert torch.equal(data.shift[:1], plain.shift[:1])
    u = data.learned
    torch.testing.assert_close(u.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(u.std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(data.unstandardise(u), data.train, rtol=1e-5, atol=1e-5)
    assert data.learned.dtype == data.train.dtype


def test_maps_of_a_file_that_stays_on_disk_are_the_same(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", normal(300, 2).exp().float().numpy())
    held = load(tmp_path / "x.npy", transform="auto")
    monkeypatch.setattr("wgflow.data.foreign.MAPPED", 1)
    mapped = load(tmp_path / "x.npy", transform="auto")
    assert mapped.transform == held.transform
    torch.testing.assert_close(mapped.scale, held.scale)
    torch.testing.assert_close(mapped.learned[:], held.learned)


def test_toy_sets_and_images_have_none():
    for name in ("moons", "digits"):
        mapped, plain = load(name, size=100, transform="auto"), load(name, size=100)
        assert mapped.transform is None
        assert torch.equal(mapped.shift, plain.shift)


def test_other_rules_are_refused():
    with pytest.raises(
        ValueError, match="`transform` must be one of auto, yeo-johnson: got 'log'"
    ):
        load("moons", transform="log")


def test_bounds_are_pairs_in_order():
    assert all(low < high for low, high in BOUNDS)


def test_a_point_far_out_among_those_that_are_not_the_first_is_seen(monkeypatch):
    """One of them is enough for a map; where the first have some, others add nothing."""
    monkeypatch.setattr(gaussianise, "ROWS", 500)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 2, generator=generator, dtype=torch.float64)
    far = x.clone()
    far[900, 1] = 1e6
    assert fitted(x) is None
    assert fitted(x, others=[far]) is None
    for found in (fitted(far), fitted(x, validation=far[800:])):
        assert [column.kind for column in found.columns] == ["identity", "asinh"]
    both = torch.cat([far[600:], far[:600]])
    rows = gaussianise._rows(both, [both, far])
    assert torch.equal(rows, both[:500])
