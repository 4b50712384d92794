"""The density of a given energy, by the energy: runs whose law a mixture can be."""

from dataclasses import replace
from unittest import mock

import pytest
import torch
from problems import double, seeded

from wgflow.data.targets import Gaussian, GaussianMixture
from wgflow.data.transforms import Column, Transform
from wgflow.energies.mixture import Family
from wgflow.energies.noise_mlp import NoiseMLP
from wgflow.energies.transformed import Transformed
from wgflow.runs import given, sampled
from wgflow.runs.given import fit_energy, resume_energy
from wgflow.runs.informed import _clean, _noisy, _weighed, inform
from wgflow.runs.load import load
from wgflow.runs.run import Run
from wgflow.storage import folder
from wgflow.targets.base import TargetEnergy

SETTINGS = (
    *("training.steps=2", "training.batch_size=64", "energy.width=8", "energy.features=4"),
    *("scheme.scheme.dynamics.size=64", "scheme.scheme.dynamics.held_out=64"),
)
MODES = GaussianMixture(double([[-2.0, 0.0], [2.0, 1.0]]), 0.7, weights=[0.3, 0.7])
START = Gaussian(torch.zeros(2), 6.25 * torch.eye(2))


def shifted(x):
    """Of log Z = 2."""
    return MODES(x) - 2.0


TARGET = TargetEnergy("two modes", shifted, 2, START)


def learned(path, *settings):
    options = {"particles": 1024, "relative_ess": 0.9, "moves": 1, "method": "annealed-smc"}
    return fit_energy(TARGET, None, path, seed=1, settings=(*SETTINGS, *settings), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return learned(tmp_path_factory.mktemp("given") / "run")


def test_the_density_is_better_than_points_can_tell(run):
    """Eleven parameters of 829 points have a squared error of .013, and log Z one of its own."""
    x = MODES.sample(4000, dtype=torch.float32, generator=seeded(2))
    r = (run.log_prob(x) - MODES.log_prob(x)).double()
    found = run.target.normaliser
    assert float(r.var()) < 0.004
    assert abs(float(r.mean())) < 0.01
    assert abs(found.value - 2) < 4 * found.error + 0.05


def test_draws_are_those_of_the_density(run):
    x = run.sample(4000, generator=seeded(3)).double()
    share = float((x[:, 0] > 0).double().mean())
    assert abs(share - 0.7) < 0.03
    assert (x.mean(0) - double([0.8, 0.7])).abs().max() < 0.15
    assert float(x.abs().max()) < 8  # no mass far away, which points of V do not see


def test_it_is_what_the_folder_has(run):
    again = load(run.path)
    x = MODES.sample(50, dtype=torch.float32, generator=seeded(4))
    assert torch.equal(again.log_prob(x), run.log_prob(x))


def test_killed_before_it_is_recorded_it_is_fitted_to_the_same(run, tmp_path, monkeypatch):
    """From what points alone taught, not once more from its own result."""

    def die(*_, **__):
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(given, "proposal_scores", die)
        with pytest.raises(SystemExit, match="killed"):
            learned(tmp_path / "run")
    where = tmp_path / "run" / folder.TARGET
    assert (where / sampled.LEARNED).is_file()
    again = resume_energy(tmp_path / "run", TARGET)
    for a, b in zip(again.energy.parameters(), run.energy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again.target.scores == run.target.scores
    assert not (where / sampled.LEARNED).exists()


def test_without_log_z_nothing_is_changed(run):
    found = run.target.normaliser._replace(value=float("nan"))
    unknown = replace(run, target=replace(run.target, normaliser=found))
    assert inform(unknown, TARGET) is unknown


def test_other_energies_are_left_as_they_are(tmp_path):
    run = learned(tmp_path / "run", "data.validation_fraction=0.0", "training.patience=none")
    assert inform(run, TARGET) is run


def test_noise_of_the_lowest_level_is_counted_once():
    family = Family.empty(3, 3, 2)
    noisy = _noisy(family, 0.25)
    eye = torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(noisy.covariances, 1.25 * eye.expand(3, 2, 2))
    torch.testing.assert_close(_clean(noisy, 0.25).covariances, eye.expand(3, 2, 2))


def test_draws_beyond_a_bound_of_a_column_are_where_they_are():
    """They are not reflected, as samples of the run are: ``log π(u) = -V(x) + log dx/du``."""
    maps, law = Transform((Column("log", 0.0, 1.0, 0.5),)), Gaussian(torch.ones(1), torch.eye(1))
    energy = Transformed(lambda u: u.square().sum(1), double([-1.0]), double([2.0]), maps)
    u = double([[-2.0], [-0.5], [0.0], [1.0]]).requires_grad_()
    x = energy.unstandardise(u)
    assert (x < 0).squeeze(1).tolist() == [True, True, False, False]
    (slope,) = torch.autograd.grad(x.sum(), u)
    expected = -law(x.detach()) + slope.log().squeeze(1) - 0.25
    run = mock.Mock(
        spec=Run,
        dtype=torch.float64,
        energy=energy,
        standardise=energy.standardise,
        unstandardise=lambda u: maps.within(energy.unstandardise(u)),
    )
    source = mock.Mock(sample=lambda *_, generator: u.detach(), return_value=torch.zeros(5))
    base = mock.Mock(spec=NoiseMLP, at=lambda *_: None, source=source)
    target = TargetEnergy("on the line", law, 1, law)
    found = _weighed(run, base, target, double([[2.0]]), 0.25, seeded(0))
    torch.testing.assert_close(found.log_p[1:], expected)
