"""The schemes' own exact laws: on a circle, on Gaussians and on finite sets, by quadrature.

A carry is built by hand with quadrature nodes as weighted particles, so that a loss is its exact
integral. On the circle the uniform law has cos(nx) for eigenfunctions of -L, of eigenvalue n².
"""

import math
from dataclasses import dataclass
from itertools import repeat

import pytest
import torch
from torch import nn

from wgflow.energies.base import energy_and_grad
from wgflow.energies.noise_levels import NoiseLevels
from wgflow.likelihood.gaussian import GaussianLaw, ula_law
from wgflow.likelihood.quadrature import Grid, log_density, log_z
from wgflow.samplers import MALA, ULA, Info, Sampler
from wgflow.samplers.langevin import LangevinState
from wgflow.samplers.particles import Particles, effective_fraction
from wgflow.schemes import (
    Carry,
    FirstOrder,
    Forward,
    FromData,
    FromNoise,
    GradientNorm,
    InnerDescent,
    MaximumLikelihood,
    NearProximal,
    Population,
    Reverse,
)
from wgflow.schemes.population import RETRY
from wgflow.training.loop import train

F64 = torch.float64
FORMS = [Forward(), Reverse()]
ENVELOPES = [FirstOrder(share=1.0), InnerDescent(steps=25, relaxation=1.0)]
combinations = pytest.mark.parametrize(
    ("form", "envelope"), [(f, e) for f in FORMS for e in ENVELOPES], ids=str
)


def tensor(*values):
    return torch.tensor(values, dtype=F64)


class Quadratic(nn.Module):
    """``E(x) = ½ xᵀAx - b·x + c`` with a symmetric A."""

    def __init__(self, precision, linear, constant=0.0):
        super().__init__()
        self.precision = nn.Parameter(torch.as_tensor(precision, dtype=F64).clone())
        self.linear = nn.Parameter(torch.as_tensor(linear, dtype=F64))
        self.constant = nn.Parameter(torch.as_tensor(constant, dtype=F64))

    def forward(self, x):
        x = x.flatten(1)
        return (x @ self.precision * x).sum(1) / 2 - x @ self.linear + self.constant


class Circle(nn.Module):
    """``E(x) = c + Σ_n a_n cos(nx)``, of period 2π."""

    def __init__(self, *coefficients, constant=0.0):
        super().__init__()
        self.coefficients = nn.Parameter(tensor(*coefficients))
        self.constant = nn.Parameter(tensor(constant)[0])

    def forward(self, x):
        n = torch.arange(1, len(self.coefficients) + 1, dtype=x.dtype)
        return torch.cos(x.flatten(1) * n) @ self.coefficients + self.constant


class Net(nn.Module):
    """A small smooth energy of points of d coordinates, confined."""

    def __init__(self, dim, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(dim, 8, generator=generator, dtype=F64))
        self.out = nn.Parameter(torch.randn(8, generator=generator, dtype=F64))

    def forward(self, x):
        x = x.flatten(1)
        return torch.tanh(x @ self.weight) @ self.out + x.square().sum(1) / 2


@dataclass(frozen=True)
class Still(Sampler[LangevinState]):
    """The identity: it leaves every law invariant."""

    step_size: float = 0.25

    def init(self, energy, x, *, generator=None):
        value, grad = energy_and_grad(energy, x)
        return LangevinState(x, value, grad, value.new_tensor(self.step_size))

    def step(self, energy, state, *, generator=None):
        return state, Info(torch.zeros_like(state.energy), torch.zeros_like(state.energy))

    def time(self, state):
        return float(state.step_size)


CIRCLE = Grid.box([0.0], [2 * math.pi], 96)
LINE = Grid.box([-9.0], [9.0], 300)


def carry_at(energy, batch, x, log_weight=None, envelope=None):
    """A carry by hand: E_k at the batch and at weighted particles x."""
    weight = x.new_zeros(len(x)) if log_weight is None else log_weight
    particles = Particles(Still().init(energy, x), weight, torch.zeros((), dtype=F64))
    with torch.no_grad():
        values = energy(batch)
    frozen = {} if envelope is None else envelope.freeze(energy, particles)
    return Carry(batch, values, particles, None, torch.tensor(0), torch.tensor(0), frozen, {})


def model_carry(energy, batch, grid, envelope=None):
    """A carry whose particles are the exact law of the energy, by quadrature."""
    return carry_at(energy, batch, grid.nodes, log_density(energy, grid), envelope)


def proximal(form=FORMS[0], envelope=ENVELOPES[0], h=0.3, dynamics=None):
    dynamics = dynamics or population()
    return NearProximal(dynamics, form, envelope, h=h, inner_steps=1, trust=0.0)


def population(**options):
    """A population with every hyper-parameter said, changed by ``options``."""
    plain = {
        "sampler": Still(),
        "steps": 1,
        "size": 64,
        "held_out": 0,
        "held_out_every": 1,
        "scale": 1.3,
        "reaction": True,
        "resample_below": 0.0,
        "global_moves": 0,
        "bandwidth": 1.0,
        "restart": 0.0,
        "tempered": 1.0,
        "draws": 0,
    }
    return Population(**(plain | options))


def gradients(loss, energy):
    grads = torch.autograd.grad(loss, list(energy.parameters()), allow_unused=True)
    return torch.cat([g.flatten() for g in grads if g is not None])


