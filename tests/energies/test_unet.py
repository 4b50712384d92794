"""Energies of images: exact derivatives, invariances, precision, and the law they begin with."""

import math
import re
from functools import partial

import pytest
import torch
from problems import F64, seeded
from torch.nn import functional as F

from wgflow.config import to_table
from wgflow.data.moments import DataMoments
from wgflow.energies.base import check_energy, energy_and_grad
from wgflow.energies.confined import Confined
from wgflow.energies.layers import BOUND, Block, Convolutions, bounded, pad, squash
from wgflow.energies.noise_levels import derivatives
from wgflow.energies.noise_unet import NoisyUNet, NoisyUNetSpec, clipped
from wgflow.energies.principal import Principal
from wgflow.energies.unet import HEADS, Mixed, ResNet, ResNetSpec, UNet, UNetSpec, distance
from wgflow.flows.path import follow


def axes(count):
    """Of data of covariance C around 0.3, with C made of 64 noisy pixels."""
    factor = torch.randn(64, 64, generator=torch.Generator().manual_seed(8), dtype=F64)
    return Principal((1, 8, 8), count, factor @ factor.T, torch.full((1, 8, 8), 0.3))


SMALL = {"widths": (4, 6), "blocks": 1, "patch": 2}
SHAPE = (1, 8, 8)
NOISY = {"lowest": 0.3, "highest": 5.0}


def unet(shape=SHAPE, generator=None, **settings):
    return UNet(shape, UNetSpec(**SMALL | settings), generator=generator)


def resnet(shape=SHAPE, generator=None, **settings):
    return ResNet(shape, ResNetSpec(**SMALL | settings), generator=generator)


NETS = {
    "unet": unet,
    "distance": partial(unet, head="distance"),
    "norm": partial(unet, head="norm"),
    "attention": partial(unet, attention=True),
    "resnet": resnet,
    "resnet attention": partial(resnet, attention=True),
    "noisy": lambda **k: NoisyUNet(SHAPE, NoisyUNetSpec(**SMALL | NOISY, bounded=False), **k),
    "principal": lambda **k: NoisyUNet(SHAPE, NoisyUNetSpec(**SMALL | NOISY), axes(5), **k),
}
POTENTIALS = [name for name in NETS if name not in ("noisy", "principal")]
"""Nets that want a confinement: bounded, and zero at first."""

SHIFTS = {"out.bias", "fine.bias", "coarse.bias", "drift.weight", "drift.bias"}
SHIFTS |= {"level.weight", "level.bias", "overview.energy.bias"}
"""Parameters that shift E, by a constant or by a function of the level alone."""


def images(n, shape=(1, 8, 8), seed=3, dtype=F64):
    return torch.randn(n, *shape, generator=seeded(seed), dtype=dtype)


def made(name, dtype=F64):
    """A net whose layers are none of them zero."""
    net = NETS[name](generator=seeded(0)).to(dtype)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.05 * torch.randn(p.shape, generator=seeded(p.numel()), dtype=dtype)
    return net


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_finite_differences(name):
    net, x = made(name), images(2)
    direction = images(2, seed=4)
    _, grad = energy_and_grad(net, x)
    h = 1e-5
    slope = (net(x + h * direction) - net(x - h * direction)) / (2 * h)
    torch.testing.assert_close((grad * direction).flatten(1).sum(1), slope, rtol=1e-6, atol=1e-7)
    assert slope.abs().min() > 1e-3


@pytest.mark.parametrize("name", NETS)
def test_second_derivatives_exist(name):
    net, x = made(name), images(1)
    assert torch.autograd.gradgradcheck(net, (x.requires_grad_(),), nondet_tol=1e-9)
    _, grad = energy_and_grad(net, x, create_graph=True)
    parts = torch.autograd.grad((grad**2).sum(), list(net.parameters()), allow_unused=True)
    named = zip([name for name, _ in net.named_parameters()], parts, strict=True)
    assert {name for name, p in named if p is None} <= SHIFTS


