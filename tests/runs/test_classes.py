"""Points of a class of a run: whence they come, what they cost, and `wgflow sample --class`."""

import itertools
import math
import shutil
from dataclasses import replace

import pytest
import torch
from command_line import only, refused
from problems import seeded

from wgflow.energies.base import Rescaled
from wgflow.flows.path import LOOKS
from wgflow.metrics.classifier import NoisyClassifier
from wgflow.runs import zoo
from wgflow.runs.classes import noisy_classifier_of, sample_classes
from wgflow.runs.compose import counted
from wgflow.runs.load import load
from wgflow.storage.folder import LABELLER
from wgflow.tasks import condition as conditioning


def test_cut_paths_lead_where_whole_ones_do(runs):
    """All draws are taken, so they are those of `Run.sample`, and as dear."""
    run, counter = counted(runs["digits"])
    chosen = sample_classes(run, [3], 4, classifier=only(3), generator=seeded(4), steps=20)
    assert counter.points == 20 * chosen.draws == 20 * chosen.ended
    x = run.sample(chosen.draws, generator=seeded(4), steps=20)
    torch.testing.assert_close(chosen.x[0], x[:4])


def test_draws_without_hope_are_followed_to_the_first_look_only(runs):
    """A class of probability 1/100: hope has one draw in five, by κp = 20/100."""
    run, counter = counted(runs["digits"])
    classifier = only(3, certainty=math.log(91))  # 91/(91 + 9 others)
    chosen = sample_classes(run, [2], 5, classifier=classifier, generator=seeded(5), steps=20)
    first, second = (round(look * 10) for look in LOOKS)
    assert first < second
    # All hope alike at both looks, since the classifier says the same of all points.
    assert counter.points == first * chosen.draws + (20 - first) * chosen.ended
    assert abs(chosen.ended / chosen.draws - 0.2) < 4 * math.sqrt(0.16 / chosen.draws)


def test_a_pull_is_the_velocity_of_the_class(runs, monkeypatch):
    """All potentials known: Gaussian classes, whose paths from noise end in their law.

    At each time the run's energy is that of the mixture of the paths then, so that k = 1 is
    exact, and draws by Euler steps have the mean of the class up to the step.
    """
    monkeypatch.setattr(conditioning, "PATIENCE", 2)  # so that a mistake ends soon
    means = torch.stack([torch.full((1, 8, 8), m) for m in (-0.5, 0.5)])
    step, clock = 2 / 200, itertools.count()
    paths = replace(runs["digits"].config.scheme, temperature=1.0)
    deviation = 0.3

    def joint(x):
        t = min(1.0, (at[0] + 0.5) * step)
        v = t**2 * deviation**2 + (1 - t) ** 2
        return t, -(x[:, None] - t * means).square().flatten(2).sum(2) / (2 * v)

    at = [0]

    def energy(x):
        at[0] = next(clock)
        t, logs = joint(x)
        if t == 1:
            return 0 * x.flatten(1).sum(1)
        return -(1 - t) / t * logs.logsumexp(1) - x.square().flatten(1).sum(1) / (2 * t)

    run = replace(runs["digits"], config=replace(runs["digits"].config, scheme=paths))
    run = replace(run, energy=Rescaled(energy, torch.tensor(0.0), torch.tensor(1.0)))
    chosen = sample_classes(
        run,
        [1],
        60,
        classifier=lambda x: joint(x)[1].log_softmax(1),
        class_guidance=1.0,
        steps=200,
        generator=seeded(8),
    )
    x = chosen.x[0]
    assert chosen.draws == 90  # enough at once: without a pull half of them would be of class 0
    assert float(x.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(x.std()) == pytest.approx(deviation, abs=0.03)


def test_a_pull_needs_paths_and_is_not_negative(runs):
    options = {"classifier": only(3), "generator": seeded(0)}
    for name, pull in (("moons", 1.0), ("digits", -1.0), ("digits", math.nan)):
        with pytest.raises(ValueError, match="class_guidance"):
            sample_classes(runs[name], [0], 1, class_guidance=pull, **options)


def test_populations_have_classes_too(runs):
    """Points of the plane as images of no kind: any callable of log-probabilities will do."""
    moons = runs["moons"]

    def sign(u):
        right = (u[:, :1] > 0).to(u)
        return torch.cat([1 - right, right], 1).log()

    chosen = sample_classes(moons, [0, 1], 30, classifier=sign, generator=seeded(6))
    assert chosen.x.shape == (2, 30, 2)
    middle = float(moons.energy.shift[0])
    assert (chosen.x[0, :, 0] <= middle).all()
    assert (chosen.x[1, :, 0] > middle).all()


def test_starts_are_checked(runs):
    options = {"classifier": only(3), "generator": seeded(0)}
    with pytest.raises(ValueError, match="start"):
        sample_classes(runs["digits"], [3], 1, start="nowhere", **options)
    with pytest.raises(ValueError, match="start from particles"):
        sample_classes(runs["digits"], [3], 1, start="population", **options)
    with pytest.raises(ValueError, match="Only a flow leads from noise"):
        sample_classes(runs["moons"], [3], 1, start="noise", **options)


def test_a_labeller_is_learned_once_from_the_runs_own_data(runs, tmp_path, monkeypatch):
    shutil.copytree(runs["digits"].path, tmp_path / "run")
    (tmp_path / "run" / LABELLER).unlink()
    run, lines = load(tmp_path / "run"), []
    first = noisy_classifier_of(run, lines.append, updates=150)
    assert "Learning the classes of digits" in lines[0]
    assert f"{first.accuracy:.2%}" in lines[1]
    data = run.dataset
    u = data.standardise(data.test).float()
    right = (first(u).argmax(1) == data.test_labels).double().mean()
    assert first.accuracy == float(right) > 0.8
    monkeypatch.setattr(NoisyClassifier, "fit", None)
    again = noisy_classifier_of(load(run.path), lines.append)
    assert torch.equal(again(u), first(u))
    assert len(lines) == 2


def test_data_without_labels_and_data_not_at_hand_are_refused(runs, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="expected data that have some, got moons"):
        noisy_classifier_of(runs["moons"])
    assert "A class needs labels" in refused("sample", runs["moons"].path, "--class", 1)
    shutil.copytree(zoo.pretrained("mnist"), tmp_path / "run")
    (tmp_path / "run" / LABELLER).unlink(missing_ok=True)
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path / "nothing"))
    line = refused("sample", tmp_path / "run", "--class", 3)
    assert "mnist must have its files in" in line
    assert "`wgflow data fetch mnist`" in line


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_knows_its_classes_without_data(name, tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path / "nothing"))
    classifier = noisy_classifier_of(load(zoo.pretrained(name)))
    assert classifier.classes == 10
    assert classifier.accuracy > 0.85
