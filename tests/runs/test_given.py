"""From a given energy to a run: its folder, its scores, stops and ends, and what it refuses."""

import math
import os
import signal

import pytest
import torch
from problems import F64, double, seeded

from wgflow._progress import BEGINNING
from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.errors import Interrupted
from wgflow.metrics.target_alarms import target_alarms
from wgflow.runs import given, sampled, stepping
from wgflow.runs.evaluate import evaluate
from wgflow.runs.given import fit_energy, resume_energy
from wgflow.runs.load import load
from wgflow.storage import folder
from wgflow.targets.base import Modes, TargetEnergy

SETTINGS = (
    *("training.steps=2", "training.batch_size=64", "energy.width=8", "energy.features=4"),
    *("scheme.scheme.dynamics.size=64", "scheme.scheme.dynamics.held_out=64"),
)
OPTIONS = {"particles": 512, "relative_ess": 0.8, "moves": 1}
MODES = GaussianMixture(double([[-2.0, 0.0], [2.0, 1.0]]), 0.7, weights=[0.3, 0.7])
START = Gaussian(torch.zeros(2), 6.25 * torch.eye(2))
TARGET = TargetEnergy(
    "two modes", MODES, 2, START, known=MODES, modes=Modes(MODES.means, MODES.weights)
)


class Killed(Exception):
    """Stands for the end of the process."""


def begin(path, energy=TARGET, *, dim=None, method="annealed-smc", **options):
    chosen = {"seed": 3, "settings": SETTINGS} | OPTIONS | options
    return fit_energy(energy, dim, path, method=method, **chosen)


def after(count, act):
    """A listener that acts once, after so many steps."""
    calls = []

    def listen(done, metrics):
        calls.append(done)
        if len(calls) == count:
            act()

    return listen


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def die(*args, **options):
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return begin(tmp_path_factory.mktemp("given") / "whole")


def test_the_folder_holds_the_samples_the_record_and_the_run(whole):
    where = whole.path / folder.TARGET
    assert {p.name for p in where.iterdir()} == {
        *(sampled.RECORD, sampled.SAMPLES, sampled.FREE, sampled.JOURNEY)
    }
    assert folder.is_run(whole.path)
    assert not (whole.path / folder.LOCK).exists()
    asked = sampled.asked_for(where)
    assert (asked["name"], asked["dim"], asked["method"]) == ("two modes", 2, "annealed-smc")
    assert asked["options"]["particles"] == 512
    assert asked["start"] == {"mean": [0.0, 0.0], "std": [2.5, 2.5], "plain": True}


def test_what_was_found_is_right(whole):
    found = whole.target
    assert abs(found.normaliser.value) < 4 * found.normaliser.error < 1
    assert found.samples.shape == (found.particles, found.dim) == (512, 2)
    assert found.samples.dtype == F64
    share = float((found.samples[:, 0] > 0).double().mean())
    assert share == pytest.approx(0.7, abs=0.15)
    assert found.scores["target_mode_error"] < 0.15
    assert 1 < found.ess <= 512
    # One evaluation at the start and one a move, of all particles, at each β.
    assert found.evaluations > 3 * 512
    assert found.table["target_evaluations"] == found.evaluations / 512


def test_the_density_is_learned_from_the_samples_in_another_order(whole):
    data = torch.cat([whole.dataset.train[:], whole.dataset.test])
    samples = whole.target.samples
    assert torch.cdist(data.double()[:20], samples).min(1).values.max() < 1e-4
    neighbours = (samples[1:] - samples[:-1]).norm(dim=1)
    assert float((neighbours == 0).double().mean()) < 0.01


def test_the_density_is_judged_as_a_proposal(whole):
    scores = whole.target.scores
    assert 0 < scores["proposal_ess"] <= 1
    errors = scores["target_kl_error"], whole.normaliser.error, whole.target.normaliser.error
    assert scores["target_kl"] > -4 * sum(errors)


def test_loaded_it_has_the_target(whole):
    found = load(whole.path).target
    assert torch.equal(found.samples, whole.target.samples)
    assert found.normaliser == whole.target.normaliser
    assert found.scores == whole.target.scores
    assert found.system is None
    assert torch.equal(found.lift(found.samples), found.samples)


