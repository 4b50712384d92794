"""Weighted particles: resampling counts, banked normalisers, reaction and Jarzynski's equality."""

import math

import pytest
import torch
from problems import F64, PROBLEMS, double, seeded, z_score

from wgflow.data.targets import Gaussian
from wgflow.energies.base import energy_and_grad
from wgflow.samplers import HMC, MALA, ULA, Independence, Underdamped
from wgflow.samplers.particles import (
    Particles,
    effective_fraction,
    forget,
    populate,
    react,
    resample,
    systematic_indices,
    temper,
    transport,
)

SAMPLERS = {
    "mala": MALA(0.3, adaptation=0.0),
    "hmc": HMC(0.4, leapfrog=2, adaptation=0.0),
    "ula": ULA(0.1),
    "underdamped": Underdamped(0.3, friction=2.0),
    "independence": Independence(double([[-1.0, 0.0], [0.5, 1.0]]), 0.8),
}


def isotropic(variance, mean=(0.0, 0.0)):
    return Gaussian(double(mean), variance * torch.eye(2, dtype=F64))


def population(sampler, target, n, seed):
    """Particles drawn from ``target`` itself."""
    x = target.sample(n, dtype=F64, generator=seeded(seed))
    return populate(sampler, target, x, target.log_prob(x), generator=seeded(seed + 1))


def uneven(sampler, n=200):
    """Particles of unequal weights and something in the bank."""
    p = react(population(sampler, isotropic(1.0), n, 3), isotropic(0.3))
    return p._replace(banked=double(0.7))


# Weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "fraction"),
    [
        ([1.0, 1.0, 1.0], 1.0),
        ([1.0, 0.0, 0.0, 0.0], 1 / 4),
        ([1.0, 3.0], 0.8),
        ([1.0, 1.0, 0.0, 0.0], 1 / 2),
    ],
)
def test_effective_fraction_by_hand(weights, fraction):
    log_weight = double(weights).log()
    for shift in (0.0, 1000.0):
        assert float(effective_fraction(log_weight + shift)) == pytest.approx(fraction, rel=1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
def test_particles_of_the_target_itself_weigh_its_normaliser(name):
    target = PROBLEMS[name].target
    p = population(MALA(), target, 100, 0)
    expected = torch.full((100,), target.log_z, dtype=F64)
    torch.testing.assert_close(p.log_weight, expected, rtol=0, atol=1e-12)
    assert float(p.log_z) == pytest.approx(target.log_z, abs=1e-12)
    assert float(p.effective_fraction) == pytest.approx(1, abs=1e-12)


def test_populate_weighs_by_the_law_of_the_draws():
    proposal, target = isotropic(1.5), PROBLEMS["gaussian"].target
    x = proposal.sample(20_000, dtype=F64, generator=seeded(1))
    p = populate(MALA(), target, x, proposal.log_prob(x))
    torch.testing.assert_close(p.log_weight, -target(x) - proposal.log_prob(x))
    assert abs(float(z_score(p.log_weight.exp(), math.exp(target.log_z)))) < 4
    weighted = p.log_weight.exp()[:, None] * (x - PROBLEMS["gaussian"].mean)
    assert z_score(weighted, 0).abs().max() < 4


def test_log_z_is_the_bank_and_the_mean_weight():
    p = population(MALA(), isotropic(1.0), 3, 0)
    p = p._replace(log_weight=double([1.0, 2.0, 6.0]).log(), banked=double(-4.0))
    assert float(p.log_z) == pytest.approx(-4 + math.log(3), rel=1e-14)
    torch.testing.assert_close(p.weights, double([1 / 9, 2 / 9, 6 / 9]))
    heavy = p._replace(log_weight=p.log_weight + 1e4)
    assert float(heavy.log_z) == pytest.approx(1e4 - 4 + math.log(3), rel=1e-14)


# Resampling ------------------------------------------------------------------------------------

LOG_WEIGHT = 2 * torch.randn(11, dtype=F64, generator=seeded(0))


@pytest.mark.parametrize("count", [1, 7, 11, 100])
def test_copies_are_floor_or_ceiling_and_right_on_average(count):
    expected = count * LOG_WEIGHT.softmax(0)
    generator = seeded(count)
    draws = [systematic_indices(LOG_WEIGHT, count, generator=generator) for _ in range(2000)]
    copies = torch.stack([torch.bincount(d, minlength=11) for d in draws]).double()
    assert (copies.sum(1) == count).all()
    assert (copies >= expected.floor()).all()
    assert (copies <= expected.ceil()).all()
    part = expected - expected.floor()
    assert ((copies.mean(0) - expected) / (part * (1 - part) / 2000).sqrt()).abs().max() < 4


@pytest.mark.parametrize("n", [1, 64, 200_000])
def test_equal_weights_keep_everyone(n):
    index = systematic_indices(torch.full((n,), -3.0), n, generator=seeded(1))
    assert torch.equal(index, torch.arange(n))


def test_a_particle_without_weight_leaves_no_copy():
    index = systematic_indices(double([0.0, 1.0, 0.0, 2.0]).log(), 300, generator=seeded(1))
    assert torch.bincount(index, minlength=4).tolist() == [0, 100, 0, 200]


@pytest.mark.parametrize("name", SAMPLERS)
def test_resampling_banks_log_z_and_takes_whole_rows(name):
    p = uneven(SAMPLERS[name])
    q = resample(p, generator=seeded(5))
    assert float(q.log_z) == pytest.approx(float(p.log_z), abs=1e-10)
    assert not q.log_weight.any()
    index = systematic_indices(p.log_weight, 200, generator=seeded(5))
    assert 1 < len(index.unique()) < 200
    for before, after in zip(p.state, q.state, strict=True):
        assert torch.equal(after, before[index] if before.ndim else before)


def test_resampling_is_unbiased():
    p = uneven(MALA(), n=20)
    generator = seeded(6)
    means = torch.stack([resample(p, generator=generator).x.mean(0) for _ in range(3000)])
    assert z_score(means, p.weights @ p.x).abs().max() < 4


def test_resampling_twice_banks_twice():
    p = uneven(MALA())
    q = react(resample(p, generator=seeded(5)), isotropic(0.1))
    total = float(p.log_z) + math.log(float(q.log_weight.exp().mean()))
    assert float(resample(q, generator=seeded(6)).log_z) == pytest.approx(total, abs=1e-12)


# Reaction --------------------------------------------------------------------------------------


def test_reaction_pays_the_change_of_energy():
    before, after = PROBLEMS["banana"].target, PROBLEMS["ring"].target
    p = population(MALA(), before, 50, 1)
    q = react(p, after)
    torch.testing.assert_close(q.log_weight - p.log_weight, before(p.x) - after(p.x))
    value, grad = energy_and_grad(after, p.x)
    torch.testing.assert_close(q.state.energy, value)
    torch.testing.assert_close(q.state.grad, grad)
    assert torch.equal(q.x, p.x)
    assert q.banked == p.banked


def test_reaction_does_not_depend_on_the_path():
    a, b, c = (PROBLEMS[name].target for name in ("banana", "ring", "two_modes"))
    p = population(MALA(), a, 50, 1)
    straight, round_about = react(p, c), react(react(p, b), c)
    torch.testing.assert_close(round_about.log_weight, straight.log_weight, rtol=0, atol=1e-12)
    there_and_back = react(react(p, b), a)
    torch.testing.assert_close(there_and_back.log_weight, p.log_weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variance", [0.4, 1.3])
def test_reaction_alone_finds_the_ratio_of_normalisers(variance):
    q = react(population(MALA(), isotropic(1.0), 40_000, 2), isotropic(variance))
    assert abs(float(z_score(q.log_weight.exp(), 2 * math.pi * variance))) < 4
    weighted = q.log_weight.exp()[:, None] * (q.x**2 - variance)
    assert z_score(weighted, 0).abs().max() < 4


# Transport and reaction: Jarzynski's equality --------------------------------------------------


def test_transport_takes_what_the_kernel_owes():
    p = uneven(ULA(0.1))
    target = isotropic(0.3)
    q, info = transport(p, ULA(0.1), target, generator=seeded(8))
    _, expected = ULA(0.1).step(target, p.state, generator=seeded(8))
    assert info.log_weight.abs().max() > 0
    assert torch.equal(info.log_weight, expected.log_weight)
    torch.testing.assert_close(q.log_weight - p.log_weight, info.log_weight)


PATH = [isotropic(1.2 - 0.1 * k, (0.25 * k, -0.15 * k)) for k in range(9)]


def follow(sampler, n, generator):
    """A population along a moving, narrowing Gaussian: its Z and weighted mean of x_1."""
    x = PATH[0].sample(n, dtype=F64, generator=generator)
    p = populate(sampler, PATH[0], x, PATH[0].log_prob(x), generator=generator)
    for energy in PATH[1:]:
        p = react(p, energy)
        if p.effective_fraction < 0.8:
            p = resample(p, generator=generator)
        p, _ = transport(p, sampler, energy, generator=generator)
    return p


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_moving_population_keeps_the_normaliser_and_the_law(name):
    generator = seeded(11)
    ends: list[Particles] = [follow(SAMPLERS[name], 400, generator) for _ in range(50)]
    z = torch.stack([p.log_z - PATH[-1].log_z for p in ends]).exp()
    assert z.std() > 1e-3
    assert abs(float(z_score(z, 1))) < 4
    assert float(z.mean()) == pytest.approx(1, abs=0.15)  # and the z-score is not just wide
    assert any(p.banked != 0 for p in ends)
    # Z times a weighted mean is unbiased, as Z is.
    centre = PATH[-1].mean
    first = torch.stack([w * (p.weights @ (p.x - centre)) for w, p in zip(z, ends, strict=True)])
    assert z_score(first, 0).abs().max() < 4
    second = torch.stack(
        [w * (p.weights @ ((p.x - centre) ** 2 - 0.4)) for w, p in zip(z, ends, strict=True)]
    )
    assert z_score(second, 0).abs().max() < 4


# Forgetting --------------------------------------------------------------------------------------

WIDE = isotropic(1.0)


def jumped(variance, jump, n=8, repeats=4000, seed=12):
    """Unnormalised means of 1 and |x|² after one global move of badly weighted populations.

    Weights are kept, or shared by the exchangeable, or by all who were accepted: of one move.
    """
    generator = seeded(seed)
    start = isotropic(variance)
    rows = {"kept": [], "exchangeable": [], "accepted": []}
    for _ in range(repeats):
        x = start.sample(n, dtype=F64, generator=generator)
        p = populate(MALA(), WIDE, x, start.log_prob(x), generator=generator)
        state, info = jump.step(WIDE, p.state, generator=generator)
        q = p._replace(state=state)
        square = q.x.square().sum(1)
        shared = {"exchangeable": info.exchangeable, "accepted": (q.x != p.x).any(1)}
        for how, found in rows.items():
            w = (forget(q, shared[how]) if how in shared else q).log_weight.exp()
            found.append(torch.stack([w.mean(), (w * square).mean()]))
    return [torch.stack(found) for found in rows.values()]


def test_forgetting_weights_keeps_the_means_and_lowers_their_variance():
    jump = Independence(double([[0.0, 0.0], [0.5, 0.0]]), 1.0)
    kept, forgot, _ = jumped(3.0, jump)
    expected = double([1.0, 2.0]) * 2 * math.pi
    assert z_score(forgot, expected).abs().max() < 4
    torch.testing.assert_close(forgot[:, 0], kept[:, 0])  # log Z is what it was
    assert forgot[:, 1].var() < 0.9 * kept[:, 1].var()


def test_not_all_who_jumped_may_share_their_weights():
    jump = Independence(double([[0.0, 0.0]]), 0.7)
    kept, forgot, pooled = jumped(0.6, jump, repeats=2000)
    assert z_score(forgot, double([1.0, 2.0]) * 2 * math.pi).abs().max() < 4
    assert (forgot != kept).any()
    assert abs(float(z_score(forgot - kept, 0)[1])) < 4  # paired, so that little is enough
    # Those of large weight jumped far: they were in places that the proposals seldom reach.
    assert abs(float(z_score(pooled - kept, 0)[1])) > 4


def test_transport_lets_the_exchangeable_forget():
    p = uneven(MALA())
    jump = Independence(double([[-1.0, 0.0], [0.5, 1.0]]), 0.8)
    q, info = transport(p, jump, isotropic(0.3), generator=seeded(8))
    assert 1 < info.exchangeable.sum() < len(p.x)
    assert q.log_weight[info.exchangeable].std() == 0
    assert torch.equal(q.log_weight[~info.exchangeable], p.log_weight[~info.exchangeable])
    torch.testing.assert_close(q.log_z, p.log_z)


# Tempering -------------------------------------------------------------------------------------


def at_depths(energies):
    """Particles that are known by their energies alone."""
    p = population(MALA(0.3), isotropic(1.0), len(energies), 0)
    return p._replace(state=p.state._replace(energy=energies))


@pytest.mark.parametrize("spread", [3.0, 1000.0])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_tempered_weights_leave_the_fraction_that_is_asked_for(spread, fraction):
    """Of N normal energies of deviation s, ``exp(-(αs)²)`` as N grows: α is known."""
    depths = torch.randn(200_000, generator=seeded(3), dtype=F64)
    p, alpha = temper(at_depths(spread * depths + 1e5), fraction)
    assert float(p.effective_fraction) == pytest.approx(fraction, abs=1e-9)
    assert alpha == pytest.approx(math.sqrt(-math.log(fraction)) / spread, rel=0.03)
    weights = (-alpha * spread * depths).softmax(0)
    torch.testing.assert_close(p.weights, weights, rtol=1e-6, atol=0)


def test_energies_that_hardly_differ_are_not_tempered():
    p, alpha = temper(at_depths(double([5.0, 5.1, 5.3])), 0.5)
    assert alpha == 1
    torch.testing.assert_close(p.weights, double([-5.0, -5.1, -5.3]).softmax(0))


def test_deep_particles_count_for_more():
    p, alpha = temper(at_depths(double([0.0, 1000.0])), 0.6)
    assert p.weights[0] > p.weights[1]
    assert 0 < alpha < 1


def test_momenta_do_not_keep_the_weights_that_particles_share():
    """log Z of N(0, 1) under a coarse step: jumps share weights, of which momenta knew some."""
    law = Gaussian(torch.zeros(1, dtype=F64), torch.eye(1, dtype=F64))
    generator = seeded(3)
    x = law.sample(50_000, generator=generator, dtype=F64)
    kernel = Underdamped(1.5, 0.2)
    p = populate(kernel, lambda x: -law.log_prob(x), x, law.log_prob(x), generator=generator)
    jump = Independence(x[:500], 0.5)
    for _ in range(6):
        p, _ = transport(p, jump, lambda x: -law.log_prob(x), generator=generator)
        p, _ = transport(p, kernel, lambda x: -law.log_prob(x), generator=generator)
    assert abs(float(p.log_z)) < 0.03  # 0.3 where they keep them
    assert float(p.weights @ p.x.square().squeeze(1)) == pytest.approx(1, abs=0.03)
