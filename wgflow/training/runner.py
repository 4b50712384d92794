"""The loop around `train`: health, records, validation, checkpoints, signals."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from wgflow.config import Training
from wgflow.distributed.islands import combine, own
from wgflow.distributed.ranks import Ranks
from wgflow.energies.microbatch import microbatched
from wgflow.errors import Diverged, Interrupted, Lost
from wgflow.samplers.particles import Particles
from wgflow.schemes import Scheme
from wgflow.storage import checkpoint, folder
from wgflow.training.binding import binding
from wgflow.training.health import Limits, Trouble, examine, leaves, reach, risen
from wgflow.training.learner import Learner
from wgflow.training.loop import Step
from wgflow.training.progress import Progress, read_state
from wgflow.training.recorder import Clock, Recorder, Silence, update_environment
from wgflow.training.signals import Asked, stopping
from wgflow.training.validation import Validator, least_gain, validator

ROLLBACKS = 3
"""How often a run goes back to its last good state, each time at half the learning rate."""

Listener = Callable[[int, dict[str, float]], None]
"""(step, metrics), called after every learning step."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Runner:
    """What a run is made of while it learns; ranks decide together whatever it decides."""

    path: Path
    learner: Learner
    clock: Clock
    listener: Listener | None
    recorder: Recorder | Silence
    validate: Validator

    @classmethod
    def open(
        cls,
        path: Path,
        learner: Learner,
        clock: Clock,
        listener: Listener | None,
        state: dict[str, Any] | None = None,
    ) -> "Runner":
        """A runner that writes to ``path``, after what ``state`` says was written."""
        config, dataset = learner.config, learner.dataset
        at = state["progress"].step if state else 0
        if learner.ranks.first:
            recorder = Recorder.open(path, config.training.steps, dataset, at=at)
        else:
            recorder = Silence()
        if state:
            recorder.rewind(at, state["files"])
        device = torch.device(config.device)
        validate = validator(dataset, config.scheme, learner.energy, device)
        return cls(path, learner, clock, listener, recorder, validate)

    def run(self, progress: Progress, carry: Any) -> None:
        """Learn to the end; the first signal stops it in order."""
        with contextlib.closing(self.recorder), stopping() as asked:
            try:
                if not progress.step:
                    progress = self.begin(progress, carry)
                self.learn(progress, carry, asked)
            except Lost as error:
                self.lost(error)

    def begin(self, progress: Progress, carry: Any) -> Progress:
        """Keep the state before the first step, to which a run may have to go back."""
        radius = max(self.ranks.gather(reach(Limits(), self.alive(carry))))
        progress = progress._replace(radius=radius)
        if self.training.keep_best:  # what it starts from may be the best already
            progress, _ = self.check(progress, carry, {})
            progress = progress._replace(start=progress.best)
        self.recorder.frame(0, self.scheme.populations(carry)[0])
        self.save(progress, carry)
        return progress

    def learn(self, progress: Progress, carry: Any, asked: Asked) -> None:
        """Learning steps until the last one, an early stop or a signal."""
        steps = self.learner.steps(carry)
        while not self.over(progress):
            rate = self.learner.rate
            carry, metrics, trouble = self.attempt(steps, carry, progress.step + 1)
            if trouble is None:
                progress, trouble = self.judge(progress, carry, metrics)
            if trouble is None and self.due(progress, self.training.evaluate_every):
                progress, trouble = self.check(progress, carry, metrics)
            if trouble is not None and self.settles(progress):
                progress, carry = self.settle(progress, trouble, metrics)
                break
            if trouble is not None:
                progress, carry = self.roll_back(progress, trouble, metrics)
                steps = self.learner.steps(carry)
                continue
            self.record(progress, carry, metrics | {"learning_rate": rate})
            if not self.over(progress) and self.ranks.any(asked.is_set()):
                self.interrupt(progress, carry, asked.number)
        self.finish(progress, carry)

    @property
    def training(self) -> Training:
        """The settings of the optimisation."""
        return self.learner.config.training

    @property
    def scheme(self) -> Scheme[Any]:
        """How the energy learns."""
        return self.learner.config.scheme

    @property
    def ranks(self) -> Ranks:
        """The processes that learn together."""
        return self.learner.ranks

    def alive(self, carry: Any) -> list[Particles]:
        """The populations that a carry has."""
        return [p for p in self.scheme.populations(carry) if p is not None]

    def over(self, progress: Progress) -> bool:
        """Whether there is nothing left to do."""
        patience = self.training.patience
        return progress.step >= self.training.steps or (
            patience is not None and progress.stale >= patience
        )

    def due(self, progress: Progress, every: int) -> bool:
        """Whether something happens at this step that happens every so many, and at the last."""
        return progress.step % every == 0 or progress.step == self.training.steps

    def attempt(
        self, steps: Iterator[Step], carry: Any, number: int
    ) -> tuple[Any, dict[str, float], Trouble | None]:
        """One learning step: the carry, its metrics, and trouble if the loss is not finite."""
        try:
            step = next(steps)
        except FloatingPointError:
            return carry, {}, Trouble(number, "loss not finite", math.nan, math.inf)
        metrics = {name: float(value) for name, value in step.metrics.items()}
        return step.carry, combine(self.ranks.gather(metrics)), None

    def judge(
        self, progress: Progress, carry: Any, metrics: dict[str, float]
    ) -> tuple[Progress, Trouble | None]:
        """The progress after a step, and what the health monitor found in it."""
        number, past = progress.step + 1, progress.history
        limits = replace(Limits(), radius=progress.radius)
        tensors = {"parameters": self.learner.energy.parameters(), "carried values": leaves(carry)}
        history, trouble = examine(limits, past, number, metrics, self.alive(carry), tensors)
        return progress._replace(step=number, history=history), self.agreed(trouble)

    def agreed(self, trouble: Trouble | None) -> Trouble | None:
        """The first trouble that any rank has."""
        if not self.ranks.any(trouble is not None):
            return None
        return next(t for t in self.ranks.gather(trouble) if t is not None)

    def check(
        self, progress: Progress, carry: Any, metrics: dict[str, float]
    ) -> tuple[Progress, Trouble | None]:
        """Validate: adds to ``metrics``, and counts validations without improvement."""
        average = self.learner.average.module
        found, trouble = {}, None
        try:
            energy = microbatched(self.learner.energy, self.training.accumulate)
            found = self.validate(energy, average, self.scheme.populations(carry)[1])
        except ValueError as error:
            trouble = Trouble(progress.step, f"validation: {error}", math.nan, math.inf)
        trouble = self.agreed(trouble)
        if trouble is not None:
            return progress, trouble
        found = combine(self.ranks.gather(found))
        metrics |= found
        if "nll" not in found:
            return progress, None
        value, dim = found["nll"], math.prod(self.learner.dataset.event_shape)
        trouble = risen(Limits(), progress.step, value, progress.best, dim)
        if trouble is not None:
            return progress, trouble
        if value < progress.best:
            least = least_gain(self.learner.dataset, self.learner.energy)
            if progress.start - value > least:
                self.learner.keep()
            return progress._replace(best=value, stale=0), None
        return progress._replace(stale=progress.stale + 1), None

    def record(self, progress: Progress, carry: Any, metrics: dict[str, float]) -> None:
        """Log a healthy step; a checkpoint when one is due and nothing looks suspicious."""
        last = self.over(progress)
        evaluated = self.due(progress, self.training.evaluate_every)
        self.recorder.metrics(progress.step, self.clock, metrics, always=evaluated)
        self.recorder.frame(progress.step, self.scheme.populations(carry)[0], always=last)
        if self.due(progress, self.training.checkpoint_every) and not progress.history.thin:
            self.save(progress, carry)
        if self.listener is not None:
            self.listener(progress.step, metrics)

    def save(self, progress: Progress, carry: Any) -> None:
        """Write the checkpoint, with the islands of all ranks; all wait until it is written."""
        learner = self.learner.state()
        state = {
            "progress": progress,
            "learner": learner,
            "carry": carry,
            "clock": self.clock.read(),
            "files": self.recorder.save(),
            "run": binding(self.path),
        }
        if not self.ranks.alone:
            self.ranks.check_same(list(self.learner.energy.parameters()))
            packed = self.ranks.collect(checkpoint.pack(own(learner, carry)))
            device, types = self.learner.config.device, self.scheme.carry_types
            state["islands"] = [checkpoint.unpack(p, types, device=device) for p in packed[1:]]
        self.ranks.lead(lambda: checkpoint.save(self.path / folder.CHECKPOINT, state))

    def roll_back(
        self, progress: Progress, trouble: Trouble, metrics: dict[str, float]
    ) -> tuple[Progress, Any]:
        """Go back to the last good state with half the learning rate, and say so."""
        count = progress.rollbacks + 1
        state = read_state(self.path, self.scheme, self.learner.config.device, self.ranks)
        good = state["progress"]
        self.recorder.rewind(good.step, state["files"])
        rate = self.training.learning_rate / 2**count
        details = trouble._asdict() | {"back_to": good.step, "learning_rate": rate}
        if count > ROLLBACKS:
            self.give_up(good, trouble, metrics)
        self.recorder.event(name="rollback", **details, metrics=metrics)
        log.warning("%s; back to step %d with learning rate %.3g", trouble, good.step, rate)
        self.learner.restore(state["learner"])
        self.learner.set_rate(rate)
        progress = good._replace(rollbacks=count)
        self.save(progress, state["carry"])
        return progress, state["carry"]

    def settles(self, progress: Progress) -> bool:
        """Whether a run that diverges again ends with the best energy that it kept."""
        return progress.rollbacks >= ROLLBACKS and bool(self.learner.best)

    def settle(
        self, progress: Progress, trouble: Trouble, metrics: dict[str, float]
    ) -> tuple[Progress, Any]:
        """The last good state, to end with, and say so."""
        state = read_state(self.path, self.scheme, self.learner.config.device, self.ranks)
        good = state["progress"]
        self.recorder.rewind(good.step, state["files"])
        self.recorder.event(name="diverged", **trouble._asdict(), metrics=metrics)
        log.warning("%s; ending with the energy that validated best", trouble)
        self.learner.restore(state["learner"])
        return good._replace(rollbacks=progress.rollbacks), state["carry"]

    def give_up(self, good: Progress, trouble: Trouble, metrics: dict[str, float]) -> NoReturn:
        """Raise `Diverged`, with the checkpoint left as it is."""
        self.recorder.event(name="diverged", **trouble._asdict(), metrics=metrics)
        self.close("diverged", good)
        raise Diverged(
            f"Learning diverged in spite of {ROLLBACKS} rollbacks: {trouble}. The last good "
            f"state, of step {good.step}, is in {self.path / folder.CHECKPOINT}; begin anew "
            "with a smaller training.learning_rate."
        )

    def interrupt(self, progress: Progress, carry: Any, number: int | None) -> NoReturn:
        """Save and raise `Interrupted`."""
        self.recorder.event(progress.step, "interrupted")
        self.save(progress, carry)
        self.close("interrupted", progress)
        raise Interrupted(
            f"Stopped after step {progress.step} of {self.training.steps}; "
            f"continue with: wgflow resume {self.path}",
            number,
        )

    def lost(self, error: Lost) -> NoReturn:
        """Say that a rank is gone, and what to go on from: a checkpoint has every island."""
        if not (self.path / folder.CHECKPOINT).is_file():
            raise error
        step = read_state(self.path, self.scheme, "cpu")["progress"].step
        self.recorder.event(step, "rank-lost", why=str(error))
        if self.ranks.first:
            update_environment(self.path, status="interrupted", steps=step, **self.clock.read())
        raise Lost(
            f"{error} (seen by rank {self.ranks.rank} of {self.ranks.size}). The last checkpoint, "
            f"of step {step}, is whole; continue with: wgflow resume {self.path}"
        ) from error

    def finish(self, progress: Progress, carry: Any) -> None:
        """Save the end of the run."""
        if progress.step < self.training.steps:
            self.recorder.event(progress.step, "early-stop", best=progress.best)
        self.learner.finish()
        self.save(progress, carry)
        self.close("finished", progress)

    def close(self, status: str, progress: Progress) -> None:
        """Write how the run ended."""
        if not self.ranks.first:
            return
        counts = {"steps": progress.step, "rollbacks": progress.rollbacks}
        update_environment(self.path, status=status, **counts, **self.clock.read())
