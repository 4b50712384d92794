"""Muon on hidden weights, as that of PyTorch, and AdamW on the others, under one hat."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from wgflow.storage.checkpoint import load, save
from wgflow.training import muon as optimizers
from wgflow.training.muon import HIDDEN, NEWTON_SCHULZ, Muon, is_hidden, orthogonalised

RATE, DECAY, BETAS = 0.01, 0.1, (0.8, 0.9)


def network():
    """A kernel, a matrix, a readout of rank one and biases."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 20, 3),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(20, 24),
        nn.SiLU(),
        nn.Linear(24, 1),
    )


def move(model, optimizer, seed):
    x = torch.randn(5, 16, 3, 3, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    (model(x) ** 2 + model(x)).sum().backward()
    optimizer.step()


def muon(model, **options):
    return Muon(model.parameters(), RATE, BETAS, DECAY, **options)


def same(one, other):
    return all(
        torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("shape", "hidden"),
    [
        ((HIDDEN, HIDDEN), True),
        ((HIDDEN, 2, 3, 3), True),
        ((HIDDEN, 1, 3, 3), False),
        ((HIDDEN - 1, 100), False),
        ((1, 100), False),
        ((100,), False),
    ],
)
def test_matrices_with_two_long_sides_are_hidden_weights(shape, hidden):
    assert is_hidden(nn.Parameter(torch.zeros(shape))) is hidden


def test_each_weight_moves_by_the_optimiser_it_belongs_to(monkeypatch):
    """In bfloat16 ten steps are those of PyTorch's Muon on matrices and AdamW on all else."""
    monkeypatch.setattr(optimizers, "fast_bfloat16", lambda device: True)
    model, twin = network(), network()
    ours = muon(model)
    kernel, matrix = twin[0].weight, twin[3].weight
    flat = nn.Parameter(kernel.detach().flatten(1).clone())
    rest = [p for p in twin.parameters() if p is not kernel and p is not matrix]
    theirs = [
        torch.optim.Muon([flat, matrix], RATE, DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, RATE, BETAS, weight_decay=DECAY),
    ]
    x = torch.randn(5, 16, 3, 3)
    for _ in range(10):
        for m in (model, twin):
            m.zero_grad()
            (m(x) ** 2 + m(x)).sum().backward()
        ours.step()
        flat.grad = kernel.grad.flatten(1)
        for optimizer in theirs:
            optimizer.step()
        with torch.no_grad():
            kernel.copy_(flat.view_as(kernel))
    assert same(model, twin)
    assert not same(model, network())


def test_all_directions_of_the_gradient_move_alike():
    """Singular values of an update are .2 η √(longer side), up to the steps of Newton-Schulz."""
    model = nn.Linear(64, 32, bias=False)
    start = model.weight.detach().clone()
    optimizer = Muon(model.parameters(), RATE)
    spectrum = torch.logspace(0, -2, 32)
    u, _, v = torch.linalg.svd(torch.randn(32, 64), full_matrices=False)
    model.weight.grad = u @ spectrum.diag() @ v
    optimizer.step()
    moved = torch.linalg.svdvals(start - model.weight.detach()) / (0.2 * RATE * 64**0.5)
    assert (moved > 0.5).all()
    assert (moved < 1.5).all()


def test_a_schedule_sets_the_rate_of_both():
    model = network()
    optimizer = muon(model)
    scheduler = LambdaLR(optimizer, lambda k: 1.0 if k == 0 else 0.0)
    move(model, optimizer, 0)
    scheduler.step()
    before = [p.detach().clone() for p in model.parameters()]
    move(model, optimizer, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_saved_and_restored_it_goes_on_bit_for_bit(tmp_path):
    """At a rate that changes every step: the next one counts, not the last."""

    def begin():
        model = network()
        optimizer = muon(model)
        return model, optimizer, LambdaLR(optimizer, lambda k: 1 / (k + 1))

    first, second = begin(), begin()
    for seed in range(3):
        move(*first[:2], seed)
        first[2].step()
    save(tmp_path / "state", [part.state_dict() for part in first])
    for part, state in zip(second, load(tmp_path / "state", ()), strict=True):
        part.load_state_dict(state)
    for seed in range(3, 6):
        for model, optimizer, scheduler in (first, second):
            move(model, optimizer, seed)
            scheduler.step()
    assert same(first[0], second[0])


def test_weights_without_a_gradient_stay():
    model = network()
    optimizer = muon(model)
    model[0].weight.requires_grad_(False)
    start = model[0].weight.clone()
    move(model, optimizer, 0)
    assert torch.equal(model[0].weight, start)
    assert not same(model, network())


def test_a_model_without_hidden_weights_learns_by_adamw():
    model, twin = nn.Linear(3, 1), nn.Linear(3, 1)
    twin.load_state_dict(model.state_dict())
    ours, theirs = (
        muon(model),
        torch.optim.AdamW(twin.parameters(), RATE, BETAS, weight_decay=DECAY),
    )
    for m, optimizer in ((model, ours), (twin, theirs)):
        m(torch.ones(2, 3)).sum().backward()
        optimizer.step()
    assert same(model, twin)


@pytest.mark.parametrize(("fast", "tolerance"), [(True, 0.05), (False, 1e-5)])
def test_the_iteration_maps_singular_values_by_its_polynomial(monkeypatch, fast, tolerance):
    """``s ← as + bs³ + cs⁵`` five times from ``s/|s|``, and singular vectors stay."""
    monkeypatch.setattr(optimizers, "fast_bfloat16", lambda device: fast)
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(
        torch.randn(20, 30, generator=generator, dtype=torch.float64), full_matrices=False
    )
    values = torch.linspace(0.2, 2, 20, dtype=torch.float64)
    expected = values / values.norm()
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        expected = a * expected + b * expected**3 + c * expected**5
    for matrix, result in (
        (u @ values.diag() @ v, u @ expected.diag() @ v),
        (v.T @ values.diag() @ u.T, v.T @ expected.diag() @ u.T),
    ):
        found = orthogonalised(matrix.float())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), result, rtol=0, atol=tolerance)


def test_weights_in_another_order_of_memory_move_alike(monkeypatch):
    monkeypatch.setattr(optimizers, "fast_bfloat16", lambda device: False)
    one = nn.Parameter(torch.randn(16, 20, 3, 3, generator=torch.Generator().manual_seed(0)))
    other = nn.Parameter(one.detach().clone(memory_format=torch.channels_last))
    for p in (one, other):
        p.grad = one.detach().cos().clone(memory_format=torch.preserve_format)
        Muon([p], RATE).step()
    torch.testing.assert_close(one, other, rtol=0, atol=4e-5)
