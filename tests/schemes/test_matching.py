"""Energy matching: optimal couplings, the well at the data, its speed; two schemes at once."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from problems import F64, double, seeded, z_score
from torch import nn

from wgflow.config import Config, Data, Training
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.unet import UNetSpec
from wgflow.flows import path as flow_path
from wgflow.flows.path import follow
from wgflow.likelihood.annealing import LogZ
from wgflow.report import gather
from wgflow.runs.fit import fit
from wgflow.runs.load import load
from wgflow.samplers import ULA
from wgflow.schemes import EnergyMatching, Joint, MaximumLikelihood, NearProximal, Population
from wgflow.schemes.matching import coupling
from wgflow.training.learner import Learner
from wgflow.training.warm_start import initialise


class Well(nn.Module):
    """``V/ε = k |x - m|²/(2ε)``."""

    def __init__(self, center, stiffness, temperature):
        super().__init__()
        self.center = center
        self.stiffness = nn.Parameter(double(stiffness))
        self.temperature = temperature

    def forward(self, x):
        return (
            self.stiffness * (x - self.center).square().flatten(1).sum(1) / (2 * self.temperature)
        )


POINT = double([0.7, -0.3, 0.2])


def losses(scheme, energy, n=100, repeats=50):
    """The loss on batches that are one point, many times."""
    batch = POINT.expand(n, 3)
    carry = scheme.init(energy, batch)
    generator = seeded(1)
    values = [scheme.loss(energy, carry, generator=generator).value for _ in range(repeats)]
    return torch.stack(values).detach()


def test_the_coupling_is_the_best_of_all():
    x, y = (torch.randn(6, 2, dtype=F64, generator=seeded(s)) for s in (1, 2))
    cost = torch.cdist(x, y).square()
    best = min(
        itertools.permutations(range(6)), key=lambda p: float(cost[range(6), list(p)].sum())
    )
    assert coupling(x, y).tolist() == list(best)
    assert coupling(x, y).tolist() != list(range(6))


def test_paths_are_coupled_unless_told_otherwise():
    x1 = 3 * torch.randn(64, 2, dtype=F64, generator=seeded(1))
    energy = Well(double(0.0), 0.0, 1.0)

    def length(coupled):
        scheme = EnergyMatching(1.0, cutoff=1.0, coupled=coupled)
        carry = scheme.init(energy, x1)
        return float(scheme.loss(energy, carry, generator=seeded(2)).value.detach())

    x0 = torch.randn(64, 2, dtype=F64, generator=seeded(2))
    assert length(False) == pytest.approx(float((x0 - x1).square().sum(1).mean()))
    matched = x0[coupling(x1, x0)]
    assert length(True) == pytest.approx(float((matched - x1).square().sum(1).mean()))


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_around_a_point_the_potential_is_its_well(temperature):
    # Beyond the cutoff the target is (x_t - x_1)/(1-t*), whatever t: the gradient of a well.
    scheme = EnergyMatching(temperature, cutoff=1e-12)
    assert losses(scheme, Well(POINT, 1.0, temperature)).max() < 1e-20
    assert losses(scheme, Well(POINT, 1.1, temperature)).min() > 1e-4
    assert losses(scheme, Well(POINT, 1.0, 1.1 * temperature)).min() > 1e-4


@pytest.mark.parametrize("noise", [1.0, 0.5])
def test_the_loss_of_the_well_is_a_closed_form(noise):
    cutoff, temperature = 0.6, 0.3
    k = 1 - cutoff
    scheme = EnergyMatching(temperature, cutoff, noise, coupled=False)
    found = losses(scheme, Well(POINT, 1 / k, temperature), n=2000)
    # ∫ ((1-t)/k - 1)² dt over t < t*, times E|x_0 - x_1|².
    factor = k * (1 / k - 1) ** 3 / 3
    expected = factor * (3 * noise**2 + float(POINT.square().sum()))
    assert abs(float(z_score(found, expected))) < 4


def test_the_speed_falls_after_the_cutoff():
    t = double([0.0, 0.5, 0.8, 0.9, 1.0])
    torch.testing.assert_close(EnergyMatching().speed(t), double([1.0, 1.0, 1.0, 0.5, 0.0]))
    torch.testing.assert_close(EnergyMatching(cutoff=1.0).speed(t), torch.ones(5, dtype=F64))


def test_langevin_in_the_well_has_the_stated_spread(monkeypatch):
    monkeypatch.setattr("wgflow.flows.path.CHUNK", 20_000)
    scheme = EnergyMatching(0.02, cutoff=0.75)
    well = Well(POINT, 1 / (1 - scheme.cutoff), scheme.temperature)
    x = POINT + torch.zeros(20_000, 3, dtype=F64)
    options = {"temperature": 0.02, "time": 0.5, "steps": 100, "langevin": 400}
    x = follow(well, x, **options, generator=seeded(3))
    step = 0.005 / (1 - scheme.cutoff)
    variance = scheme.temperature * (1 - scheme.cutoff) / (1 - step / 2)  # ULA's own bias
    assert z_score((x - POINT) ** 2, variance).abs().max() < 4


# Following the potential ------------------------------------------------------------------------


def test_the_path_is_eulers():
    well, x = Well(POINT, 3.0, 0.1), torch.randn(5, 3, dtype=F64, generator=seeded(1))
    found = follow(well, x, temperature=0.1, time=0.7, steps=7)
    torch.testing.assert_close(found, POINT + (1 - 0.1 * 3.0) ** 7 * (x - POINT))
    exact = POINT + math.exp(-2.1) * (x - POINT)
    errors = [
        float((follow(well, x, temperature=0.1, time=0.7, steps=n) - exact).norm())
        for n in (100, 200)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.05)


def test_langevin_steps_are_unadjusted_ones():
    well, x = Well(POINT, 3.0, 0.1), torch.randn(5, 3, dtype=F64, generator=seeded(1))
    found = follow(well, x, temperature=0.1, time=1.0, steps=10, langevin=1, generator=seeded(2))
    end = follow(well, x, temperature=0.1, time=1.0, steps=10)
    sampler = ULA(0.01)
    state, _ = sampler.step(well, sampler.init(well, end), generator=seeded(2))
    torch.testing.assert_close(found, state.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be > 0"),
        ({"temperature": 1.0, "steps": 0}, "`steps` must be > 0"),
        ({"temperature": 1.0, "langevin": -1}, "`langevin` must be ≥ 0 and finite: got -1"),
    ],
)
def test_impossible_paths_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        follow(Well(POINT, 1.0, 1.0), torch.zeros(2, 3, dtype=F64), **options)


# Two schemes at once ---------------------------------------------------------------------------

PARTICLES = Population(size=32, held_out=0, global_moves=0)
JOINT = Joint(
    EnergyMatching(0.5), MaximumLikelihood(replace(PARTICLES, reaction=False)), weight=0.3
)


def test_the_joint_loss_is_the_sum():
    batch = torch.randn(16, 3, dtype=F64, generator=seeded(1))
    energy = Well(POINT, 1.0, 0.5)
    carry = JOINT.init(energy, batch, generator=seeded(2))
    loss = JOINT.loss(energy, carry, generator=seeded(3))
    first = JOINT.transport.loss(energy, carry.transport, generator=seeded(3))
    second = JOINT.equilibrium.loss(energy, carry.equilibrium)
    torch.testing.assert_close(loss.value, first.value + 0.3 * second.value)
    assert first.value > 0
    assert second.value != 0
    assert set(loss.metrics) == {"matching", "energy_gap"}
    after = JOINT.advance(energy, batch + 1, carry, generator=seeded(4))
    assert torch.equal(after.transport.batch, batch + 1)
    assert torch.equal(after.equilibrium.batch, batch + 1)
    assert "acceptance" in after.metrics


def test_a_joint_scheme_trusts_its_equilibrium():
    joint = Joint(equilibrium=NearProximal(PARTICLES, trust=0.7), inner_steps=2)
    batch, energy = POINT.expand(8, 3), Well(POINT, 1.0, 0.0125)
    loss = joint.loss(energy, joint.init(energy, batch, generator=seeded(1)))
    for share, expected in ((0.6, False), (0.8, True)):
        metrics = loss.metrics | {"trust": double(share)}
        assert joint.trusted(loss._replace(metrics=metrics)) is expected


def test_particles_settle_before_they_count():
    energy, batch = Well(POINT, 1.0, 1.0), POINT.expand(8, 3)
    sampler = ULA(0.1)
    settled, fresh = (
        replace(PARTICLES, sampler=sampler, reaction=False, settle=n)
        .init(energy, batch, generator=seeded(1))
        .particles
        for n in (3, 0)
    )
    assert not torch.equal(settled.x, fresh.x)
    generator = seeded(1)
    torch.randn(32, 3, dtype=F64, generator=generator)
    state = sampler.init(energy, fresh.x)
    for _ in range(3):
        state, _ = sampler.step(energy, state, generator=generator)
    torch.testing.assert_close(settled.x, state.x)
    assert not settled.log_weight.any()


# Runs of images --------------------------------------------------------------------------------

CONFIG = Config(
    data=Data("digits", smoothing=0.05, scaling="range"),
    energy=UNetSpec(widths=(8, 8)),
    scheme=JOINT,
    training=Training(steps=6, batch_size=32, evaluate_every=3, checkpoint_every=2, warmup=2),
)


@pytest.mark.parametrize("dtype", ["float32", "bf16-mixed"])
@pytest.mark.parametrize("scheme", [EnergyMatching(), JOINT], ids=["matching", "joint"])
def test_a_run_of_images_resumes_to_the_same(tmp_path, dtype, scheme):
    from wgflow.runs.fit import resume

    config = replace(CONFIG, dtype=dtype, scheme=scheme)
    whole = fit(config, tmp_path / "whole")

    def stop(step, metrics):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "part", listener=stop)
    part = resume(tmp_path / "part")
    for a, b in zip(
        whole.energy.state_dict().values(), part.energy.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    drawn = [run.sample(3, generator=seeded(1), steps=4, langevin=2) for run in (whole, part)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (3, 1, 8, 8)


def test_a_run_begins_with_the_energy_of_another(tmp_path):
    first = fit(replace(CONFIG, scheme=EnergyMatching()), tmp_path / "first")
    assert first.energy.energy(torch.randn(4, 1, 8, 8, generator=seeded(1))).std() > 0
    tiny = replace(CONFIG.training, learning_rate=1e-12)
    second = fit(replace(CONFIG, init=str(tmp_path / "first"), training=tiny), tmp_path / "two")
    a, b = first.energy.state_dict(), second.energy.state_dict()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=1e-7)
    assert load(tmp_path / "two").config.init == str(tmp_path / "first")


def test_an_energy_that_does_not_fit_is_refused(tmp_path):
    first = fit(replace(CONFIG, scheme=EnergyMatching()), tmp_path / "first")
    other = Learner.build(replace(CONFIG, energy=UNetSpec(widths=(8, 16))))
    with pytest.raises(ValueError, match="must have the parameters that were saved"):
        initialise(other, first.energy)
    scaled = replace(CONFIG, data=replace(CONFIG.data, scaling="coordinate"))
    with pytest.raises(ValueError, match="`init` must be a run on data of the same mean"):
        initialise(Learner.build(scaled), first.energy)


def test_where_samples_start(tmp_path):
    run = fit(replace(CONFIG, scheme=EnergyMatching()), tmp_path / "matched")
    with pytest.raises(ValueError, match="expected a scheme that has some"):
        run.sample(2, start="population")
    plain = replace(CONFIG, scheme=JOINT.equilibrium, energy=MLPSpec(width=8, depth=1))
    other = fit(plain, tmp_path / "plain")
    with pytest.raises(ValueError, match="energy-matching, joint or dual-score-matching"):
        other.sample(2, start="noise")
    with pytest.raises(ValueError, match=r"`start` must be noise .* got \{'steps': 3\}"):
        other.sample(2, steps=3)
    with pytest.raises(ValueError, match="`start` must be one of noise, population"):
        other.sample(2, start="nowhere")


WIDE = EnergyMatching(temperature=0.5, cutoff=0.2)  # wells to which cooling is short


@pytest.mark.parametrize(
    "scheme", [WIDE, replace(JOINT, transport=WIDE)], ids=["noise", "population"]
)
def test_log_z_of_wells_is_cooled_from_the_confinement(tmp_path, monkeypatch, scheme):
    monkeypatch.setattr(flow_path, "SETTLING", 5)
    energy, still = UNetSpec(widths=(8, 8)), replace(CONFIG.training, steps=1)
    still = replace(still, learning_rate=1e-12, evaluate_every=1, checkpoint_every=1, warmup=0)
    config = replace(CONFIG, energy=energy, scheme=scheme, training=still)
    found = fit(config, tmp_path / "run").normaliser  # of |u|²/2: the network is still zero
    known = 32 * math.log(2 * math.pi)
    assert found.lower - 0.01 < known < found.upper + 0.01
    assert found.value == pytest.approx(known, abs=0.01)


@pytest.mark.parametrize("held", [False, True], ids=["trained", "held-out"])
def test_heating_begins_at_particles_by_their_weight(tmp_path, monkeypatch, held):
    """At those that never entered a gradient, where there are some."""
    monkeypatch.setattr(flow_path, "sample", lambda sampler, energy, x, *_, **__: x)
    seen, nothing = [], LogZ(0.0, 0.0, 0.0, 0.0)
    monkeypatch.setattr(
        flow_path, "annealed_log_z", lambda energy, x, *_, **__: seen.append(x) or nothing
    )
    run = fit(replace(CONFIG, scheme=replace(JOINT, transport=WIDE)), tmp_path / "run")
    p = run.particles
    known = p.log_weight.new_full(p.log_weight.shape, -torch.inf)
    known[-3] = 0.0
    others = p._replace(state=p.state._replace(x=torch.zeros_like(p.x)))
    told = p._replace(log_weight=known)
    run = replace(run, particles=others if held else told, held_out=told if held else None)
    assert run.normaliser == nothing
    assert torch.equal(seen[0], p.x[[-3] * flow_path.CHAINS])


def test_the_path_ends_at_the_sample(tmp_path):
    run = fit(replace(CONFIG, scheme=EnergyMatching()), tmp_path / "matched")
    stages = list(run.trajectory(3, generator=seeded(4), steps=5))
    assert len(stages) == 6
    torch.testing.assert_close(stages[-1], run.sample(3, generator=seeded(4), steps=5))
    noise = torch.randn(3, 1, 8, 8, generator=seeded(4))
    torch.testing.assert_close(stages[0], run.dataset.unstandardise(noise))
    film = gather(run).film
    assert film.x.shape == (9, 200, 1, 8, 8)
    assert film.steps[[0, -1]].tolist() == [0, 80]