@pytest.mark.parametrize("name", POTENTIALS)
def test_it_begins_as_zero_or_as_a_distance_and_learns_from_there(name):
    net, x = NETS[name](generator=seeded(0)).to(F64), images(3)
    first = distance(squash(x)) if getattr(net, "head", "") == "distance" else x.new_zeros(3)
    torch.testing.assert_close(net(x), first, rtol=0, atol=0)
    grads = torch.autograd.grad(net(x).sum(), list(net.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in grads)


@pytest.mark.parametrize("name", NETS)
def test_images_of_a_batch_do_not_see_each_other(name):
    net, x = made(name), images(4)
    torch.testing.assert_close(net(x)[1:3], net(x[1:3]))


@pytest.mark.parametrize("name", NETS)
def test_memory_layout_does_not_matter(name):
    net, x = made(name, torch.float32), images(4, dtype=torch.float32)
    expected = net(x)
    found = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_mixed_precision_is_close_and_keeps_the_dtype(name):
    net, x = made(name, torch.float32), images(64, dtype=torch.float32)
    exact, near = net(x), Mixed(net)(x)
    assert near.dtype == torch.float32
    error = (near - exact).square().mean().sqrt() / exact.std()
    assert 1e-6 < error < 0.03
    torch.testing.assert_close(Mixed(net, enabled=False)(x), exact)
    _, g = energy_and_grad(net, x)
    _, h = energy_and_grad(Mixed(net), x)
    assert (g - h).norm() / g.norm() < 0.03


@pytest.mark.parametrize("head", HEADS)
def test_heads_are_their_definitions(head):
    net = unet(head=head, generator=seeded(0)).to(F64)
    torch.nn.init.normal_(net.out.weight, generator=seeded(1))
    x = images(3)
    y = BOUND * torch.tanh(x / BOUND)
    f = net.field(y)
    dot = (y * f).flatten(1).sum(1)
    norm = ((y - f).square() - y.square()).flatten(1).sum(1) / 2
    far = (y - f).flatten(1).norm(dim=1) / math.sqrt(2 * 64)  # in units of R
    apart = 2 * 64 * 0.2 * ((1 + (far / 0.2) ** 2).sqrt() - 1)
    expected = {"dot": dot, "norm": norm, "distance": apart}
    torch.testing.assert_close(net(x), expected[head])


def test_the_descent_of_a_distance_is_straight_of_unit_time_and_ends_in_a_well():
    # dr/dt = -h'(r), with u = r/(Rs), has the integral √(1+u²) - asinh(1/u) = constant - t/s.
    def integral(u):
        return (1 + u**2).sqrt() - (1 / u).asinh()

    s, side = 0.2, math.sqrt(2 * 64)
    x = images(3)
    start = side * x / x.flatten(1).norm(dim=1)[:, None, None, None]
    for time in (0.5, 1.0, 1.5):
        end = follow(distance, start, temperature=1.0, time=time, steps=4000)
        u = end.flatten(1).norm(dim=1) / (side * s)
        torch.testing.assert_close(
            integral(u), integral(u.new_full((3,), 1 / s)) - time / s, rtol=0, atol=0.01
        )
        torch.testing.assert_close(end / end.norm(), start / start.norm())  # straight
    near = 1e-4 * x
    _, grad = energy_and_grad(distance, near)
    torch.testing.assert_close(grad, near / s)  # the well of stiffness 1/s


@pytest.mark.parametrize("name", POTENTIALS)
def test_far_out_the_network_is_constant(name):
    net = made(name)
    x = 1e3 * images(2).sign()
    torch.testing.assert_close(net(x), net(10 * x))


@pytest.mark.parametrize("shape", [(1, 7, 7), (3, 9, 12), (1, 28, 28)])
def test_any_size_of_image(shape):
    for net in (unet(shape), resnet(shape)):
        check_energy(net, images(2, shape, dtype=torch.float32))


def test_an_odd_side_is_halved_upwards():
    net = unet((1, 28, 28))
    fine, coarse = net.features(images(2, (1, 28, 28), dtype=torch.float32))
    assert fine.shape[-2:] == (14, 14)
    assert coarse.shape[-2:] == (7, 7)
    fine, coarse = unet((1, 10, 14)).features(torch.zeros(2, 1, 10, 14))
    assert fine.shape[-2:] == (5, 7)
    assert coarse.shape[-2:] == (3, 4)


def test_sides_may_be_padded_to_other_multiples():
    x = images(2, (1, 10, 12), dtype=torch.float32)
    found, wide = (
        unet(shape, multiple=m, generator=seeded(0))
        for shape, m in (((1, 10, 12), 8), ((1, 16, 16), 1))
    )
    for net in (found, wide):
        torch.nn.init.normal_(net.out.weight, generator=seeded(1))
    torch.testing.assert_close(found.field(x), wide.field(pad(x, 8))[..., :10, :12])
    found.multiple = 2
    assert not torch.allclose(found.field(x), wide.field(pad(x, 8))[..., :10, :12])


def test_patches_and_back_are_the_image():
    x = images(2, (3, 7, 9), dtype=torch.float32)
    net = unet((3, 7, 9))
    patches = F.pixel_unshuffle(pad(x, net.patch), net.patch)
    assert patches.shape[-2:] == (4, 5)
    assert torch.equal(net.image(patches, x), x)


def test_padding_repeats_the_border():
    x = images(1, (1, 3, 5))
    y = pad(x, 4)
    assert y.shape == (1, 1, 4, 8)
    assert torch.equal(y[..., :3, :5], x)
    assert torch.equal(y[..., 3, :5], x[..., 2, :])
    assert torch.equal(y[..., 5:], y[..., 4:5].expand(1, 1, 4, 3))
    assert pad(x, 1) is x


@pytest.mark.parametrize("net", [unet, resnet])
def test_spectral_normalisation_bounds_every_inner_convolution(net):
    energy = net(spectral=True, generator=seeded(0))
    twin = net(spectral=True, generator=seeded(0))
    for a, b in zip(energy.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    for _ in range(200):  # the power iteration converges as it is used
        energy(images(1, dtype=torch.float32))
    weights = [m.weight.detach() for m in energy.modules() if hasattr(m, "parametrizations")]
    assert len(weights) > 3
    for w in weights:
        assert float(torch.linalg.matrix_norm(w.flatten(1), 2)) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("kind", [UNetSpec, ResNetSpec])
def test_an_architecture_builds_its_energy(kind):
    settings = kind(temperature=0.1, widths=(4, 6), confinement=1.5)
    energy = settings.build(DataMoments((1, 8, 8)), generator=seeded(0))
    x = images(5, dtype=torch.float32)
    assert isinstance(energy, Confined)
    torch.testing.assert_close(energy(x), x.flatten(1).square().sum(1) / (2 * 1.5**2))
    inner = energy.energy.energy.energy
    with torch.no_grad():
        inner.out.weight += 0.1
    free = inner(x) / 0.1
    torch.testing.assert_close(energy(x), free + x.flatten(1).square().sum(1) / 4.5)
    bare = kind(temperature=0.1, widths=(4, 6), confined=False).build(DataMoments((1, 8, 8)))
    torch.testing.assert_close(bare(x), torch.zeros(5))
    assert to_table(settings)["kind"] in ("unet", "resnet")


def test_sizes_go_up_to_fifty_million():
    def size(**settings):
        net = UNetSpec(**settings).potential((3, 32, 32), None)
        return sum(p.numel() for p in net.parameters())

    assert 1e5 < size(widths=(32, 64), patch=2) < 2e5
    assert 4e7 < size(widths=(256, 512, 768), blocks=2, patch=1) < 8e7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: unet((2,)),
            "`event_shape` must be (channels, height, width)",
        ),
        (lambda: UNetSpec(widths=()), "`widths` must be > 0 and finite: got 0"),
        (lambda: UNetSpec(head="sum"), "`head` must be one of distance, dot, norm: got 'sum'"),
        (lambda: ResNetSpec(blocks=0), "`blocks` must be > 0 and finite: got 0"),
        (lambda: UNetSpec(temperature=0.0), "`temperature` must be > 0"),
        (lambda: ResNetSpec(widths=(4, 0)), "`widths` must be > 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_queries_and_keys_have_at_most_the_length_of_their_dimension():
    """``|q̃| < √c``, however large q is, and small q stay: the softmax cannot saturate."""
    q = torch.randn(2, 16, 5, generator=seeded(0), dtype=F64)
    torch.testing.assert_close(bounded(1e6 * q).norm(dim=1), torch.full((2, 5), 4.0, dtype=F64))
    torch.testing.assert_close(bounded(1e-6 * q), 1e-6 * q)


@pytest.mark.parametrize("name", ["noisy", "principal"])
def test_the_energy_of_noise_begins_as_white_noise_with_its_normaliser(name):
    net, x = NETS[name](generator=seeded(0)).to(F64), images(4)
    level = torch.tensor([-2.0, -1.0, 0.5, 3.0], dtype=F64)
    square = x.square().flatten(1).sum(1) / (2 * level.exp())
    torch.testing.assert_close(net(x, level), square + 32 * (math.log(2 * math.pi) + level))
    lowest = x.new_full((4,), 2 * math.log(0.3))
    torch.testing.assert_close(net(x), net(x, lowest), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["noisy", "principal"])
def test_the_energy_of_noise_is_its_definition(name):
    net, x = made(name), images(3)
    level = torch.tensor([-2.0, 0.0, 2.0], dtype=F64)
    sigma = (level / 2).exp()[:, None, None, None]
    condition, drift, free = net.condition(x, level)
    fine, coarse = net.features(squash(x / (1 + sigma)), condition)
    f = net.image(net.out(fine) + sigma * net.noise(fine), x)
    f = clipped(f) if net.bounded else f
    free = free + sum(
        layer(h.flatten(2).sum(2))[:, 0] for layer, h in ((net.fine, fine), (net.coarse, coarse))
    )
    expected = ((x - f) / sigma).square().flatten(1).sum(1) / 2 + free
    expected = expected + 64 * (math.log(2 * math.pi) / 2 + level / 2 + drift)
    torch.testing.assert_close(net(x, level), expected)
    assert free.abs().min() > 1e-3
    assert drift.abs().min() > 1e-3


def test_a_bounded_image_is_itself_within_the_range_and_its_end_without():
    f = torch.linspace(-0.7, 0.7, 9, dtype=F64, requires_grad=True)
    torch.testing.assert_close(clipped(f), f, rtol=0, atol=2e-4)
    far = torch.tensor([-40.0, -1.5, -1.0, 1.0, 1.5, 40.0], dtype=F64, requires_grad=True)
    ends = clipped(far)
    expected = torch.tensor([-1.0, -1.0, -1 + math.log(2) / 20, 1 - math.log(2) / 20, 1.0, 1.0])
    torch.testing.assert_close(ends, expected.to(F64), rtol=0, atol=1e-5)
    (slope,) = torch.autograd.grad(ends.sum(), far)
    expected = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.0, 0.0], dtype=F64)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-4)
    net, x = made("principal"), images(2)
    with torch.no_grad():
        net.out.bias += 5.0
    fine = torch.zeros(2, 4, 4, 4, dtype=F64)
    assert net.clean(fine, torch.ones(2, 1, 1, 1, dtype=F64), x).abs().max() <= 1
    net.bounded = False
    assert net.clean(fine, torch.ones(2, 1, 1, 1, dtype=F64), x).abs().max() > 1


