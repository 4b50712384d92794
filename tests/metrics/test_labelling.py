"""The classifier of images on their way from noise, and its file."""

import copy
import math

import pytest
import torch
from problems import BATCH, CLASSES, bars, seeded

from wgflow.metrics.labelling import Labeller
from wgflow.storage import checkpoint


def images(seed):
    """Bars in [-1, 1]."""
    x, labels = bars(seed)
    return 2 * x - 1, labels


def noisy(x, t, seed=0):
    noise = torch.randn(x.shape, generator=seeded(seed))
    return noise.lerp(x, t)


@pytest.fixture(scope="module")
def labeller():
    return Labeller.fit(*images(0), updates=200).tested(*images(1))


def test_classes_are_told_on_the_way_and_not_at_its_beginning(labeller):
    x, labels = images(2)
    right = [
        float((labeller(noisy(x, t)).argmax(1) == labels).double().mean()) for t in (0.0, 0.6, 1.0)
    ]
    assert labeller.accuracy > 0.97
    assert abs(right[0] - 1 / CLASSES) < 0.15
    assert right[1] > 0.75
    assert right[2] > 0.97
    # At noise it knows that it does not know.
    surprise = -labeller(noisy(x, 0.0)).gather(1, labels[:, None]).mean()
    assert float(surprise) < math.log(CLASSES) + 0.3


def test_probabilities_sum_to_one_and_keep_the_dtype(labeller):
    x = images(2)[0][:9].double()
    p = labeller(x)
    assert p.dtype == torch.float64
    torch.testing.assert_close(p.exp().sum(1), torch.ones(9, dtype=torch.float64))


def test_its_gradient_is_smooth(labeller):
    """A gradient that has a derivative changes half as much over half the way."""
    network = copy.deepcopy(labeller.network).double()
    x = images(2)[0][:50].double()
    v = torch.randn(x.shape, generator=seeded(3), dtype=x.dtype)

    def grad(h):
        y = (x + h * v).requires_grad_()
        return torch.autograd.grad(network(y)[:, 0].sum(), y)[0]

    whole, half = ((grad(h) - grad(0.0)).flatten(1).norm(dim=1) for h in (2e-4, 1e-4))
    assert ((whole / half) - 2).abs().max() < 0.01


def test_a_seed_gives_the_same_labeller_and_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    x, labels = images(0)
    first, second, other = (Labeller.fit(x, labels, updates=3, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), other(x))


def test_save_and_load_give_equal_probabilities(labeller, tmp_path):
    labeller.save(tmp_path / "labeller.safetensors")
    read = Labeller.load(tmp_path / "labeller.safetensors")
    x, _ = images(2)
    assert torch.equal(read(x), labeller(x))
    assert (read.classes, read.accuracy) == (CLASSES, labeller.accuracy)
    checkpoint.save(tmp_path / "other", {"step": 3})
    with pytest.raises(ValueError, match=r"not a labeller: .* got \['step'\]"):
        Labeller.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("shape", "labels", "match"),
    [
        ((BATCH, 2), torch.arange(BATCH), r"got \(2,\) of 32 classes"),
        ((BATCH, 1, 8, 8), torch.zeros(BATCH, dtype=torch.int64), "of 1 classes"),
    ],
)
def test_errors_name_rule_expected_and_got(shape, labels, match):
    with pytest.raises(ValueError, match=match):
        Labeller.fit(torch.zeros(shape), labels)
