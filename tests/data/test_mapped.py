"""Whether maps of columns are in the way of mixtures of Gaussians."""

import torch
from problems import F64, seeded

from wgflow.data.gaussianise import fitted
from wgflow.data.mapped import likelier_unmapped
from wgflow.targets.catalogue import named


def draws(name, dim=None, count=2000):
    known = named(name, dim).known
    return known.sample(count, dtype=F64, generator=seeded(0))


def test_a_spike_in_a_slab_is_two_gaussians_and_no_heavy_tail():
    x = draws("spike-and-slab", 4)
    assert fitted(x) is not None
    assert likelier_unmapped(x)
    units = torch.tensor([1e3, 1.0, 1.0, 1e-3], dtype=F64)
    assert likelier_unmapped(x * units + 7 * units)


def test_maps_stay_where_they_are_likelier_or_there_are_none():
    tails = 1e-3 * torch.randn(2000, 2, dtype=F64, generator=seeded(1)).exp()
    assert fitted(tails) is not None
    assert not likelier_unmapped(tails)
    plain = draws("gmm", 4)
    assert fitted(plain) is None
    assert not likelier_unmapped(plain)