def perturb(energy, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in energy.parameters():
            p += size * torch.randn(p.shape, generator=generator, dtype=p.dtype)


def minimise(scheme, energy, carry):
    """The exact inner problem."""
    optimizer = torch.optim.LBFGS(
        energy.parameters(),
        max_iter=100,
        tolerance_grad=1e-12,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = scheme.loss(energy, carry).value
        value.backward()
        return value

    optimizer.step(closure)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def z_score(samples, expected):
    return (samples.mean(0) - expected) / (samples.std(0) / math.sqrt(len(samples)))


# Entropies


def finite_laws():
    """Laws p (as points repeated) and ρ (as log-weights) on 40 points."""
    count = torch.randint(1, 9, (40,), generator=torch.Generator().manual_seed(1))
    log_p = (count.double() / count.sum()).log()
    return count, log_p, noise(40, seed=2).log_softmax(0)


def test_forward_entropy_is_the_change_of_the_relative_entropy():
    count, log_p, log_model = finite_laws()
    psi = 0.7 * noise(40, seed=3)
    new = (log_model - psi).log_softmax(0)
    change = (log_p.exp() * (log_model - new)).sum()
    got = Forward().entropy(psi.repeat_interleave(count), psi, log_model + 5.0)
    torch.testing.assert_close(got, change, rtol=1e-12, atol=1e-12)


def test_forward_entropy_of_a_net_is_the_change_of_the_likelihood_and_so_is_its_gradient():
    energy, batch = Net(1, seed=4), noise(7, 1, seed=5)
    scheme, carry = proximal(), model_carry(energy, batch, LINE)
    with torch.no_grad():
        before = energy(batch).mean() + log_z(energy, LINE)
    perturb(energy, 0.2)
    exact = energy(batch).mean() + torch.logsumexp(-energy(LINE.nodes), 0)
    loss = scheme.loss(energy, carry)
    change = exact.detach() + math.log(LINE.volume) - before
    torch.testing.assert_close(loss.metrics["entropy"], change, rtol=1e-10, atol=1e-12)
    entropy = loss.value - ENVELOPES[0].cost(energy, carry, energy(LINE.nodes), 0.3)
    torch.testing.assert_close(
        gradients(entropy, energy), gradients(exact, energy), rtol=1e-9, atol=1e-10
    )


def test_reverse_entropy_is_the_dual_of_the_relative_entropy():
    count, log_p, log_rho = finite_laws()

    def dual(psi):
        return Reverse().entropy(psi.repeat_interleave(count), psi, log_rho + 5.0)

    best = (log_rho - log_p + 0.4).requires_grad_()
    value = dual(best)
    exact = -(log_rho.exp() * (log_rho - log_p)).sum()
    torch.testing.assert_close(value, exact, rtol=1e-12, atol=1e-12)
    (grad,) = torch.autograd.grad(value, best)
    assert grad.abs().max() < 1e-14
    for size in (-1.0, -0.01, 0.01, 1.0):
        assert dual(best + size * noise(40, seed=6)) > exact


# Envelopes


PRECISION = tensor(1.5, 0.4, 0.4, 0.8).reshape(2, 2)


def quadratic_pair():
    """``E_k`` and ``E_θ``, and the matrix a and vector b of ``ψ = ½ xᵀax - b·x + c``."""
    a, b = tensor(0.5, -0.2, -0.2, 0.3).reshape(2, 2), tensor(0.4, -0.7)
    return Quadratic(PRECISION, [0.1, 0.2]), a, b


def test_first_order_cost_of_a_quadratic_change():
    energy, a, b = quadratic_pair()
    grid = Grid.box([-9.0, -9.0], [9.0, 9.0], 60)
    carry = model_carry(energy, noise(3, 2), grid)
    s = torch.linalg.inv(PRECISION)
    m = s @ energy.linear.detach()
    with torch.no_grad():
        energy.precision += a
        energy.linear += b
    cost = FirstOrder(share=1.0).cost(energy, carry, energy(grid.nodes), 0.3)
    change = (energy.precision + energy.precision.T) / 2 - PRECISION
    drift = change @ m - (energy.linear - tensor(0.1, 0.2))
    exact = 0.15 * (torch.trace(change @ s @ change.T) + drift @ drift)
    torch.testing.assert_close(cost, exact, rtol=1e-8, atol=0)
    torch.testing.assert_close(
        gradients(cost, energy)[:6], gradients(exact, energy), rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("share", [0.25, 0.3, 0.51])
def test_a_share_of_shuffled_particles_estimates_the_cost_without_bias(share):
    energy, x, costs = Circle(0.4, -0.3), noise(60, 1, seed=7), []
    moved = Circle(0.9, 0.2)
    full = FirstOrder(share=1.0).cost(moved, carry_at(energy, x, x), moved(x), 0.3).detach()
    generator = torch.Generator().manual_seed(8)
    for _ in range(400):
        carry = carry_at(energy, x, x[torch.randperm(60, generator=generator)])
        costs.append(FirstOrder(share).cost(moved, carry, moved(carry.particles.x), 0.3))
    costs = torch.stack(costs).detach()
    assert costs.std() > 1e-3
    assert abs(z_score(costs, full)) < 4


def test_a_share_reaches_every_family_of_copies_and_keeps_the_weights():
    energy, moved = Circle(0.4, -0.3), Circle(0.9, 0.2)
    x, log_weight = noise(32, 1, seed=9), noise(32, seed=10)
    copies = carry_at(energy, x, x.repeat_interleave(4, 0), log_weight.repeat_interleave(4))
    single = carry_at(energy, x, x, log_weight)
    part = FirstOrder(share=0.25).cost(moved, copies, moved(copies.particles.x), 0.3)
    full = FirstOrder(share=1.0).cost(moved, single, moved(x), 0.3)
    torch.testing.assert_close(part, full, rtol=1e-12, atol=0)


@pytest.mark.parametrize("relaxation", [1.0, 0.6])
def test_inner_descent_on_a_quadratic_converges_geometrically(relaxation):
    h, a = 0.4, 0.9
    energy, y = Quadratic([[1.0]], [0.0]), noise(20, 1, seed=11)
    log_weight = noise(20, seed=12)
    carry = carry_at(energy, y, y, log_weight, InnerDescent())
    with torch.no_grad():
        energy.precision += a
    second = log_weight.softmax(0) @ y.square()[:, 0]
    exact = second * (a / 2 - a / (2 * (1 + h * a)))
    distance = second * (1 - 1 / (1 + h * a)) ** 2  # of y from the proximal point, squared
    for steps in (1, 2, 3, 4, 30):
        envelope = InnerDescent(steps=steps, relaxation=relaxation)
        cost = envelope.cost(energy, carry, energy(y), h)
        contraction = (1 - relaxation * (1 + h * a)) ** (2 * steps)
        expected = exact - (1 + h * a) / (2 * h) * contraction * distance
        torch.testing.assert_close(cost.detach(), expected, rtol=1e-11, atol=1e-13)


def test_inner_descent_is_the_hopf_lax_envelope():
    energy, moved, h = Circle(0.4, -0.3), Circle(0.9, 0.0), 0.3
    y = noise(1, 1, seed=13)
    carry = carry_at(energy, y, y, None, InnerDescent())
    cost = InnerDescent(steps=200, relaxation=0.5).cost(moved, carry, moved(y), h)
    x = y + torch.linspace(-1.5, 1.5, 300_001, dtype=F64)[:, None]
    envelope = moved(x) - energy(x) + (x - y).square()[:, 0] / (2 * h)
    expected = moved(y) - energy(y) - envelope.min()
    torch.testing.assert_close(cost, expected[0], rtol=1e-8, atol=1e-9)


def test_the_first_order_cost_is_the_exact_one_to_order_two():
    energy, moved = Circle(0.4, -0.3), Circle(0.9, 0.2)
    carry = model_carry(energy, CIRCLE.nodes, CIRCLE, InnerDescent())
    values, gaps = moved(CIRCLE.nodes).detach(), []
    for h in (0.02, 0.01, 0.005):
        exact = InnerDescent(steps=40, relaxation=1.0).cost(moved, carry, values, h)
        gap = FirstOrder(share=1.0).cost(moved, carry, values, h) - exact
        gaps.append(float(gap.detach()))
    ratios = [gaps[0] / gaps[1], gaps[1] / gaps[2]]
    assert all(3.8 < ratio < 4.2 for ratio in ratios), ratios


def test_the_gradient_of_the_exact_cost_is_that_of_its_closed_form():
    h = 0.4
    energy, y = Quadratic([[1.0]], [0.0]), noise(20, 1, seed=11)
    carry = carry_at(energy, y, y, noise(20, seed=12), InnerDescent())
    with torch.no_grad():
        energy.precision += 0.9
        energy.linear += 0.6
    cost = InnerDescent(steps=40, relaxation=1.0).cost(energy, carry, energy(y), h)
    a, b, u = energy.precision[0, 0] - 1, energy.linear[0], y[:, 0]
    proximal_value = a * u**2 / 2 - b * u - h * (a * u - b) ** 2 / (2 * (1 + h * a))
    exact = carry.particles.weights @ (a * u**2 / 2 - b * u - proximal_value)
    torch.testing.assert_close(cost, exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        gradients(cost, energy)[:2], gradients(exact, energy), rtol=1e-10, atol=1e-11
    )


def test_inner_descent_needs_a_module():
    with pytest.raises(ValueError, match=r"`energy` must be an nn\.Module.* got function"):
        carry_at(lambda x: x.sum(1), noise(2, 2), noise(2, 2), None, InnerDescent(1, 1.0))


# The near-proximal scheme


@combinations
@pytest.mark.parametrize("h", [0.01, 1.0, 20.0])
def test_a_step_from_the_data_law_stays_there(form, envelope, h):
    count = finite_laws()[0]
    x = CIRCLE.nodes[:40]
    energy, scheme = Circle(0.4, -0.3), proximal(form, envelope, h)
    carry = carry_at(energy, x.repeat_interleave(count, 0), x, count.double().log(), envelope)
    loss = scheme.loss(energy, carry).value
    assert abs(loss) < 1e-14
    assert gradients(loss, energy).abs().max() < 1e-14
    for seed in range(4):
        other = Circle(0.4, -0.3)
        perturb(other, 0.05 / max(h, 1), seed)  # within h∇²ψ > -1
        assert scheme.loss(other, carry).value > 0


@combinations
def test_the_first_loss_is_the_loss_where_nothing_has_changed(form, envelope):
    scheme, energy = proximal(form, envelope), Net(2, seed=0)
    carry = carry_at(energy, noise(9, 2), noise(20, 2, seed=1), noise(20, seed=2), envelope)
    first, whole = scheme.first_loss(energy, carry), scheme.loss(energy, carry)
    torch.testing.assert_close(first.value, whole.value, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        gradients(first.value, energy), gradients(whole.value, energy), rtol=1e-12, atol=1e-14
    )
    assert first.metrics.keys() == whole.metrics.keys()


@combinations
def test_the_loss_ignores_constants_of_the_energy(form, envelope):
    scheme, energy = proximal(form, envelope), Circle(0.4, -0.3)
    carry = model_carry(energy, noise(9, 1), CIRCLE, envelope)
    values = [scheme.loss(Circle(0.6, 0.1, constant=c), carry).value for c in (0.0, 7.0)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=1e-13)


@combinations
def test_the_loss_ignores_order_and_event_shape(form, envelope):
    scheme, energy, moved = proximal(form, envelope), Net(6, seed=0), Net(6, seed=1)
    batch, x, log_weight = noise(9, 6), noise(20, 6, seed=1), noise(20, seed=2)
    value = scheme.loss(moved, carry_at(energy, batch, x, log_weight, envelope)).value
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    images = batch.flip(0).reshape(9, 1, 2, 3), x[order].reshape(20, 1, 2, 3)
    other = scheme.loss(moved, carry_at(energy, *images, log_weight[order], envelope)).value
    torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-12)


def circle_factor(scheme, mode, size):
    """By how much one exact step towards the uniform law multiplies an error ``a cos(nx)``."""
    energy = Circle(*(size if n == mode else 0.0 for n in (1, 2, 3)))
    carry = model_carry(energy, CIRCLE.nodes, CIRCLE, scheme.envelope)
    minimise(scheme, energy, carry)
    return energy.coefficients.detach()[mode - 1] / size


@combinations
@pytest.mark.parametrize(("mode", "h"), [(1, 0.1), (1, 3.0), (2, 0.5), (3, 0.1)])
def test_a_step_contracts_an_error_on_the_circle(form, envelope, mode, h):
    scheme = proximal(form, envelope, h)
    exact = h * mode**2 / (1 + h * mode**2)
    wide, close = (abs(float(circle_factor(scheme, mode, a)) - exact) for a in (0.1, 0.05))
    assert wide < 0.01
    assert close < 0.3 * wide  # odd by symmetry, so of order two in the size of the error


@pytest.mark.parametrize("h", [0.05, 0.5, 4.0])
def test_a_step_contracts_the_mean_of_a_gaussian_exactly(h):
    energy = Quadratic(PRECISION, [0.9, -0.5])
    grid = Grid.box([-9.0, -9.0], [9.0, 9.0], 60)
    target = tensor(0.3, 0.1)
    covariance = torch.linalg.inv(PRECISION)
    error = covariance @ energy.linear.detach() - target
    energy.precision.requires_grad_(False)
    minimise(proximal(h=h), energy, model_carry(energy, target[None], grid))
    got = covariance @ energy.linear.detach() - target
    stiff = h * PRECISION
    expected = torch.linalg.solve(torch.eye(2, dtype=F64) + stiff, stiff @ error)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def variance_factor(h, precision, size):
    """By how much one exact step towards N(0, 1/λ) multiplies a relative error of variance."""
    energy = Quadratic([[precision / (1 + size)]], [0.0])
    batch = tensor(-1.0, 1.0)[:, None] / math.sqrt(precision)  # two points of variance 1/λ
    minimise(proximal(h=h), energy, model_carry(energy, batch, LINE))
    return (precision / float(energy.precision.detach()) - 1) / size


@pytest.mark.parametrize(("h", "precision"), [(0.1, 1.0), (1.0, 0.7), (0.5, 4.0)])
def test_a_step_contracts_the_variance_of_a_gaussian_at_twice_the_eigenvalue(h, precision):
    exact = 2 * h * precision / (1 + 2 * h * precision)
    gaps = [abs(variance_factor(h, precision, size) - exact) for size in (0.08, 0.04, 0.02)]
    assert gaps[0] < 0.15
    assert gaps[1] < 0.6 * gaps[0]
    assert gaps[2] < 0.6 * gaps[1]


@combinations
def test_the_proximal_step_is_the_langevin_time_unless_said(form, envelope):
    dynamics = population(steps=3, sampler=Still(step_size=0.25))
    energy, moved = Circle(0.4, -0.3), Circle(0.6, 0.1)
    carry = model_carry(energy, noise(9, 1), CIRCLE, envelope)
    losses = [proximal(form, envelope, h, dynamics).loss(moved, carry).value for h in (None, 0.75)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-14, atol=0)


@combinations
def test_after_an_advance_the_loss_starts_from_nothing(form, envelope):
    generator = torch.Generator().manual_seed(0)
    sampler = MALA(step_size=0.1, target=0.5, adaptation=0.1)
    scheme = proximal(form, envelope, dynamics=population(sampler=sampler, resample_below=1.0))
    energy = Net(2, seed=0)
    carry = scheme.init(energy, noise(9, 2), generator=generator)
    perturb(energy, 0.3)
    kept = scheme.loss(energy, carry).metrics["trust"] * carry.particles.effective_fraction
    carry = scheme.advance(energy, noise(9, 2, seed=1), carry, generator=generator)
    torch.testing.assert_close(carry.metrics["ess"], kept, rtol=1e-12, atol=0)
    loss = scheme.loss(energy, carry)
    assert abs(loss.value) < 1e-14
    assert gradients(loss.value, energy).abs().max() > 1e-3


# Maximum likelihood and the gradient norm


@pytest.mark.parametrize("regularisation", [0.0, 0.3])
def test_the_gradient_of_maximum_likelihood_is_that_of_the_likelihood(regularisation):
    energy, batch = Net(1, seed=4), noise(7, 1, seed=5)
    carry = model_carry(energy, batch, LINE)
    scheme = MaximumLikelihood(population(), regularisation=regularisation, inner_steps=1)
    exact = energy(batch).mean() + torch.logsumexp(-energy(LINE.nodes), 0)
    square = energy(batch).square().mean() + carry.particles.weights @ energy(LINE.nodes) ** 2
    torch.testing.assert_close(
        gradients(scheme.loss(energy, carry).value, energy),
        gradients(exact + regularisation * square, energy),
        rtol=1e-9,
        atol=1e-10,
    )


def gradient_norm_slope(energy, batch, particles_of, gamma):
    """``∂L`` of `GradientNorm` at the energy, with the particles frozen at a law."""
    carry = carry_at(energy, batch, LINE.nodes, log_density(particles_of, LINE))
    scheme = GradientNorm(population(), gamma=gamma, inner_steps=1)
    return gradients(scheme.loss(energy, carry).value, energy)


@pytest.mark.parametrize(("variance", "gamma"), [(0.7, 0.05), (1.2, 0.3)])
def test_the_gradient_norm_rests_at_a_variance_larger_by_two_gamma(variance, gamma):
    batch = 0.4 + tensor(-1.0, 1.0)[:, None] * math.sqrt(variance)
    rest = variance + 2 * gamma
    energy = Quadratic([[1 / rest]], [0.4 / rest])
    assert gradient_norm_slope(energy, batch, energy, gamma).abs().max() < 1e-7
    unbiased = Quadratic([[1 / variance]], [0.4 / variance])
    assert gradient_norm_slope(unbiased, batch, unbiased, gamma).abs().max() > 0.01


def test_a_reference_outside_the_gradient_norm_shrinks_the_mean():
    mean, variance, gamma = 0.8, 1.5, 0.4
    batch = tensor(mean)[:, None]
    shrunk = mean / (1 + gamma / variance)
    free = Quadratic([[0.0]], [shrunk / variance])
    free.precision.requires_grad_(False)
    free.constant.requires_grad_(False)

    def slope(m):
        with torch.no_grad():
            free.linear.fill_(m / variance)
        carry = carry_at(
            free, batch, LINE.nodes, log_density(Quadratic([[1 / variance]], [m / variance]), LINE)
        )
        value = GradientNorm(population(), gamma=gamma, inner_steps=1).loss(free, carry).value
        return float(torch.autograd.grad(value, free.linear)[0])

    assert abs(slope(shrunk)) < 1e-9
    assert abs(slope(mean)) > 0.1


# The population


class Path:
    """A known path of Gaussian energies of one shape of event, with ``log Z`` known."""

    def __init__(self, shape=(2,)):
        self.shape = shape
        self.dim = math.prod(shape)

    def __call__(self, k):
        precision, mean = 1.5 + 0.25 * k, 0.15 * k
        return lambda x: precision / 2 * (x.flatten(1) - mean).square().sum(1) - 0.5 + 0.1 * k

    def log_z(self, k):
        return self.dim / 2 * math.log(2 * math.pi / (1.5 + 0.25 * k)) + 0.5 - 0.1 * k

    def moments(self, k):
        """E[x_1] and E[x_1²]."""
        return tensor(0.15 * k, 0.0225 * k**2 + 1 / (1.5 + 0.25 * k))


def moments(particles):
    x = particles.x.flatten(1)[:, 0]
    return torch.stack([particles.weights @ x, particles.weights @ x**2])


@pytest.mark.parametrize("shape", [(1,), (1, 3)])
def test_the_first_weights_are_exact(shape):
    path, generator = Path(shape), torch.Generator().manual_seed(0)
    like = torch.zeros(1, *shape, dtype=F64)
    dynamics = population(size=20_000, held_out=10_000)
    carry = dynamics.init(path(0), like, generator=generator)
    for particles in (carry.particles, carry.held_out):
        z = particles.log_weight.exp() / math.exp(path.log_z(0))
        assert abs(z_score(z, 1.0)) < 4
        assert abs(float(particles.log_z) - path.log_z(0)) < 0.05
        square = z * particles.x.flatten(1)[:, 0] ** 2
        assert abs(z_score(square, 1 / 1.5)) < 4


MOVES = {
    "still": {"sampler": Still()},
    "mala": {"sampler": MALA(step_size=0.3, adaptation=0.0), "steps": 2},
    "ula": {"sampler": ULA(step_size=0.4), "steps": 2},
    "global": {"sampler": Still(), "global_moves": 2},
}


@pytest.mark.parametrize("resample_below", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("moves", MOVES)
def test_a_population_follows_a_path_of_energies(moves, resample_below):
    path, generator, steps = Path(), torch.Generator().manual_seed(3), 4
    options = MOVES[moves] | {"size": 150, "held_out": 150, "held_out_every": 2}
    dynamics = population(**options, resample_below=resample_below)
    rows = []
    for _ in range(60):
        carry = dynamics.init(path(0), noise(40, 2), generator=generator)
        for k in range(1, steps + 1):
            batch = noise(40, 2, seed=k)
            carry = dynamics.advance(path(k), batch, carry, generator=generator)
        for p in (carry.particles, carry.held_out):
            ratio = (p.log_z - path.log_z(steps)).exp()
            rows.append(torch.cat([ratio[None], ratio * moments(p)]))
    expected = torch.cat([tensor(1.0), path.moments(steps)])
    groups = torch.stack(rows).reshape(60, 2, 3)
    assert groups.std(0).max() < 0.5
    assert z_score(groups, expected).abs().max() < 4


def test_deferred_reaction_is_exact():
    path, carries = Path(), []
    for every in (1, 2, 4):
        dynamics = population(held_out=32, held_out_every=every)
        generator = torch.Generator().manual_seed(0)
        carry = dynamics.init(path(0), noise(5, 2), generator=generator)
        for k in range(1, 5):
            carry = dynamics.advance(path(k), noise(5, 2), carry, generator=generator)
            assert ("held_out_log_z" in carry.metrics) is (k % every == 0)
        carries.append(carry.held_out)
    x = carries[0].x
    log_q = -x.square().sum(1) / (2 * 1.3**2) - 2 * math.log(1.3 * math.sqrt(2 * math.pi))
    for held_out in carries:
        torch.testing.assert_close(held_out.x, x, rtol=0, atol=0)
        torch.testing.assert_close(held_out.log_weight, -path(4)(x) - log_q, rtol=0, atol=1e-12)


def test_the_held_out_population_never_enters_training():
    sampler = MALA(step_size=0.1, target=0.5, adaptation=0.1)
    dynamics = population(sampler=sampler, held_out=32, global_moves=1)
    scheme, results = proximal(dynamics=dynamics), []
    for replaced in (False, True):
        generator, energy = torch.Generator().manual_seed(0), Net(2, seed=0)
        carry = scheme.init(energy, noise(9, 2), generator=generator)
        if replaced:
            other = carry_at(energy, noise(1, 2), 3 + noise(32, 2), noise(32, seed=1))
            carry = carry._replace(held_out=other.particles)
        optimizer = torch.optim.SGD(energy.parameters(), lr=0.1)
        batches = iter([noise(9, 2, seed=k) for k in range(9)])
        run = train(energy, scheme, batches, optimizer, carry=carry, generator=generator)
        last = [next(run) for _ in range(4)][-1]
        parameters = torch.cat([p.detach().flatten() for p in energy.parameters()])
        results.append((parameters, last.carry.particles.x, last.carry.held_out.x))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][2], results[1][2])


def test_watching_a_run_does_not_change_it():
    results = []
    for held_out, every in ((0, 1), (16, 1), (64, 3)):
        dynamics = population(held_out=held_out, held_out_every=every, resample_below=0.9)
        generator, path = torch.Generator().manual_seed(0), Path()
        carry = dynamics.init(path(0), noise(5, 2), generator=generator)
        for k in range(1, 5):
            carry = dynamics.advance(path(k), noise(5, 2), carry, generator=generator)
        results.append(carry.particles)
    for other in results[1:]:
        assert torch.equal(other.x, results[0].x)
        assert torch.equal(other.log_weight, results[0].log_weight)


@pytest.mark.parametrize(("acceptance", "tried"), [(0.3, True), (0.001, False)])
def test_hopeless_global_moves_rest(acceptance, tried):
    dynamics, path = population(global_moves=1), Path()
    generator = torch.Generator().manual_seed(0)
    carry = dynamics.init(path(0), noise(5, 2), generator=generator)
    carry = dynamics.advance(path(1), noise(5, 2), carry, generator=generator)
    last = {"global_acceptance": tensor(acceptance)}
    carry = dynamics.advance(
        path(2), noise(5, 2), carry._replace(metrics=last), generator=generator
    )
    assert (float(carry.metrics["global_acceptance"]) != acceptance) is tried
    later = carry._replace(metrics=last, done=torch.tensor(RETRY))
    carry = dynamics.advance(path(3), noise(5, 2), later, generator=generator)
    assert float(carry.metrics["global_acceptance"]) != acceptance


@pytest.mark.parametrize("sampler", [Still(), ULA(step_size=0.3)])
def test_without_reaction_particles_carry_no_weights(sampler):
    dynamics = population(sampler=sampler, reaction=False, resample_below=1.0, held_out=8)
    generator, path = torch.Generator().manual_seed(0), Path()
    carry = dynamics.init(path(0), noise(5, 2), generator=generator)
    assert carry.particles.effective_fraction == 1
    carry = dynamics.advance(path(3), noise(5, 2), carry, generator=generator)
    assert float(carry.particles.effective_fraction) == pytest.approx(1.0, abs=1e-12)


def test_without_reaction_chains_follow_the_law_of_their_kernel():
    target = GaussianLaw(tensor(0.5), tensor(0.8)[None])
    energy = Quadratic([[1 / 0.8]], [0.5 / 0.8])
    start = GaussianLaw(tensor(0.0), tensor(1.3**2)[None])
    batch = noise(4000, 1, seed=1)
    at_batch = GaussianLaw(batch.mean(0), batch.var(0, correction=0)[None])
    ula = ULA(step_size=0.3)
    for dynamics, law, steps in (
        (FromNoise(ula, steps=3, size=4000, scale=1.3), start, 3),
        (FromData(ula, steps=3), at_batch, 3),
        (population(sampler=ula, size=4000, reaction=False, steps=3), start, 9),
    ):
        generator = torch.Generator().manual_seed(0)
        carry = dynamics.init(energy, batch, generator=generator)
        for _ in range(3):
            carry = dynamics.advance(energy, batch, carry, generator=generator)
        assert carry.done == 3
        exact = ula_law(law, target, 0.3, steps)
        x = carry.particles.x
        assert z_score(x, exact.mean).abs().max() < 4
        assert abs(z_score((x[:, 0] - exact.mean) ** 2, exact.covariance[0, 0])) < 4
        if not isinstance(dynamics, Population):
            assert (carry.particles.log_weight == 0).all()
            assert dynamics.time(carry) == pytest.approx(0.9)


@pytest.mark.parametrize("life", [1, 3, 7, 20])
def test_chains_from_data_die_in_turn(life):
    """Each learning step makes anew those whose turn it is, at points of its batch."""
    count, path = 7, Path()
    generator = torch.Generator().manual_seed(0)

    def batch(k):
        return torch.full((count, 2), float(k), dtype=F64)

    dynamics = FromData(Still(), steps=2, life=life)
    carry = dynamics.init(path(0), batch(0), generator=generator)
    births = []
    for k in range(1, 2 * life + 1):
        carry = dynamics.advance(path(k), batch(k), carry, generator=generator)
        assert torch.equal(carry.particles.x, carry.batch)  # chains that stay are with their data
        torch.testing.assert_close(carry.batch_energy, path(k)(carry.batch))
        torch.testing.assert_close(carry.particles.state.energy, path(k)(carry.batch))
        births.append(carry.batch[:, 0])
    ages = torch.arange(1, 2 * life + 1)[:, None] - torch.stack(births)
    assert ages[life - 1 :].max() == life - 1  # after one life all have been born anew
    born = torch.stack(births) == torch.arange(1, 2 * life + 1)[:, None]
    assert born.sum(1).max() - born.sum(1).min() <= 1
    assert (born[:life].sum(0) == 1).all()
    assert (born[life:].sum(0) == 1).all()


def test_old_chains_have_the_law_of_their_age():
    target = GaussianLaw(tensor(0.5), tensor(0.8)[None])
    energy = Quadratic([[1 / 0.8]], [0.5 / 0.8])
    batch = noise(4000, 1, seed=1)
    at_batch = GaussianLaw(batch.mean(0), batch.var(0, correction=0)[None])
    generator = torch.Generator().manual_seed(0)
    dynamics = FromData(ULA(step_size=0.3), steps=1, life=50, settle=2)
    carry = dynamics.init(energy, batch, generator=generator)
    carry = dynamics.advance(energy, batch, carry, generator=generator)
    old = carry.particles.x[4000 // 50 :]
    young = carry.particles.x[: 4000 // 50]
    for x, steps in ((old, 4), (young, 1)):
        exact = ula_law(at_batch, target, 0.3, steps)
        assert z_score(x, exact.mean).abs().max() < 4
        assert abs(z_score((x[:, 0] - exact.mean) ** 2, exact.covariance[0, 0])) < 4


def test_noisy_chains_start_and_are_compared_with_noise_of_the_lowest_level():
    class Leveled(nn.Module):
        levels = NoiseLevels(0.3, 5.0)

        def forward(self, x):
            return x.flatten(1).square().sum(1) / 2

    energy, batch = Leveled(), noise(2000, 2)
    generator = torch.Generator().manual_seed(0)
    dynamics = FromData(Still(), steps=1, life=2, noisy=True)
    assert dynamics.adds_noise
    assert NearProximal(dynamics=dynamics).adds_noise
    assert not FromData().adds_noise
    first = dynamics.init(energy, batch, generator=generator)
    second = dynamics.advance(energy, noise(2000, 2, seed=1), first, generator=generator)
    assert torch.equal(first.origins, batch)
    assert torch.equal(second.origins[1000:], batch[1000:])
    assert torch.equal(second.origins[:1000], noise(2000, 2, seed=1)[:1000])
    noises = [
        first.batch - first.origins,
        second.batch - second.origins,
        second.particles.x - second.origins,
    ]
    for z in noises:
        assert z_score(z, 0).abs().max() < 4
        assert abs(z_score(z.flatten() ** 2, 0.09)) < 4
    assert abs(z_score((noises[0] * noises[1]).flatten(), 0)) < 4  # anew at each step
    assert abs(z_score((noises[1] * noises[2]).flatten(), 0)) < 4
    torch.testing.assert_close(second.batch_energy, energy(second.batch))
    with pytest.raises(ValueError, match="levels"):
        dynamics.init(Path()(0), batch)


@pytest.mark.parametrize("bad", [{"life": 0}, {"steps": 0}, {"settle": -1}])
def test_chains_from_data_need_counts(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        FromData(**bad)


def test_a_share_restarts_from_the_start_law():
    dynamics = population(size=4000, reaction=False, restart=0.25, scale=1.3)
    generator, path = torch.Generator().manual_seed(0), Path()
    batch = noise(5, 2)
    old = dynamics.init(path(0), batch, generator=generator)
    at_zero = old.particles.state._replace(x=torch.zeros_like(old.particles.x))
    old = old._replace(particles=old.particles._replace(state=at_zero))
    state = dynamics.advance(path(1), batch, old, generator=generator).particles.state
    fresh = state.x[(state.x != 0).any(1)]
    assert len(fresh) == 1000
    assert abs(z_score(fresh.square().mean(1), 1.3**2)) < 4
    value, grad = energy_and_grad(path(1), state.x)
    torch.testing.assert_close(state.energy, value)
    torch.testing.assert_close(state.grad, grad)
    assert state.step_size == old.particles.state.step_size


def test_resampling_waits_for_the_threshold_and_banks_the_mean_weight():
    path, batch = Path(), noise(5, 2)
    carry = population().init(path(0), batch, generator=torch.Generator().manual_seed(0))
    after = population().advance(path(1), batch, carry).particles
    fraction = float(effective_fraction(after.log_weight))
    for below, resampled in ((fraction - 0.01, False), (fraction + 0.01, True)):
        dynamics = population(resample_below=below)
        got = dynamics.advance(path(1), batch, carry, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(got.particles.log_z, after.log_z)
        assert bool((got.particles.log_weight == 0).all()) is resampled


def test_dissipation_of_a_known_change():
    energy, moved = Quadratic([[1.0]], [0.2]), Quadratic([[1.6]], [0.5])
    carry = model_carry(energy, noise(5, 1), LINE)
    carry = population().advance(moved, noise(5, 1), carry)
    p = log_density(moved, LINE).exp() * LINE.volume
    drift = 0.6 * LINE.nodes[:, 0] - 0.3
    torch.testing.assert_close(carry.metrics["dissipation"], p @ drift**2, rtol=1e-9, atol=0)


def test_time_is_that_of_all_steps():
    dynamics = population(steps=3, sampler=MALA(step_size=0.2, adaptation=0.0))
    carry = dynamics.init(Path()(0), noise(5, 2), generator=torch.Generator().manual_seed(0))
    assert dynamics.time(carry) == pytest.approx(0.6)


class Wells(nn.Module):
    """Two wells that chains do not cross, one ``depth`` deeper than the other."""

    def __init__(self, depth):
        super().__init__()
        self.depth = nn.Parameter(tensor(depth).squeeze())

    def forward(self, x):
        right = torch.sigmoid(20 * x[:, 0])
        return 50 * (x[:, 0].abs() - 1) ** 2 + self.depth * right


@pytest.mark.parametrize(("tempered", "expected"), [(1.0, 30.0), (0.6, 0.0)])
def test_tempered_weights_level_wells_that_chains_do_not_cross(tempered, expected):
    """Half of the data in each: equal weights see no difference, tempered ones find the depths."""
    energy, size = Wells(30.0), 64
    side = torch.arange(size).remainder(2).mul(2).sub(1).to(F64)[:, None]
    batch = side + 0.1 * noise(size, 1)
    dynamics = population(size=size, reaction=False, tempered=tempered)
    scheme = proximal(dynamics=dynamics)
    carry = scheme.init(energy, batch, generator=torch.Generator().manual_seed(0))
    p = carry.particles
    carry = carry._replace(particles=p._replace(state=p.state._replace(x=side)))
    carry = scheme.advance(energy, batch, carry)
    optimizer = torch.optim.SGD(energy.parameters(), lr=1.0)
    steps = train(energy, scheme, repeat(batch), optimizer, carry=carry)
    shown = [next(steps).metrics for _ in range(400)]
    assert float(energy.depth.detach()) == pytest.approx(expected, abs=0.5)
    assert ("tempering" in shown[-1]) is (tempered < 1)
    if tempered < 1:
        assert float(shown[0]["tempering"]) < 0.1
        assert float(shown[-1]["tempering"]) == 1.0


ERRORS = {
    "`tempered` must be at least 0.05, and 1 with.*got 0.5": lambda: population(tempered=0.5),
    "`tempered` must be between 0 and 1: got 2": lambda: population(tempered=2.0),
    "`tempered` must be at least .*got 0.01": lambda: population(reaction=False, tempered=0.01),
    "`restart` must be 0 with reaction.*got 0.5": lambda: population(restart=0.5),
    "`size` must be > 0 and finite: got 0": lambda: population(size=0),
    "`resample_below` must be between 0 and 1: got 2": lambda: population(resample_below=2.0),
    "`share` must be > 0 and finite: got 0": lambda: FirstOrder(share=0.0),
    "`share` must be between 0 and 1: got 1.5": lambda: FirstOrder(share=1.5),
    "`relaxation` must be between 0 and 1: got 2": lambda: InnerDescent(relaxation=2.0),
    "`h` must be > 0 and finite: got -1": lambda: proximal(h=-1.0),
    "`gamma` must be > 0": lambda: GradientNorm(gamma=0.0),
    "`regularisation` must be ≥ 0": lambda: MaximumLikelihood(regularisation=-0.1),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_name_the_rule(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


# Mode masses: two unit Gaussians in 50 dimensions, at -10 and 6 of the first axis


class TwoModes(nn.Module):
    """``-log(σ(-θ) N(x; l_1 e_1, I) + σ(θ) N(x; l_2 e_1, I))`` up to a constant."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(tensor(0.0)[0])
        self.places = nn.Parameter(tensor(-9.5, 5.5))

    def forward(self, x):
        axis = (x[:, :1] - self.places) ** 2 / 2
        log_mass = nn.functional.logsigmoid(torch.stack([-self.logit, self.logit]))
        return x[:, 1:].square().sum(1) / 2 - torch.logsumexp(log_mass - axis, 1)


def two_modes(count, mass, places, generator):
    """An exact sample of which exactly a share ``mass`` stands at the second place."""
    x = torch.randn(count, 50, generator=generator, dtype=F64)
    second = torch.arange(count) < mass * count
    x[:, 0] += torch.where(second, places[1], places[0])
    return x


def learn_modes(reaction):
    """Mass and places learned by a population that starts at masses one half."""
    generator, energy = torch.Generator().manual_seed(0), TwoModes()
    sampler = MALA(step_size=0.05, adaptation=0.0)
    dynamics = population(sampler=sampler, reaction=reaction, resample_below=0.5)
    scheme = MaximumLikelihood(dynamics, regularisation=0.0, inner_steps=1)
    start = two_modes(1000, 0.5, energy.places.detach(), generator)

    def batches():
        while True:
            yield two_modes(400, 0.75, tensor(-10.0, 6.0), generator)

    first = next(batches())
    carry = carry_at(energy, first, start)
    optimizer = torch.optim.SGD(
        [{"params": [energy.logit], "lr": 0.6}, {"params": [energy.places], "lr": 0.1}]
    )
    run = train(energy, scheme, batches(), optimizer, carry=carry, generator=generator)
    for _ in range(160):
        next(run)
    return energy.logit.detach().sigmoid(), energy.places.detach()


@pytest.mark.parametrize("reaction", [True, False])
def test_only_the_reaction_finds_the_masses_of_far_modes(reaction):
    mass, places = learn_modes(reaction)
    if reaction:
        assert abs(mass - 0.75) < 0.03
    else:
        assert mass > 0.999
    torch.testing.assert_close(places, tensor(-10.0, 6.0), rtol=0, atol=0.15)
