"""Layers before their values: shapes, types, and no random numbers spent."""

import torch
from torch import nn

from wgflow.energies.layers import linear, unset


def test_layers_without_values_are_those_of_torch_and_take_no_random_numbers():
    before = torch.random.get_rng_state()
    layer = unset(nn.Conv2d, 2, 3, 5, 1, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    like = nn.Conv2d(2, 3, 5, 1, 2)
    assert {n: (p.shape, p.dtype, p.device) for n, p in layer.named_parameters()} == {
        n: (p.shape, p.dtype, p.device) for n, p in like.named_parameters()
    }
    layer.load_state_dict(like.state_dict())
    x = torch.randn(1, 2, 6, 6)
    assert torch.equal(layer(x), like(x))


def test_linear_layers_have_unit_gain_before_a_silu_from_their_own_generator():
    a, b = (linear(2000, 50, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(a.weight, b.weight)
    assert abs(float(a.weight.detach().var()) * 2000 / 2 - 1) < 4 * (2 / 100_000) ** 0.5
    assert not a.bias.any()