def test_the_way_from_the_start_to_the_samples_is_kept(whole):
    found = whole.target
    way = found.journey
    first, last = way.frames[0], way.frames[-1]
    assert (first.beta, last.beta) == (0, 1)
    assert first.x.shape == (512, 2)
    assert float(first.x.std()) == pytest.approx(2.5, rel=0.1)
    assert float(last.x[:, 1].std()) < 1.2
    betas = [row["beta"] for row in way.metrics]
    assert betas == sorted(betas)
    assert way.metrics[-1]["log_z"] == pytest.approx(found.normaliser.value, abs=0.3)
    with (found.folder / sampled.JOURNEY).open("r+b") as file:
        intact = file.read()
        file.truncate(100)
    with pytest.raises(ValueError, match=sampled.JOURNEY):
        _ = found.journey
    (found.folder / sampled.JOURNEY).unlink()
    assert found.journey is None  # as of an earlier version
    (found.folder / sampled.JOURNEY).write_bytes(intact)


def test_scores_of_the_run_tell_of_the_target(whole):
    scores = evaluate(whole, samples=100)
    assert scores["target_log_z"] == whole.target.normaliser.value
    assert scores["target_log_z_lower"] == whole.target.normaliser.lower
    assert scores["target_ess"] == whole.target.ess / 512
    assert folder.read_json(whole.path / folder.SCORES) == scores


def assert_same_samples(run, other):
    assert torch.equal(run.target.samples, other.target.samples)
    assert run.target.normaliser == other.target.normaliser
    assert run.target.evaluations == other.target.evaluations
    assert_same_journey(run.target.journey, other.target.journey)


def assert_same_journey(a, b):
    assert (a.every, str(a.metrics)) == (b.every, str(b.metrics))  # numbers or NaN
    for frame, other in zip(a.frames, b.frames, strict=True):
        assert frame[:2] == other[:2]
        assert torch.equal(frame.x, other.x)


