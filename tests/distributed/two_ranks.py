"""What two ranks must agree on: run by `test_ranks.py` in two processes under torchrun."""

import os
import shutil
import sys
from pathlib import Path

import torch
from small_runs import CONFIG, Killed, killer

from wgflow.distributed.launch import launched
from wgflow.distributed.ranks import ALONE, SHORT, Apart
from wgflow.energies.confined import Confined
from wgflow.errors import Led
from wgflow.runs.fit import fit, resume
from wgflow.samplers import MALA
from wgflow.schemes import NearProximal, Population
from wgflow.training import runner
from wgflow.training.health import Trouble
from wgflow.training.loop import descend, train


def network():
    g = torch.Generator().manual_seed(0)
    energy = Confined(
        torch.nn.Sequential(
            torch.nn.Linear(2, 9), torch.nn.SiLU(), torch.nn.Linear(9, 1), torch.nn.Flatten(0)
        ),
        2.0,
    )
    for p in energy.parameters():
        p.data = torch.randn(p.shape, generator=g).double()
    return energy.double()


def loss(energy, x, rank, size):  # second derivatives, and two calls for one loss
    rows = len(x) // size
    own = x[rank * rows : (rank + 1) * rows].requires_grad_()
    (grad,) = torch.autograd.grad(energy(own).sum(), own, create_graph=True)
    return energy(own.detach()).mean() + grad.square().sum(1).mean()


def stepped(ranks):
    energy, x = network(), torch.randn(40, 2, generator=torch.Generator().manual_seed(1)).double()
    optimizer = torch.optim.SGD(energy.parameters(), 0.1)
    for _ in range(3):
        descend(loss(energy, x, ranks.rank, ranks.size), energy, optimizer, 1.0, ranks)
    return energy


class Location(torch.nn.Module):  # E(x) = |x - m|^2/2
    def __init__(self):
        super().__init__()
        self.m = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x):
        return (x - self.m).square().sum(1) / 2


def constant(batch):
    while True:
        yield batch


def learned(ranks, seed):
    # All the data at every step, so that nothing but the particles is random.
    data = torch.randn(400, 2, generator=torch.Generator().manual_seed(2)).double() + 1.0
    own = data[ranks.rank :: ranks.size]
    energy = Location()
    sampler = MALA(step_size=0.7, adaptation=0.0)
    dynamics = Population(sampler, 3, 400 // ranks.size, held_out=0, global_moves=0)
    scheme = NearProximal(dynamics=dynamics, inner_steps=2)
    steps = train(
        energy,
        scheme,
        constant(own),
        torch.optim.SGD(energy.parameters(), 0.5),
        generator=torch.Generator().manual_seed(seed + ranks.rank),
        ranks=ranks,
    )
    path = [next(steps) and energy.m.detach().clone() for _ in range(330)][30:]
    blocks = torch.stack(path).view(15, 20, 2).mean(1) - data.mean(0)
    return (blocks.mean(0) / (blocks.std(0) / 15**0.5)).tolist()


def fails(act, kind):
    try:
        act()
    except kind as error:
        return str(error)
    raise AssertionError(f"expected {kind.__name__}")


def refuse():
    raise ValueError("bad input")


def check_steps(ranks):
    """Gradients are those of the whole batch."""
    both, alone = stepped(ranks), stepped(ALONE)
    for p, q in zip(both.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-13, atol=1e-14), (p - q).abs().max()
    ranks.check_same(list(both.parameters()))


def check_trouble(ranks):
    """A loss that is not finite on one rank is refused by all, before anything moves."""
    energy = network()
    bad = energy(torch.zeros(1, 2).double()).sum() * (float("nan") if ranks.rank else 1.0)
    sgd = torch.optim.SGD(energy.parameters(), 0.1)
    fails(lambda: descend(bad, energy, sgd, None, ranks), FloatingPointError)
    for p, q in zip(energy.parameters(), network().parameters(), strict=True):
        assert torch.equal(p, q)


def check_distrust(ranks):
    """A loss that one rank does not trust is followed by none."""
    energy = network()
    sgd = torch.optim.SGD(energy.parameters(), 0.1)
    for doubtful, follows in ((1, False), (0, False), (None, True)):
        value = energy(torch.ones(1, 2).double()).sum()
        trusted = ranks.rank != doubtful
        assert descend(value, energy, sgd, None, ranks, trusted=trusted) is follows
        same = [
            torch.equal(p, q)
            for p, q in zip(energy.parameters(), network().parameters(), strict=True)
        ]
        assert all(same) is not follows


def check_answers(ranks):
    """Every collective question has one answer."""
    assert ranks.any(ranks.rank == 1)
    assert not ranks.any(False)
    assert ranks.gather(ranks.rank) == [0, 1]
    for count in (3, SHORT + 1):  # sent whole, and reduced
        number = torch.arange(count) + float(ranks.rank)
        ranks.average_([number])
        assert torch.equal(number, torch.arange(count) + 0.5)
    assert ranks.collect(ranks.rank) == ([0, 1] if ranks.first else [])
    own = torch.full((3,), float(ranks.rank))
    ranks.spread_([own])
    assert own.tolist() == [0.0] * 3
    told = fails(lambda: ranks.lead(refuse), ValueError if ranks.first else Led)
    assert "bad input" in told
    assert "rank 1" in fails(lambda: ranks.check_same([torch.ones(1) + ranks.rank]), Apart)


def check_runs(ranks, path):
    """Leave a whole run, one that was stopped and resumed, and what it was left as."""
    fit(CONFIG, path / "whole", ranks=ranks)
    try:
        fit(CONFIG, path / "killed", listener=killer(8), ranks=ranks)
    except Killed:
        ranks.lead(lambda: shutil.copytree(path / "killed", path / "left") and None)
    resume(path / "killed", ranks=ranks)


def check_doubt(ranks, path):
    """What the second rank doubts, once and at step 7, rolls both back."""
    examine, seen = runner.examine, []

    def doubt(limits, history, step, *rest):
        history, trouble = examine(limits, history, step, *rest)
        seen.append(step)
        ill = not ranks.first and seen.count(7) == 1 and step == 7
        return history, Trouble(step, "a doubt", 1.0, 0.0) if ill else trouble

    runner.examine = doubt
    fit(CONFIG, path / "doubted", ranks=ranks)
    assert seen == [1, 2, 3, 4, 5, 6, 7, *range(6, 17)]


if __name__ == "__main__":
    here = Path(sys.argv[1])
    with launched(None, None, "cpu") as ranks:
        assert (ranks.size, ranks.device, ranks.rank) == (2, "cpu", int(os.environ["RANK"]))
        check_steps(ranks)
        check_trouble(ranks)
        check_distrust(ranks)
        check_answers(ranks)
        z = learned(ranks, 0) + (learned(ALONE, 7) if ranks.first else [])
        (here / f"z{ranks.rank}").write_text(repr(z))
        check_runs(ranks, here)
        check_doubt(ranks, here)
