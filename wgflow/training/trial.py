"""A trial of two networks: which of them is ahead after some steps of learning.

Both learn in turn, from the same data and seeds, and are validated. The second starts further from
the data and has more to gain: it loses as soon as at its mean pace so far it would not be ahead by
the middle of the run, and wins once it is ahead, or if it has not lost by the end of the trial.
What either has learned is forgotten.
"""

import logging
import math
from dataclasses import replace
from itertools import islice

import torch
from torch import nn

from wgflow._progress import watched
from wgflow.config import Config
from wgflow.distributed.ranks import ALONE, Ranks
from wgflow.training.learner import Learner, Prepared
from wgflow.training.validation import validator

STEPS, ROUNDS = 50, 4
"""Learning steps between two validations, and how many of these there are at most."""

log = logging.getLogger(__name__)


def begun(config: Config, ranks: Ranks = ALONE, module: nn.Module | None = None) -> Learner:
    """A learner at its first step, of the network that wins if its settings ask for a trial.

    Arguments as of `Learner.build`. The first rank decides for all.
    """
    prepared = Prepared.of(config, ranks, module)
    candidates = prepared.network.candidates
    if len(candidates) == 1:
        return Learner.begin(prepared)
    alone = replace(prepared, ranks=ALONE)
    middle = prepared.config.training.steps / 2 / STEPS

    def choose() -> int:
        first, second = (Contender(alone.choose(candidate)) for candidate in candidates)
        return winner(first, second, middle)

    chosen = ranks.lead(choose)
    return Learner.begin(prepared.choose(candidates[chosen]))


class Contender:
    """A learner on trial.

    Args:
        prepared: what it starts from.
    """

    def __init__(self, prepared: Prepared) -> None:
        config, self.learner = prepared.config, Learner.begin(prepared)
        device = torch.device(config.device)
        self.scheme = config.scheme
        self.validate = validator(prepared.dataset, config.scheme, self.learner.energy, device)
        self.carry = self.learner.start()
        self.steps = self.learner.steps(self.carry)

    def learned(self, steps: int) -> float:
        """Nats per validation point after so many more steps; infinite if they are not known."""
        try:
            for step in islice(self.steps, steps):
                self.carry = step.carry
            held_out = self.scheme.populations(self.carry)[1]
            found = self.validate(self.learner.energy, self.learner.average.module, held_out)
        except (FloatingPointError, ValueError):  # those of a run, if it wins, are told by the run
            return math.inf
        return found.get("nll", math.inf)


def winner(first: Contender, second: Contender, by: float) -> int:
    """0 for the first, 1 for the second, which is to be ahead after ``by`` rounds."""
    behind = second.learned(0) - first.learned(0)
    if not behind > 0:  # the same start
        return 0
    for done in watched(range(1, ROUNDS + 1), "Choosing where the energy starts"):
        values = [contender.learned(STEPS) for contender in (first, second)]
        gap = values[1] - values[0]
        log.info("After %d steps of trial: %.4g and %.4g nats", done * STEPS, *values)
        if gap <= 0:
            return 1
        if not gap <= (behind - gap) / done * (by - done):
            return 0
    return 1