def test_stopped_and_killed_it_goes_on_to_the_same_result(whole, tmp_path, monkeypatch):
    path = tmp_path / "stopped"
    with pytest.raises(Interrupted, match=rf"continue with: wgflow resume {path}"):
        begin(path, sampling=after(1, interrupt))
    assert (path / folder.TARGET / sampled.STATE).is_file()
    assert sampled.read(path) is None
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(given, "fit", die)
        with pytest.raises(Killed):
            resume_energy(path, TARGET, sampling=lambda done, _: steps.append(done))
    assert not folder.is_run(path)
    assert not (path / folder.TARGET / sampled.STATE).exists()
    run = resume_energy(path, TARGET, sampling=die)  # there is no step of the method left
    assert_same_samples(run, whole)
    for a, b in zip(run.energy.parameters(), whole.energy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert run.target.scores == whole.target.scores
    assert steps == sorted(steps)
    assert steps[0] > 0


@pytest.mark.parametrize("method", given.METHODS)
def test_killed_between_checkpoints_it_samples_the_same(method, tmp_path, monkeypatch):
    options = {"particles": 300, "moves": 1} if method != "parallel-tempering" else {}
    if method == "parallel-tempering":
        options = {"particles": 60, "chains": 20, "replicas": 5, "warm_up": 16}
    chosen = {"method": method, "seed": 1, "settings": SETTINGS} | options
    monkeypatch.setattr(given, "fit", die)
    with pytest.raises(Killed):
        fit_energy(TARGET, None, tmp_path / "whole", **chosen)
    monkeypatch.setattr(stepping, "EVERY", 0.0)
    with pytest.raises(Killed):
        fit_energy(TARGET, None, tmp_path / "killed", sampling=after(3, die), **chosen)
    assert (tmp_path / "killed" / folder.TARGET / sampled.STATE).is_file()
    with pytest.raises(Killed):
        resume_energy(tmp_path / "killed", TARGET)
    a, b = sampled.read(tmp_path / "whole"), sampled.read(tmp_path / "killed")
    assert torch.equal(a.samples, b.samples)
    assert (a.normaliser, a.ess, a.evaluations) == (b.normaliser, b.ess, b.evaluations)
    assert_same_journey(a.journey, b.journey)


def broken(x):
    """A normal about (4, 0) that has no value, one way or another, beyond its mean."""
    scale = torch.where(x[:, 0] < 4, 1.0, -1.0)
    strict = bool((x.sum(1) > 14).any())
    raising = torch.distributions.Normal(0.0, scale, validate_args=strict)
    law = Gaussian(double([4.0, 0.0]), torch.eye(2))
    return law(x) + 0 * raising.log_prob(x[:, 1]) + 0 * scale.log()


def test_places_without_a_value_have_no_mass_and_are_counted(tmp_path, monkeypatch):
    chosen = {"dim": 2, "scale": 2.5, "particles": 1024}
    monkeypatch.setattr(given, "fit", die)
    with pytest.raises(Killed):
        begin(tmp_path / "whole", broken, **chosen)
    monkeypatch.setattr(stepping, "EVERY", 0.0)
    with pytest.raises(Killed):
        begin(tmp_path / "killed", broken, **chosen, sampling=after(3, die))
    with pytest.raises(Killed):
        resume_energy(tmp_path / "killed", broken)
    found, again = sampled.read(tmp_path / "whole"), sampled.read(tmp_path / "killed")
    assert found.samples[:, 0].max() < 4
    assert abs(found.normaliser.value - math.log(math.pi)) < 4 * found.normaliser.error < 0.8
    assert 0.01 < found.scores["target_excluded"] < 0.5
    assert again.scores == found.scores
    assert [name for name, *_ in target_alarms(found.table)] == ["excluded"]


def test_listeners_hear_of_the_beginning_and_of_every_step(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(given, "fit", die)
    with pytest.raises(Killed):
        begin(tmp_path / "r", particles=64, sampling=lambda *told: heard.append(told))
    assert heard[0][0] == 0
    assert 0 < heard[0][1][BEGINNING] < 60
    assert heard[-1][0] == 1
    assert not any(BEGINNING in metrics for _, metrics in heard[1:])
    assert len(heard) == len(sampled.read(tmp_path / "r").journey.metrics)


def test_a_finished_run_is_loaded(whole):
    run = resume_energy(whole.path, TARGET, sampling=die, learning=die)
    assert_same_samples(run, whole)


def plane(x):
    return x.square().sum(1) / 2 + (x[:, 0] * x[:, 1]).square()


def test_functions_begin_where_they_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "fit", die)
    with pytest.raises(Killed):
        fit_energy(plane, 2, tmp_path / "r", scale=1.5, settings=SETTINGS, particles=200, steps=0)
    asked = sampled.asked_for(tmp_path / "r" / folder.TARGET)
    assert asked["start"]["std"] == [1.5, 1.5]
    found = sampled.read(tmp_path / "r")
    assert found.method == "near-proximal"
    assert "target_mode_error" not in found.scores
    with pytest.raises(ValueError, match="`energy` must be given to go on"):
        resume_energy(tmp_path / "r")  # nobody knows the function


def cube(x):
    """e^{-V} = 1 between walls at 0 and 1."""
    inside = ((x >= 0) & (x <= 1)).all(1)
    return torch.where(inside, 0 * x.sum(1), torch.inf)


def test_a_start_within_walls_is_chosen_by_mean_and_scale(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "fit", die)
    chosen = {"mean": [0.5, 0.4, 0.5], "scale": 0.5, "particles": 300, "steps": 0}
    with pytest.raises(Killed):
        fit_energy(cube, 3, tmp_path / "r", settings=SETTINGS, **chosen)
    asked = sampled.asked_for(tmp_path / "r" / folder.TARGET)
    assert asked["start"] == {"mean": [0.5, 0.4, 0.5], "std": [0.5] * 3, "plain": True}
    found = sampled.read(tmp_path / "r").normaliser
    assert abs(found.value) < max(0.1, 4 * found.error)
    with pytest.raises(ValueError, match="where its start is, by `mean` and `scale`"):
        fit_energy(cube, 3, tmp_path / "s", scale=40.0, particles=64, settings=SETTINGS)


def test_a_mean_alone_keeps_the_deviations():
    start = given._begun(TARGET, 2.0, None).start
    assert start.mean.tolist() == [2.0, 2.0]
    torch.testing.assert_close(start.factor, TARGET.start.factor)
    only = given._begun(given._begun(TARGET, 2.0, None), None, 3.0).start
    assert (only.mean.tolist(), only.factor.diagonal().tolist()) == ([0.0, 0.0], [3.0, 3.0])


def hostile(x):
    return torch.where(x[:, 0] > 0, torch.nan, x.square().sum(1))


def untouched(call, match, path):
    with pytest.raises(ValueError, match=match):
        call()
    assert not path.exists()


REFUSED = [
    ((plane, None), {}, "`dim` must be given"),
    ((plane, 0), {}, "`dim` must be > 0 and finite: got 0"),
    ((TARGET, 3), {}, "`dim` must be 2 for .*: got 3"),
    ((plane, 2), {"method": "gibbs"}, "`method` must be one of near-proximal, .*: got 'gibbs'"),
    ((plane, 2), {"particles": 0}, "`particles` must be > 0 and finite: got 0"),
    ((plane, 2), {"scale": -1.0}, "`scale` must be > 0 and finite: got -1.0"),
    (
        (plane, 2),
        {"mean": [0.0, 1.0, 2.0]},
        "`mean` must be a finite number, or one for each of 2",
    ),
    ((plane, 2), {"mean": float("nan")}, "`mean` must be a finite number"),
    ((plane, 2), {"settings": ["training.step=3"]}, "training.step"),
    (("no-such-energy", None), {}, "`target` must be a known name or FILE.py:NAME"),
    ((hostile, 2), {}, r"must be a number everywhere .* x = \("),
]


@pytest.mark.parametrize(("arguments", "options", "match"), REFUSED)
def test_refusals_come_before_the_work(arguments, options, match, tmp_path):
    path = tmp_path / "r"
    untouched(lambda: fit_energy(*arguments, path, **options), match, path)


def test_settings_are_those_of_tables_in_the_plane_too(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "all_steps", die)
    with pytest.raises(Killed):
        fit_energy(plane, 2, tmp_path / "r", settings=["scheme.scheme.h=1e-2"])


def test_no_folder_is_taken_over(whole, tmp_path):
    with pytest.raises(ValueError, match="must be a new or an empty folder"):
        begin(whole.path)
    with pytest.raises(Killed):
        begin(tmp_path / "r", sampling=die)
    with pytest.raises(ValueError, match="resume it"):
        begin(tmp_path / "r", seed=4)


def test_only_runs_of_given_energies_are_gone_on_with(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="must be a run of a given energy: got no target"):
            resume_energy(path)


def test_where_the_samples_lie_is_no_matter(whole, tmp_path):
    """A run that was moved has its samples still."""
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / folder.TARGET).symlink_to(whole.path / folder.TARGET)
    assert torch.equal(sampled.read(moved).samples, whole.target.samples)
    assert sampled.read(tmp_path) is None


