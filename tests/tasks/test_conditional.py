"""Conditionals of columns: closed forms of mixtures, in the units of data and bent ones."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from problems import F64, double, seeded, z_score
from torch import nn

from wgflow.data.column import Column
from wgflow.data.columns import Columns
from wgflow.data.gaussian_mixture import moments
from wgflow.data.targets import GaussianMixture
from wgflow.tasks.conditional import ConditionalDensity, known_row


class Sinh(nn.Module):
    """The mixture over ``u = asinh((x - m)/s)``, in the units of x."""

    def __init__(self, energy, shift, scale):
        super().__init__()
        self.energy, self.shift, self.scale = energy, shift, scale

    def standardise(self, x):
        return torch.asinh((x - self.shift.to(x)) / self.scale.to(x))

    def forward(self, x):
        gap = (x - self.shift.to(x)) / self.scale.to(x)
        log_slope = -(1 + gap**2).log() / 2 - self.scale.log().to(x)
        return self.energy(self.standardise(x)) - log_slope.sum(1)


@dataclass(frozen=True, eq=False)
class Known:
    """What a run is to a conditional, of a distribution that is known.

    Its units are bent, so that no answer is right by a shift and a scale of all columns alone.
    """

    target: GaussianMixture
    mixture: GaussianMixture
    energy: Sinh

    @property
    def columns(self):
        return tuple("abcdefgh"[: self.target.dim])

    def standardise(self, x):
        return self.energy.standardise(x)

    def unstandardise(self, u):
        return self.energy.shift.to(u) + self.energy.scale.to(u) * torch.sinh(u)

    def given(self, row, count):
        """The conditional given the first columns of a standardised row, and its closed form."""
        hidden = torch.arange(self.target.dim) >= count
        x = self.unstandardise(row)
        return ConditionalDensity(self, x, hidden), exact(self.target, row, count)

    def log_prob(self, law, count, x):
        """``log p(x_A | x_B)`` of closed form, in the units of x."""
        s = self.energy.scale[count:]
        gap = (x - self.energy.shift[count:]) / s
        jacobian = -(1 + gap**2).log() / 2 - s.log()
        return law.log_prob(torch.asinh(gap)) + jacobian.sum(1)


def known(target, mixture=None):
    d = target.dim
    shift, scale = torch.linspace(-2, 3, d, dtype=F64), torch.linspace(0.5, 4, d, dtype=F64)
    return Known(target, mixture or target, Sinh(target, shift, scale))


def gaussian_of(mixture):
    """The Gaussian of a mixture's moments, which knows of no modes."""
    mean, covariance = moments(mixture)
    return GaussianMixture(mean[None], covariances=covariance[None])


def exact(target, row, count):
    """The conditional given the first coordinates, part by part with inverses."""
    parts = []
    for a, m, f in zip(target.weights, target.means, target.factors, strict=True):
        c, gap = f @ f.T, row[:count] - m[:count]
        inverse = torch.linalg.inv(c[:count, :count])
        gain = c[count:, :count] @ inverse
        log_a = a.log() - torch.logdet(2 * math.pi * c[:count, :count]) / 2
        mean, rest = m[count:] + gain @ gap, c[count:, count:] - gain @ c[:count, count:]
        parts.append((log_a - gap @ inverse @ gap / 2, mean, (rest + rest.T) / 2))
    log_a, means, covariances = (torch.stack(column) for column in zip(*parts, strict=True))
    return GaussianMixture(means, covariances=covariances, weights=log_a.softmax(0))


def mixture(d, parts, seed, spread=1.5):
    """Overlapping parts, so that several are left whatever is known."""
    g = seeded(seed)
    a = torch.randn(parts, d, d, generator=g, dtype=F64)
    means = spread * torch.randn(parts, d, generator=g, dtype=F64)
    covariances = a @ a.mT / d + 0.2 * torch.eye(d, dtype=F64)
    return GaussianMixture(means, covariances=covariances, weights=1 + torch.arange(parts))


def far_apart(d=4):
    """Two parts that differ in all hidden coordinates by twelve deviations, not in the first."""
    means = torch.zeros(2, d, dtype=F64)
    means[:, 1:] = double([[-1.0], [1.0]]) * 6 / math.sqrt(d - 1)
    return GaussianMixture(means, 1.0, weights=[0.3, 0.7])