def test_principal_coordinates_are_those_of_the_covariance_and_of_unit_variance():
    principal = axes(5).to(F64)
    factor = torch.randn(64, 64, generator=seeded(8), dtype=F64)
    covariance = factor @ factor.T
    assert float(5 * principal.rest) < float(principal.variances.sum())
    trace = principal.variances.sum() + 59 * principal.rest
    torch.testing.assert_close(trace, covariance.trace(), rtol=1e-5, atol=0)
    deviations = principal.deviations.flatten(1)
    torch.testing.assert_close(
        deviations @ covariance @ deviations.T,
        (principal.variances * (principal.variances - principal.rest)).diag(),
        rtol=1e-5,
        atol=1e-2,
    )
    assert float(principal.variances[0]) == pytest.approx(
        float(torch.linalg.matrix_norm(factor, 2)) ** 2
    )
    n, sigma = 20_000, 3.0
    x = 0.3 + torch.randn(n, 64, generator=seeded(1), dtype=F64) @ factor.T
    x = x + sigma * torch.randn(n, 64, generator=seeded(2), dtype=F64)
    level = x.new_full((n,), 2 * math.log(sigma))
    z = BOUND * (principal(x.reshape(-1, 1, 8, 8), level) / BOUND).atanh()
    assert (z.mean(0) * math.sqrt(n)).abs().max() < 4
    products = (z[:, :, None] * z[:, None, :]).flatten(1)
    error = products.std(0) / math.sqrt(n)
    assert ((products.mean(0) - torch.eye(5, dtype=F64).flatten()) / error).abs().max() < 4


