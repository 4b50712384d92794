"""Densities of particles by blocks of coordinates: which blocks, and when a product is taken."""

import pytest
import torch
from problems import F64, double, seeded

from wgflow.data.targets import GaussianMixture
from wgflow.likelihood.quadrature import Grid
from wgflow.montecarlo.base import Counted, Problem
from wgflow.montecarlo.blocks import density_of, looking_independent
from wgflow.montecarlo.density import Block, LearnedDensity
from wgflow.montecarlo.near_proximal import NearProximalFlow, started as started_from
from wgflow.storage.checkpoint import load, save
from wgflow.targets.catalogue import named
from wgflow.targets.distributions import Mustache
from wgflow.targets.wells import ManyWell

GROUPS = torch.arange(2000) * 50 // 2000


def normal(count):
    return torch.randn(2000, count, dtype=F64, generator=seeded(1))


def lists(blocks):
    return [columns.tolist() for columns in blocks]


def test_coordinates_that_depend_by_value_or_by_square_are_in_one_block():
    bent = Mustache().sample(2000, dtype=F64, generator=seeded(0))
    wells = ManyWell(2).sample(2000, dtype=F64, generator=seeded(2))
    other = ManyWell(2).sample(2000, dtype=F64, generator=seeded(3))
    tilted = other @ double([[0.8, 0.6], [-0.6, 0.8]])
    x = torch.cat([bent[:, :1], wells, bent[:, 1:], tilted], 1)
    assert lists(looking_independent(x)) == [[0, 3], [1], [2], [4, 5]]


def test_normal_coordinates_need_no_product():
    one = ManyWell(2).sample(2000, dtype=F64, generator=seeded(0))[:, :1]
    assert lists(looking_independent(normal(4))) == [[0, 1, 2, 3]]
    assert lists(looking_independent(torch.cat([normal(2), one], 1))) == [[0, 1, 2]]
    assert lists(looking_independent(torch.cat([normal(2), one, one.flip(0)], 1))) == [
        *([0], [1]),
        *([2], [3]),
    ]


def test_a_constant_coordinate_is_a_block():
    x = torch.cat([normal(2).exp(), torch.ones(2000, 1, dtype=F64)], 1)
    assert lists(looking_independent(x)) == [[0], [1], [2]]


def test_many_wells_are_a_product_and_one_mixture_of_as_many_modes_is_worse():
    law = ManyWell(12)
    x, fresh = (law.sample(2000, dtype=F64, generator=seeded(n)) for n in (0, 1))
    blocks = density_of(x, GROUPS)
    assert lists(b.columns for b in blocks) == [[j] for j in range(12)]
    q = LearnedDensity(blocks)
    assert 0 < float((law.log_prob(fresh) - q.log_prob(fresh)).mean()) < 0.15


def test_modes_of_all_coordinates_at_once_are_no_product():
    law = GaussianMixture(double([[-3.0] * 4, [3.0] * 4]), 0.5)
    (block,) = density_of(law.sample(2000, dtype=F64, generator=seeded(0)), GROUPS)
    assert block.columns.tolist() == [0, 1, 2, 3]


def test_a_product_that_unseen_particles_do_not_like_is_not_taken():
    """Signs whose product is positive: uncorrelated, and so are the squares."""
    x = normal(3).sign() + 0.1 * torch.randn(2000, 3, dtype=F64, generator=seeded(2))
    x[:, 2] = x[:, 2].abs() * x[:, 0].sign() * x[:, 1].sign()
    assert len(looking_independent(x)) == 3
    assert len(density_of(10 * x, GROUPS)) == 1


PRODUCT = LearnedDensity(
    [
        Block(columns, density_of(law.sample(2000, dtype=F64, generator=seeded(3)), GROUPS)[0][1])
        for columns, law in (
            (torch.tensor([2, 0]), GaussianMixture(double([[-3.0, 0.0], [3.0, 1.0]]), 0.5)),
            (torch.tensor([1]), GaussianMixture(double([[-2.0], [2.0]]), 0.5, weights=[0.3, 0.7])),
        )
    ]
)


def test_a_product_is_normalised_and_drawn_by_its_columns():
    grid = Grid.box([-4.0, -6.0], [4.0, 6.0], 300)
    third = torch.zeros(len(grid.nodes), 1, dtype=F64)
    x = torch.cat([grid.nodes[:, :1], third, grid.nodes[:, 1:]], 1)
    alone = LearnedDensity([Block(torch.tensor([0]), PRODUCT.blocks[1].families)])
    at_zero = float((-alone(torch.zeros(1, 1, dtype=F64))).exp())
    total = float((-PRODUCT(x)).exp().sum() * grid.volume)
    assert total == pytest.approx(at_zero, rel=1e-3)
    drawn = PRODUCT.sample(4000, dtype=F64, generator=seeded(0))
    for half in drawn.chunk(2):
        assert float((half[:, 1] > 0).double().mean()) == pytest.approx(0.7, abs=0.03)
        assert float((half[:, 2] > 0).double().mean()) == pytest.approx(0.5, abs=0.03)
    first, second = ((half[:, 2] > 0).sum() for half in drawn.chunk(2))
    assert abs(first - second) <= 3  # by strata; at random it would be about 30
    one, two = (drawn[:, 1] > 0).double(), (drawn[:, 2] > 0).double()
    assert abs(float(torch.stack([one, two]).corrcoef()[0, 1])) < 4 / 4000**0.5


def test_many_wells_have_their_shares_and_log_z(tmp_path):
    """Of 64 modes, by a product that comes through a file as it was."""
    target = named("many-well", 12)
    method = NearProximalFlow(particles=1000, relative_ess=0.9)
    problem = Problem(Counted(target.reduced), target.start, torch.empty(0, 12, dtype=F64))
    state, g = method.init(problem, generator=seeded(0)), seeded(1)
    while method.progress(state) < 1:
        state = method.step(problem, state, generator=g)
    assert len(state.density) == 12
    save(tmp_path / "state", state)
    again = load(tmp_path / "state", method.state_types)
    x = normal(12)
    assert torch.equal(
        started_from(problem, again.density).start(x),
        started_from(problem, state.density).start(x),
    )
    found = method.result(problem, state, generator=g)
    assert abs(found.log_z.value - target.known.log_z) < max(4 * found.log_z.error, 0.02)
    assert found.log_z.error < 0.05
    shares = (found.x[:, 0::2] > 0).double().mean(0)
    assert (shares - 0.844307).abs().max() < 0.04
