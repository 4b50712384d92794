"""Runs that learn an energy of levels of noise: begun, stopped, sampled, scored, shared."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import F64, seeded
from torch import nn

from wgflow.config import Config, Data, Training
from wgflow.data.moments import DataMoments
from wgflow.energies.base import Rescaled, Sum, Tempered
from wgflow.energies.conditional import Conditional
from wgflow.energies.inherit import inherit, trunk_of
from wgflow.energies.noise_levels import NoiseLevels, denoised
from wgflow.energies.noise_unet import NoisyUNetSpec
from wgflow.energies.principal import AUTOGUIDANCE, principal_of
from wgflow.energies.unet import UNetSpec
from wgflow.flows import HeatFlow, heat, heat_flow, log_z as heat_likelihood
from wgflow.likelihood.annealing import LogZ
from wgflow.report import gather
from wgflow.runs import run as learned
from wgflow.runs.classes import sample_classes
from wgflow.runs.compose import compose, counted
from wgflow.runs.fit import fit, resume
from wgflow.runs.load import load, publish
from wgflow.runs.uses import highest_temperature, initialisation, langevin_step
from wgflow.samplers import ULA, CrankNicolson, sample as draws
from wgflow.schemes import (
    DetailedBalance,
    DualScoreMatching,
    EnergyMatching,
    FromData,
    Joint,
    NearProximal,
)
from wgflow.training.learner import Learner
from wgflow.training.warm_start import initialise

SMALL = {"widths": (8, 8), "blocks": 1}
CONFIG = Config(
    data=Data("digits", smoothing=0.05, scaling="range"),
    energy=NoisyUNetSpec(**SMALL),
    scheme=DualScoreMatching(),
    training=Training(
        steps=6,
        batch_size=32,
        learning_rate=1e-3,
        evaluate_every=3,
        checkpoint_every=2,
        warmup=2,
    ),
)
EQUILIBRIUM = Joint(
    CONFIG.scheme,
    NearProximal(FromData(CrankNicolson(6e-4, width=0.05), steps=2, life=3, settle=3, noisy=True)),
)
BALANCE = Joint(CONFIG.scheme, DetailedBalance(EQUILIBRIUM.equilibrium.dynamics))
FIRST = replace(
    CONFIG,
    data=replace(CONFIG.data, smoothing=0.0),
    energy=UNetSpec(head="distance", attention=True, **SMALL),
    scheme=EnergyMatching(),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit(CONFIG, tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize(
    ("dtype", "scheme"),
    [
        ("float32", CONFIG.scheme),
        ("bf16-mixed", CONFIG.scheme),
        ("float32", EQUILIBRIUM),
        ("float32", BALANCE),
    ],
    ids=["float32", "mixed", "equilibrium", "balance"],
)
def test_a_run_resumes_to_the_same(tmp_path, dtype, scheme):
    config = replace(CONFIG, dtype=dtype, scheme=scheme)
    whole = fit(config, tmp_path / "whole")

    def stop(step, metrics):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "part", listener=stop)
    part = resume(tmp_path / "part")
    pairs = zip(whole.energy.state_dict().values(), part.energy.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    drawn = [r.sample(3, generator=seeded(1), steps=4, langevin=2) for r in (whole, part)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (3, 1, 8, 8)


def test_samples_are_contrasted_unless_they_are_draws(run):
    """By default; not those of Langevin steps, nor of energies made of others."""

    def drawn(run, **options):
        return run.sample(4, generator=seeded(1), steps=4, **options)

    plain, usual = drawn(run, autoguidance=0.0), drawn(run, autoguidance=AUTOGUIDANCE)
    assert not torch.equal(plain, usual)
    assert torch.equal(drawn(run), usual)
    assert torch.equal(drawn(run, langevin=2), drawn(run, langevin=2, autoguidance=0.0))
    assert torch.equal(drawn(compose([run])), drawn(compose([run]), autoguidance=0.0))
    *_, last = run.trajectory(4, generator=seeded(1), steps=4)
    assert torch.equal(last, usual)
    with pytest.raises(ValueError, match="`time` must be an option of HeatFlow"):
        drawn(run, time=2.0)


def test_moments_may_be_known_and_not_told(tmp_path):
    told, silent = (
        replace(CONFIG.energy, overview=flag).build(DataMoments((1, 8, 8)))
        for flag in (True, False)
    )
    assert {n for n, _ in told.named_buffers()} == {n for n, _ in silent.named_buffers()}
    assert trunk_of(told).overview is not None
    assert trunk_of(silent).overview is None


def test_it_learns(tmp_path):
    longer = replace(CONFIG.training, steps=60, learning_rate=3e-3, evaluate_every=60)
    learner = Learner.build(replace(CONFIG, training=longer))
    steps = learner.steps(learner.start())
    found = [next(steps).metrics["space"] for _ in range(60)]
    assert sum(found[-10:]) < 0.5 * sum(found[:10])


def test_the_scheme_adds_the_noise_itself():
    joint = replace(CONFIG, scheme=EQUILIBRIUM)
    for config, noise in ((CONFIG, 0.0), (joint, 0.0), (replace(FIRST, data=CONFIG.data), 0.05)):
        assert Learner.build(config).batches.noise == noise


def test_test_points_have_the_noise_of_the_lowest_level(run):
    sharp = Learner.build(FIRST).dataset.test
    noise = (run.dataset.test - sharp) / run.dataset.scale
    assert float(noise.std()) == pytest.approx(0.05, rel=0.05)


def test_levels_are_those_that_are_scored():
    other = replace(CONFIG, data=replace(CONFIG.data, smoothing=0.1))
    with pytest.raises(
        ValueError, match=r"must be the lowest noise level, energy.lowest = 0.05: got 0.1"
    ):
        Learner.build(other)
    with pytest.raises(ValueError, match=r"energy.kind noisy-unet or noise-mlp, got UNetSpec"):
        Learner.build(replace(CONFIG, energy=FIRST.energy))


def test_a_bounded_image_is_of_data_scaled_by_range():
    free = replace(CONFIG, data=replace(CONFIG.data, scaling="coordinate"))
    with pytest.raises(ValueError, match=r"scaled by range.*got digits scaled by coord"):
        Learner.build(free)
    loose = Learner.build(replace(free, energy=replace(free.energy, bounded=False)))
    assert not trunk_of(loose.energy).bounded
    assert trunk_of(Learner.build(CONFIG).energy).bounded


def test_it_begins_with_the_u_net_of_the_first_phase(tmp_path):
    first = fit(FIRST, tmp_path / "first")
    learner = Learner.build(CONFIG)
    before = {name: w.clone() for name, w in learner.energy.state_dict().items()}
    initialise(learner, first.energy)
    shared = trunk_of(first.energy).state_dict()
    for net in (learner.energy, learner.average.module):
        own = trunk_of(net).state_dict()
        assert shared.keys() < own.keys()
        assert all(torch.equal(own[name], w) for name, w in shared.items())
        assert any((w != 0).any() for name, w in shared.items() if name.startswith("out"))
    after = learner.energy.state_dict()
    rest = [name for name in before if name.removeprefix("energy.") not in shared]
    assert rest
    assert all(torch.equal(before[name], after[name]) for name in rest)


def test_moments_of_other_data_are_not_taken_over(run):
    """What the network learned is; its own moments stay, and what coordinates say begins anew."""
    moved = Learner.build(replace(CONFIG, seed=5))
    principal = principal_of(moved.energy)
    principal.center += 0.2
    before = {name: w.clone() for name, w in moved.energy.state_dict().items()}
    inherit(moved.energy, run.energy.energy)
    learned, after = run.energy.energy.state_dict(), moved.energy.state_dict()
    for name, w in after.items():
        of_moments = "principal." in name or "overview." in name
        assert torch.equal(w, (before if of_moments else learned)[name]), name
    same = Learner.build(replace(CONFIG, seed=5, dtype="float64"))
    inherit(same.energy, run.energy.energy)
    assert all(torch.equal(w, learned[name].to(w)) for name, w in same.energy.state_dict().items())


def test_u_nets_of_other_widths_are_refused(tmp_path):
    first = fit(FIRST, tmp_path / "first")
    other = Learner.build(replace(CONFIG, energy=NoisyUNetSpec(widths=(8, 16), blocks=1)))
    with pytest.raises(ValueError, match="must have the parameters that were saved"):
        initialise(other, first.energy)


def test_u_nets_that_pad_otherwise_are_refused(tmp_path):
    first = fit(FIRST, tmp_path / "first")
    other = Learner.build(replace(CONFIG, energy=replace(CONFIG.energy, multiple=8)))
    with pytest.raises(ValueError, match=r"`energy.multiple` must be 2, as learned.*got 8"):
        initialise(other, first.energy)


def test_samples_are_of_the_heat_flow(run):
    x = run.sample(3, generator=seeded(4), steps=5, autoguidance=0.0)
    like = torch.empty(3, 1, 8, 8)
    flow = HeatFlow(run.energy.energy, NoiseLevels(), steps=5, autoguidance=0.0)
    u = flow.sample(like, generator=seeded(4))
    torch.testing.assert_close(x, run.dataset.unstandardise(u))
    stages = list(run.trajectory(3, generator=seeded(4), steps=5, autoguidance=0.0))
    assert len(stages) == 7
    torch.testing.assert_close(stages[-1], x)
    begun = heat.start(run.energy.energy, NoiseLevels(), like).sample(3, generator=seeded(4))
    torch.testing.assert_close(stages[0], run.dataset.unstandardise(begun / 11))
    assert gather(run).film.x.shape[1:] == (200, 1, 8, 8)


def test_tempered_samples_are_of_the_lowest_level(run):
    hot = compose([run], temperature=3.0)
    with pytest.raises(ValueError, match=r"`langevin` must be > 0 for an energy flattened by 3"):
        hot.sample(2)
    with pytest.raises(ValueError, match="`temperature` must be 1"):
        sample_classes(hot, [1], 2, classifier=sure, class_guidance=1.0, langevin=3)
    x = hot.sample(3, steps=3, langevin=5, generator=seeded(4))
    energy, levels, like = run.energy.energy, NoiseLevels(), run.like(3)
    generator = seeded(4)
    u = heat.start(energy, levels, like).sample(3, generator=generator)
    *_, u = heat.probability_flow(energy, u, levels.grid(3))
    lowest = Tempered(energy, 3.0)
    u = draws(ULA(0.05**2 / 8), lowest, u, 5, generator=generator)
    torch.testing.assert_close(x, run.dataset.unstandardise(u))


def test_a_composition_of_compositions_is_as_flat_as_its_parts(run):
    hot = compose([run], temperature=3.0)
    assert compose([hot]).temperature == pytest.approx(3.0)
    assert compose([hot, hot, hot]).temperature == pytest.approx(1.0)
    assert compose([hot, run]).temperature == 1.0
    *_, plain = run.trajectory(2, steps=2, autoguidance=0.0, generator=seeded(1))
    *_, led = hot.trajectory(2, steps=2, generator=seeded(1))
    torch.testing.assert_close(plain, led, rtol=1e-3, atol=1e-4)


def test_options_of_another_way_are_refused(run, tmp_path):
    first = fit(FIRST, tmp_path / "first")
    for options in ({"stochastic": True}, {"autoguidance": 0.1}):
        with pytest.raises(ValueError, match="must be an option of MatchedPath"):
            sample_classes(first, [1], 2, classifier=sure, **options)
    with pytest.raises(ValueError, match="`time` must be an option of HeatFlow"):
        sample_classes(run, [1], 2, classifier=sure, class_guidance=1.0, time=2.0)


def test_stages_leave_the_precision_of_the_caller_alone(run, monkeypatch):
    monkeypatch.setattr(learned, "halved", lambda on: torch.autocast("cpu", torch.bfloat16))
    for _ in run.trajectory(2, steps=2):
        assert not torch.is_autocast_enabled("cpu")


def test_a_mask_is_checked_before_the_bridge(run):
    x = torch.zeros(2, 1, 8, 8)
    for mask in (torch.ones(8, 8, dtype=torch.bool), torch.ones(1, 4, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match="`mask` must be of bools"):
            run.flow.bridge(x, mask)


@pytest.mark.parametrize(
    ("approach", "steps", "visits"), [(80, 10, 8), (20, 10, 2), (15, 15, 1), (5, 5, 1)]
)
def test_few_steps_visit_ten_levels_before_they_visit_any_twice(
    run, monkeypatch, approach, steps, visits
):
    asked = []
    grid = NoiseLevels.grid

    def spy(levels, steps, power):
        asked.append(steps)
        return grid(levels, steps, power)

    monkeypatch.setattr(NoiseLevels, "grid", spy)
    seen = []
    monkeypatch.setattr(
        heat_flow, "ancestral_sampling", lambda energy, x, *_, **__: seen.append(x) or iter([x])
    )
    x = torch.zeros(1, 1, 8, 8)
    run.flow.bridge(x, torch.ones(1, 8, 8, dtype=torch.bool), steps=approach)
    assert (asked, len(seen)) == ([steps], steps * visits)


def test_a_level_is_one_for_all_coordinates():
    scaled = Rescaled(lambda x, level: level, torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"`scale` must be one number .* got shape \(3,\)"):
        scaled(torch.zeros(2, 3), torch.zeros(2))


def test_less_noise_than_the_lowest_level_is_taken_for_it(run):
    y = torch.randn(3, 1, 8, 8, generator=seeded(0))
    low, least = (run.flow.denoise(y, torch.full((1, 8, 8), s)) for s in (0.01, 0.05))
    assert torch.equal(low, least)


def test_levels_that_nothing_teaches_are_refused(tmp_path):
    plain = replace(CONFIG, scheme=EnergyMatching(), data=replace(CONFIG.data, smoothing=0.0))
    alone = replace(CONFIG, scheme=BALANCE.equilibrium)
    for config, name in ((plain, "EnergyMatching"), (alone, "DetailedBalance")):
        with pytest.raises(ValueError, match=rf"must learn the noise levels.*.* got {name}"):
            fit(config, tmp_path / "r")


def test_a_level_has_no_time(run):
    with pytest.raises(
        ValueError, match="expected one of steps, stochastic, langevin, autoguidance"
    ):
        run.sample(2, time=2.0)
    with pytest.raises(ValueError, match="expected a scheme that has some"):
        run.sample(2, start="population")


def sure(x):
    """Log-probabilities of two classes: almost always the second, more so of brighter points."""
    bright = 12 + x.flatten(1).sum(1)
    return torch.stack([torch.zeros_like(bright), bright], 1).log_softmax(1)


def test_guidance_at_a_level_sees_the_point_of_a_path(run):
    energy, x = run.energy.energy, torch.randn(4, 1, 8, 8, generator=seeded(1))
    level = torch.tensor([-4.0, -1.0, 0.0, 2.0])
    told = sure(x / (1 + (level / 2).exp()[:, None, None, None]))[:, 1]
    found = Conditional(energy, sure, 1, 3.0)(x, level)
    torch.testing.assert_close(found, energy(x, level) - 3 * told)


def test_a_pull_down_the_levels_is_guidance_at_each(run):
    chosen = sample_classes(
        run, [1], 4, classifier=sure, class_guidance=2.0, steps=4, generator=seeded(4)
    )
    assert chosen.draws == 6  # one and a half times as many, all of them accepted
    law = Conditional(run.energy.energy, sure, 1, 2.0)

    def drawn(autoguidance):
        flow = HeatFlow(law, NoiseLevels(), steps=4, autoguidance=autoguidance)
        u = flow.sample(run.like(6), generator=seeded(4))
        return run.dataset.unstandardise(u)[:4]

    torch.testing.assert_close(chosen.x[0], drawn(AUTOGUIDANCE))
    plain = sample_classes(
        run,
        [1],
        4,
        classifier=sure,
        class_guidance=2.0,
        steps=4,
        autoguidance=0.0,
        generator=seeded(4),
    )
    torch.testing.assert_close(plain.x[0], drawn(0.0))
    assert not torch.equal(plain.x, chosen.x)
    free = sample_classes(run, [1], 4, classifier=sure, steps=4, generator=seeded(4))
    assert not torch.equal(free.x, chosen.x)


@pytest.mark.parametrize("scheme", [CONFIG.scheme, EQUILIBRIUM, BALANCE])
def test_levels_are_no_paths_alone_or_beside_another_scheme(run, scheme):
    """Draws of a class, and how hot chains begin, ask for energy matching and nothing like it."""
    assert scheme.path is None
    joined = replace(run, config=replace(run.config, scheme=scheme))
    free = sample_classes(joined, [1], 4, classifier=sure, steps=4, generator=seeded(4))
    plain = sample_classes(run, [1], 4, classifier=sure, steps=4, generator=seeded(4))
    assert torch.equal(free.x, plain.x)
    assert highest_temperature(joined) == highest_temperature(run)


def test_only_levels_have_stochastic_steps(run, tmp_path):
    x, y = (run.sample(3, generator=seeded(4), steps=5, stochastic=s) for s in (False, True))
    assert not torch.equal(x, y)
    with pytest.raises(ValueError, match="`stochastic` must be an option of MatchedPath"):
        fit(FIRST, tmp_path / "first").sample(2, stochastic=True)


def test_evaluations_are_counted_with_their_levels(run):
    seen, counter = counted(run)
    assert torch.equal(
        seen.sample(3, generator=seeded(4), steps=5), run.sample(3, generator=seeded(4), steps=5)
    )
    assert counter.points == 3 * (2 * 5 + 1)


def test_log_z_is_annealed_along_the_levels(run, monkeypatch):
    monkeypatch.setattr(heat_flow, "SETTLING", 3)
    seen = []

    def annealed(energy, levels, x, *, generator):
        seen.append((levels, x.shape))
        return LogZ(1.0, 0.1, 0.9, 1.1)

    monkeypatch.setattr(heat_likelihood, "log_z", annealed)
    assert replace(run).normaliser.value == 1.0
    assert seen == [(NoiseLevels(), (heat_flow.CHAINS, 1, 8, 8))]


@pytest.mark.parametrize(("moved", "settled"), [(-2.9, True), (3.1, False), (-3.1, False)])
def test_chains_that_drift_give_no_upper_bound(run, monkeypatch, moved, settled):
    monkeypatch.setattr(heat_flow, "SETTLING", 3)
    monkeypatch.setattr(heat_likelihood, "drift", lambda *_, **__: (moved, 1.0))
    monkeypatch.setattr(heat_likelihood, "log_z", lambda *_, **__: LogZ(1.0, 0.1, 0.9, 1.1))
    found = replace(run).normaliser
    assert found.lower == 0.9
    assert (found.value, found.error, found.upper) == pytest.approx(
        (1.0, 0.1, 1.1) if settled else (math.nan, math.inf, math.inf), nan_ok=True
    )


def test_a_first_energy_has_log_z_of_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(heat_flow, "SETTLING", 3)
    still = replace(CONFIG.training, steps=1, learning_rate=1e-12, evaluate_every=1, warmup=0)
    white = replace(CONFIG.energy, principal=0)  # its start is then its own law
    fresh = fit(replace(CONFIG, energy=white, training=still), tmp_path / "run")
    found = fresh.normaliser
    assert found.value == pytest.approx(0.0, abs=0.05)
    assert abs(found.upper - found.lower) < 0.1


def test_what_is_published_draws_the_same(run, tmp_path):
    publish(run, tmp_path / "out")
    again = load(tmp_path / "out")
    assert again.flow.levels == NoiseLevels()
    drawn = [r.sample(3, generator=seeded(4), steps=3) for r in (run, again)]
    torch.testing.assert_close(*drawn, rtol=0, atol=0.02)


def test_products_of_energies_of_levels_keep_them(run):
    doubled = compose([run, run], temperature=2.0)
    drawn = [r.sample(3, generator=seeded(4), steps=3, autoguidance=0.0) for r in (run, doubled)]
    torch.testing.assert_close(*drawn, rtol=1e-3, atol=1e-4)


def test_products_with_energies_that_have_no_levels_are_refused(run, tmp_path):
    first = fit(FIRST, tmp_path / "first")
    with pytest.raises(ValueError, match="needs noise-conditional energies"):
        compose([run, first])
    assert compose([first, run]).flow.paths == first.config.scheme.path


def test_compositions_pass_levels_on_in_their_units():
    class Leveled(nn.Module):
        def forward(self, x, level):
            return x.square().flatten(1).sum(1) * level

    energy = Leveled()
    x, level = torch.randn(3, 2, dtype=F64, generator=seeded(1)), torch.ones(3, dtype=F64)
    square = x.square().sum(1)
    torch.testing.assert_close(Sum([energy, energy], [1.0, 2.0])(x, level), 3 * square)
    torch.testing.assert_close(Tempered(energy, 2.0)(x, level), square / 2)
    scaled = Rescaled(energy, torch.tensor(0.0), torch.tensor(2.0))
    inner = level - 2 * math.log(2)
    torch.testing.assert_close(
        scaled(x, level), square / 4 * inner + 2 * math.log(2), rtol=1e-12, atol=0
    )


def test_reconstruction_is_of_one_step_back_from_each_level(run):
    x = run.dataset.test[:5]
    u = run.dataset.standardise(x)
    found = run.reconstruction_error(x, generator=seeded(3))
    generator = seeded(3)
    for k, t in enumerate((0.2, 0.4, 0.6, 0.8)):
        sigma = (1 - t) / t
        y = u + sigma * torch.randn(u.shape, generator=generator)
        error = (denoised(run.energy.energy, y, sigma) - u).square().flatten(1).sum(1)
        torch.testing.assert_close(found[:, k].float(), error, rtol=1e-4, atol=1e-4)


def test_denoising_has_the_mean_in_one_step(run):
    y, sigma = torch.randn(3, 1, 8, 8, generator=seeded(1)), torch.full((1, 1, 1), 0.4)
    expected = denoised(run.energy.energy, y, 0.4)
    torch.testing.assert_close(run.flow.denoise(y, sigma), expected)
    assert run.flow.denoise(y, torch.rand(1, 8, 8, generator=seeded(2)) + 0.1) is None


def test_paths_between_images_follow_the_flow_too(run, tmp_path):
    from command_line import told

    out = tmp_path / "x.npy"
    few = ["-n", 1, "--points", 4, "--steps", 1, "--out", out]
    (row,) = told("interpolate", run.path, *few)["barriers"]
    a, b = ((x - run.energy.shift) / run.energy.scale for x in run.dataset.test[:2])
    expected = run.flow.interpolate(a, b, 4)
    x = torch.from_numpy(np.load(out))[0]
    torch.testing.assert_close(x, run.energy.shift + run.energy.scale * expected)
    values = run.energy(x)
    climb = float(values.max() - values[[0, -1]].max())
    assert row["flow"] == pytest.approx(climb, abs=0.05)


def test_inpainting_begins_at_a_bridge_down_the_levels(run):
    known, hidden = torch.rand(3, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool)
    hidden[:, :4] = True
    begin = initialisation(run, None, 4, known, hidden, generator=seeded(1))["start"]
    assert torch.equal(begin[..., 4:, :], known[..., 4:, :])
    assert langevin_step(run) == pytest.approx(0.05**2 / 8)
    cooled = initialisation(run, "noise", 4, known, hidden, generator=seeded(1))
    assert len(cooled["temperatures"]) == 4