def shares(law, v):
    """The probability of each part given each point, (points, parts)."""
    logs = [
        weight.log() + GaussianMixture(m[None], covariances=(f @ f.T)[None]).log_prob(v)
        for weight, m, f in zip(law.weights, law.means, law.factors, strict=True)
    ]
    return torch.stack(logs, 1).softmax(1)


CASES = {
    "1 of 2": (mixture(2, 3, 0), 1),
    "1 of 3": (mixture(3, 3, 1), 2),
    "2 of 3": (mixture(3, 3, 2), 1),
    "2 of 6": (mixture(6, 3, 3), 4),
    "4 of 6": (mixture(6, 3, 4, 1.0), 2),
    "far apart": (far_apart(), 1),
}
ROWS = {name: target.means[0] * 0.5 for name, (target, _) in CASES.items()}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A conditional and its closed form; the reference has no modes where it is annealed."""
    target, count = CASES[request.param]
    density = known(target, gaussian_of(target))
    p, law = density.given(ROWS[request.param], count)
    return density, replace(p, chains=800), law, count


def test_draws_have_the_moments_and_the_masses_of_the_modes(case):
    density, p, law, _ = case
    x = p.sample(400, generator=seeded(5))
    v = density.standardise(p.complete(x))[:, p.hidden]
    assert x.shape == (400, law.dim)
    mean, covariance = moments(law)
    u = v - mean
    i, j = torch.triu_indices(law.dim, law.dim)
    assert z_score(v, mean).abs().max() < 4
    assert z_score(u[:, i] * u[:, j], covariance[i, j]).abs().max() < 4
    found = shares(law, v)
    varied = found.std(0) > 1e-6
    assert z_score(found, law.weights)[varied].abs().max() < 4
    assert torch.allclose(found.mean(0), law.weights, atol=0.08)


def test_densities_are_those_of_the_closed_form_within_their_error(case):
    density, p, law, count = case
    x = p.sample(20, generator=seeded(6))
    gap = p.log_prob(x) - density.log_prob(law, count, x)
    assert gap.std() < 1e-9
    assert abs(gap.mean()) < max(4 * p.normaliser.error, 1e-6)
    assert p.normaliser.error < 0.1
    slack = 4 * p.normaliser.error + 1e-9
    assert p.normaliser.lower - slack < p.normaliser.value < p.normaliser.upper + slack


def test_the_density_of_a_column_integrates_to_one():
    density = known(mixture(3, 3, 2))
    p, _ = density.given(double([0.5, 0.2, 0.0]), 2)
    x = torch.linspace(-20, 20, 20_001, dtype=F64)[:, None].sinh()
    assert torch.trapezoid(p.log_prob(x).exp(), x[:, 0]) == pytest.approx(1, abs=1e-5)


def test_the_reference_says_nothing_about_the_answer():
    """Annealed from the mixture itself, which needs few changes, or from its moments alone."""
    target = CASES["4 of 6"][0]
    (near, _), (far, _) = (
        known(target, m).given(ROWS["4 of 6"], 2) for m in (target, gaussian_of(target))
    )
    near, far = replace(near, chains=400), replace(far, chains=400)
    gap = near.normaliser.value - far.normaliser.value
    assert abs(gap) < 4 * math.hypot(near.normaliser.error, far.normaliser.error)
    assert near.normaliser.error < far.normaliser.error


def test_a_narrow_mode_far_from_a_wide_one_is_found_on_the_grid():
    means = double([[0.0, -30.0], [0.0, 5.0]])
    covariances = torch.stack([torch.eye(2, dtype=F64), double([[1.0, 0.0], [0.0, 0.0025]])])
    target = GaussianMixture(means, covariances=covariances, weights=[0.4, 0.6])
    density = known(target, gaussian_of(target))
    p, law = density.given(double([0.3, 0.0]), 1)
    v = density.standardise(p.complete(p.sample(2000, generator=seeded(7))))[:, 1:]
    assert z_score((v > 0).double(), 0.6).abs() < 4
    assert z_score((v[v > 0][:, None] - 5) ** 2, 0.0025).abs() < 4
    y = law.sample(50, dtype=F64, generator=seeded(8))
    x = density.unstandardise(torch.cat([torch.zeros_like(y), y], 1))[:, 1:]
    assert torch.allclose(p.log_prob(x), density.log_prob(law, 1, x), atol=1e-5)


@pytest.mark.parametrize("width", [0.02, 50.0])
def test_the_box_of_a_grid_grows_and_shrinks_to_what_there_is(width):
    target = mixture(2, 2, 0)
    density = known(target, GaussianMixture(double([[0.0, 0.0]]), width))
    p, law = density.given(double([0.3, 0.0]), 1)
    x = p.sample(400, generator=seeded(9))
    v = density.standardise(p.complete(x))[:, 1:]
    assert z_score(v, moments(law)[0]).abs() < 4
    assert torch.allclose(p.log_prob(x), density.log_prob(law, 1, x), atol=1e-6)


def test_names_and_whole_rows():
    density = known(mixture(3, 2, 0))
    row, hidden = known_row({"c": 1.5, 0: -1}, Columns.numbers("abc"), torch.zeros(3, dtype=F64))
    assert row.tolist() == [-1, 0, 1.5]
    p = ConditionalDensity(density, row, hidden)
    assert p.columns == ("b",)
    assert p.known == {"a": -1.0, "c": 1.5}
    assert p.complete(double([[7.0], [8.0]])).tolist() == [[-1, 7, 1.5], [-1, 8, 1.5]]


def test_a_value_beyond_all_rows_is_told(caplog):
    a, b = Column("a", "continuous", None, -1.0, 2.0), Column("b", "integer", 1.0, 0.0, 5.0)
    columns = Columns((a, b))
    for fine in ({"a": -1.0}, {"a": 2.0}, {"b": 5}, {"b": 0}):
        known_row(fine, columns, torch.zeros(2, dtype=F64))
    assert not caplog.records
    known_row({"a": 2.5}, columns, torch.zeros(2, dtype=F64))
    (record,) = caplog.records
    assert "'a' = 2.5 lies beyond the rows that were learned from, -1 to 2" in record.getMessage()


def test_draws_depend_on_the_generator_alone():
    p, _ = known(mixture(4, 2, 0)).given(torch.zeros(4, dtype=F64), 1)
    p = replace(p, chains=50)
    first, again, other = (p.sample(20, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


REFUSED = {
    r"columns by name or index: got 'colour'; the columns are red, green, blue": {"colour": 1.0},
    "got 'gren'; did you mean 'green'": {"gren": 1.0},
    "got 3;": {3: 1.0},
    "got -1;": {-1: 1.0},
    "got True;": {True: 1.0},
    "'red' must have a finite number as its value: got '1'": {"red": "1"},
    "'red' must have a finite number as its value: got nan": {"red": math.nan},
    "'red' must have a finite number as its value: got True": {"red": True},
    "each column once: got 'red' twice": {"red": 1.0, 0: 1.0},
    "some of the columns red, green, blue: got none": {},
    "some of the columns red, green, blue: got all": {"red": 1, "green": 1, "blue": 1},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals_of_known_values(message):
    with pytest.raises(ValueError, match=message):
        known_row(REFUSED[message], Columns.numbers(["red", "green", "blue"]), torch.zeros(3))


def test_refusals(monkeypatch):
    density = known(mixture(3, 2, 0))
    p, _ = density.given(torch.zeros(3, dtype=F64), 1)
    with pytest.raises(ValueError, match=r"shape \(batch, 2\), a column for each of b, c: got"):
        p.log_prob(torch.zeros(5, 3))
    with pytest.raises(ValueError, match="`n` must be > 0 and finite: got 0"):
        p.sample(0)
    with pytest.raises(ValueError, match="`chains` must be > 0 and finite: got 0"):
        replace(p, chains=0)
    with pytest.raises(ValueError, match=r"values that they can have: got .*inf"):
        ConditionalDensity(density, double([math.inf, 0, 0]), p.hidden)
    contradicted = p.normaliser._replace(value=math.nan, lower=2.0, upper=-30.0)
    monkeypatch.setitem(vars(p), "normaliser", contradicted)
    with pytest.raises(ValueError, match="its bounds 2 and -30 contradict it; try more `chains`"):
        p.log_prob(torch.zeros(1, 2, dtype=F64))