def test_draws_of_the_learned_density_are_lifted(whole):
    assert whole.sample(5, generator=seeded(0)).shape == (5, 2)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"asked": {}, "found": {}}', '{"asked": 3}'])
def test_a_damaged_record_is_refused_in_one_sentence(text, tmp_path):
    where = tmp_path / folder.TARGET
    where.mkdir()
    (where / sampled.RECORD).write_text(text)
    with pytest.raises(ValueError, match=r"target\.json"):
        resume_energy(tmp_path)


def test_mass_without_samples_is_a_score_that_rings(tmp_path):
    """Annealing goes past a narrow mode inside a wide one; the default has it."""
    shares = {}
    for method in ("annealed-smc", "near-proximal"):
        run = begin(tmp_path / method, "spike-and-slab", method=method)
        shares[method] = run.target.table.get("target_missed", 0.0)
    assert shares == {"annealed-smc": pytest.approx(0.5, abs=0.1), "near-proximal": 0.0}


def test_parts_of_different_widths_are_learned_without_maps(tmp_path):
    """Unless maps are asked for."""
    kinds = {}
    for name, settings in {"default": (), "asked": ("data.transform=auto",)}.items():
        chosen = [*SETTINGS, *settings]
        run = begin(tmp_path / name, "spike-and-slab", method="near-proximal", settings=chosen)
        kinds[name] = run.config.data.transform
    assert kinds == {"default": None, "asked": "auto"}