def test_without_a_covariance_there_are_no_axes_but_a_mean():
    principal = Principal((1, 8, 8), 3, None, torch.full((1, 8, 8), 0.3))
    assert not principal.axes.any()
    assert not principal(images(2, dtype=torch.float32), torch.zeros(2)).any()
    assert float(principal.center.mean()) == pytest.approx(0.3)


def test_principal_coordinates_condition_the_blocks_and_have_an_energy():
    net, x = made("principal"), images(2)
    level, waves = torch.zeros(2, dtype=F64), torch.tensor([[0.0, 1.0]], dtype=F64)
    waves = waves.repeat_interleave(16, 1).expand(2, -1)
    vector, energy = net.overview(net.principal(x, level), waves)
    h = torch.cat([net.principal(x, level), waves], 1)
    for layer in (net.overview.first, net.overview.second):
        h = torch.nn.functional.silu(layer(h))
    torch.testing.assert_close(vector, net.overview.conditioning(h))
    torch.testing.assert_close(energy, net.overview.energy(h)[:, 0])
    bare = net.conditioning(torch.nn.functional.silu(net.embedding(waves)))
    found, _, free = net.condition(x, level)
    torch.testing.assert_close(found, bare + vector)
    torch.testing.assert_close(free, energy)
    assert min(vector.abs().min(), energy.abs().min()) > 1e-4


