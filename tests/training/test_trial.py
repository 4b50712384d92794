"""A trial of two starts: who wins, after how long, and that it leaves nothing but its choice."""

import math

import numpy as np
import pytest
import torch

import wgflow
from wgflow.data.toys import TOYS
from wgflow.training import trial
from wgflow.training.trial import ROUNDS, Contender, winner


class Known(Contender):
    """A contender whose nats are known after each round."""

    def __init__(self, *values):
        self.values, self.asked = iter(values), 0

    def learned(self, steps):
        self.asked += steps
        return next(self.values)


@pytest.mark.parametrize(
    ("first", "second", "expected", "rounds"),
    [  # 6 rounds are half of a run
        ([3.0], [3.0], 0, 0),  # the same start
        ([3.0, 2.9], [4.0, 2.9], 1, 1),  # ahead
        ([3.0, 2.9, 2.8], [4.0, 3.2, 2.7], 1, 2),  # ahead, a little later
        ([3.0, 3.0], [4.0, 3.9], 0, 1),  # .1 of 1 in a round is too slow
        ([3.0] * 4, [4.0, 3.7, 3.6, 3.6], 0, 3),  # in time at first, and then not
        ([3.0] * 5, [4.0, 3.7, 3.5, 3.4, 3.3], 1, 4),  # in time to the end of the trial
        ([3.0, 2.9], [4.0, math.inf], 0, 1),  # not known
        ([3.0, math.inf], [4.0, 3.0], 1, 1),  # not finite any more
        ([3.0], [math.inf], 0, 1),
    ],
)
def test_who_wins(first, second, expected, rounds):
    contenders = Known(*first, *first[-1:]), Known(*second, *second[-1:])
    assert winner(*contenders, by=6.0) == expected
    assert contenders[0].asked == contenders[1].asked == rounds * trial.STEPS
    assert rounds <= ROUNDS


SMALL = ["training.steps=3", "training.evaluate_every=1", "training.batch_size=64"]


@pytest.fixture(scope="module")
def spirals(tmp_path_factory):
    file = tmp_path_factory.mktemp("spirals") / "rows.npy"
    law = TOYS["two-spirals"]()
    x = law.sample(4000, generator=torch.Generator().manual_seed(0))
    np.save(file, x.numpy())
    return file


@pytest.mark.parametrize("start", ["stack", "coarse"])
def test_a_run_is_that_of_the_start_that_wins(start, spirals, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "STEPS", 1)
    learned = Contender.learned

    def favoured(self, steps):
        value = learned(self, steps)
        own = self.learner.config.energy.start == start
        return value - 10 * own if steps else value

    monkeypatch.setattr(Contender, "learned", favoured)
    runs = [
        wgflow.fit(configured(spirals, f"energy.start={word}"), tmp_path / word)
        for word in ("trial", start)
    ]
    assert runs[0].config.energy == runs[1].config.energy
    assert runs[0].config.energy.start == start
    one, other = (run.energy.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_run_that_begins_with_another_has_its_start_and_no_trial(spirals, tmp_path, monkeypatch):
    first = wgflow.fit(configured(spirals, "energy.start=coarse"), tmp_path / "first")
    monkeypatch.setattr(trial, "winner", None)
    again = wgflow.fit(
        configured(spirals, "energy.start=trial", f"init={tmp_path / 'first'}"), tmp_path / "again"
    )
    assert again.config.energy == first.config.energy


def configured(file, *settings):
    return wgflow.configure(file, "tables", *SMALL, "energy.width=8", *settings)


def test_a_loss_that_is_not_finite_loses(spirals):
    prepared = trial.Prepared.of(configured(spirals, "energy.start=coarse").settled())
    contender = Contender(prepared)
    assert contender.learned(0) < 3
    contender.learner.energy.residual.head.data.fill_(math.nan)
    assert contender.learned(1) == math.inf


def test_the_recipe_of_large_tables_asks_for_one():
    network = wgflow.configure(None, "large-tables").energy
    assert [one.start for one in network.candidates] == ["stack", "coarse"]
    assert wgflow.configure(None, "tables").energy.candidates == (
        wgflow.configure(None, "tables").energy,
    )