def test_conditioning_gives_a_block_gains_and_biases():
    block = Block(Convolutions(seeded(0), False), 4, 3).to(F64)
    with torch.no_grad():
        for p in block.parameters():
            p.normal_(generator=seeded(p.numel()))
    h, vector = images(2, (4, 5, 5)), torch.randn(2, 3, generator=seeded(5), dtype=F64)
    gain, bias = block.conditioning(vector)[:, :, None, None].chunk(2, 1)
    inner = (1 + gain) * block.first(h) + bias
    torch.testing.assert_close(block(h, vector), h + block.second(torch.nn.functional.silu(inner)))


def test_levels_matter_to_every_block_of_a_noisy_network():
    net, x = made("noisy"), images(2)
    level = torch.zeros(2, dtype=F64)
    _, _, rate = derivatives(net, x, level, create_graph=True)
    of_blocks = {name: p for name, p in net.named_parameters() if ".conditioning." in name}
    assert len(of_blocks) == 2 * 3
    grads = torch.autograd.grad(rate.sum(), list(of_blocks.values()))
    assert all(g.abs().sum() > 0 for g in grads)


@pytest.mark.parametrize("name", ["noisy", "principal"])
def test_far_out_the_energy_of_noise_is_a_parabola(name):
    net, x = made(name), images(2)
    level = torch.zeros(2, dtype=F64)
    far = net(1e6 * x, level) / 1e12
    torch.testing.assert_close(far, x.square().flatten(1).sum(1) / 2, rtol=1e-4, atol=0)
