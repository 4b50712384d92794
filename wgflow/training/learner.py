"""Everything that a configuration turns into, and its state as one tree."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from wgflow._random import stream
from wgflow.config import DTYPES, MIXED, Config, Training
from wgflow.data import dataset as data
from wgflow.data.batches import Batches
from wgflow.data.dataset import Dataset
from wgflow.data.lazy import PointSource
from wgflow.data.moments import center_of, covariance_of, leading
from wgflow.distributed.ranks import ALONE, Ranks
from wgflow.energies.microbatch import microbatched
from wgflow.samplers.kinetic import KineticState
from wgflow.samplers.langevin import LangevinState
from wgflow.samplers.particles import Particles
from wgflow.schemes import Carry, Pair, Paths, Recent
from wgflow.training.loop import Step, train
from wgflow.training.muon import Muon

RECORDS = (Carry, Pair, Paths, Recent, Particles, LangevinState, KineticState)
"""The named tuples of a carry that a checkpoint may hold."""


@dataclass(frozen=True, eq=False)
class Learner:
    """The parts of a learning run that change in place, and what they were made from.

    Together with a carry, `state` is all that the next step depends on.
    """

    config: Config
    dataset: Dataset
    energy: nn.Module
    optimizer: Optimizer
    scheduler: LambdaLR
    average: AveragedModel
    batches: Batches
    generator: torch.Generator
    ranks: Ranks = ALONE

    @classmethod
    def build(cls, config: Config, ranks: Ranks = ALONE) -> "Learner":
        """Load the data and make every part anew; each random stream has its own seed."""
        check_device(config.device)
        config = config.settled()
        check_levels(config)
        device, training = torch.device(config.device), config.training
        dataset = load_data(config)
        config.energy.check_data(dataset)
        weights = stream(config.seed, 0)
        order = stream(config.seed, 1, rank=ranks.rank)
        u = dataset.learned
        flips, shape = config.data.flips, dataset.event_shape
        center = covariance = None
        if config.energy.needs_moments:
            center, covariance = center_of(dataset, u, flips=flips), covariance_of(u, flips=flips)
        if (axes := config.energy.axes) and covariance is None:
            covariance = leading(u, axes, flips=flips)
        mixed = config.dtype == MIXED
        energy = config.energy.build(shape, covariance, center, mixed=mixed, generator=weights)
        energy = energy.to(device, DTYPES[config.dtype])
        x = u.to(device)
        optimizer = optimizer_of(energy, training)
        return cls(
            config,
            dataset,
            energy,
            optimizer,
            LambdaLR(optimizer, schedule(training)),
            AveragedModel(energy, multi_avg_fn=averaging(training.average)),
            batches_of(config, dataset, x, generator=order),
            stream(config.seed, 2, device, rank=ranks.rank),
            ranks,
        )

    def start(self) -> Any:
        """The first carry."""
        energy = microbatched(self.energy, self.config.training.accumulate)
        return self.config.scheme.init(energy, next(self.batches), generator=self.generator)

    def steps(self, carry: Any) -> Iterator[Step]:
        """The learning steps after ``carry``."""
        return train(
            self.energy,
            self.config.scheme,
            self.batches,
            self.optimizer,
            carry=carry,
            scheduler=self.scheduler,
            average=self.average,
            clip=self.config.training.clip,
            accumulate=self.config.training.accumulate,
            generator=self.generator,
            ranks=self.ranks,
        )

    def state(self) -> dict[str, Any]:
        """The state of every part, as one tree."""
        return {
            "energy": dict(self.energy.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": dict(self.average.state_dict()),
            "batches": self.batches.state_dict(),
            "generator": self.generator.get_state(),
            "shift": self.dataset.shift,
            "scale": self.dataset.scale,
            "event_shape": self.dataset.event_shape,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``; ValueError if it is of other data or another network."""
        self._check_data(state["shift"], state["scale"])
        load_state(self.energy, state["energy"])
        load_state(self.average, state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.batches.load_state_dict(state["batches"])
        self.generator.set_state(state["generator"])

    def set_rate(self, rate: float) -> None:
        """Make ``rate`` the peak of the schedule, which goes on where it stands."""
        self.scheduler.base_lrs = [rate for _ in self.scheduler.base_lrs]
        for group in self.optimizer.param_groups:
            group["initial_lr"] = rate
            group["lr"] = rate * self.scheduler.lr_lambdas[0](self.scheduler.last_epoch)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _check_data(self, shift: Tensor, scale: Tensor) -> None:
        same = torch.equal(shift, self.dataset.shift) and torch.equal(scale, self.dataset.scale)
        if not same:
            raise ValueError(
                "A run continues on the data it began with: expected mean "
                f"{shift.tolist()} and deviation {scale.tolist()}, "
                f"got {self.dataset.shift.tolist()} and {self.dataset.scale.tolist()}."
            )


def check_device(name: str) -> None:
    """Raise ValueError unless the device is there, and computes in double precision."""
    try:
        torch.zeros(1, device=name, dtype=torch.float64)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(
            "A run learns on a device of this machine that computes in double precision: expected "
            f"cpu, or one that PyTorch finds here, got {name!r}: {error}"
        ) from error


def check_levels(config: Config) -> None:
    """Raise ValueError unless a scheme of noise has an energy of the levels that are scored.

    And unless such an energy learns its levels from the scheme, or begins with them.
    """
    levels, scheme = config.energy.noise_levels, config.scheme
    if levels is not None and not (scheme.learns_levels or config.init):
        raise ValueError(
            "`scheme` must learn the noise levels of the energy: expected dual-score-matching, "
            "alone or in joint, or the energy of another run to start from (init), got "
            f"{type(scheme).__name__}."
        )
    if not scheme.adds_noise:
        return
    if levels is None:
        raise ValueError(
            "`energy` must take noise levels for a scheme that adds noise to the data: expected "
            f"energy.kind noisy-unet, got {type(config.energy).__name__}."
        )
    if config.data.smoothing != levels.lowest:
        raise ValueError(
            f"`data.smoothing` must be the lowest noise level, energy.lowest = {levels.lowest}: "
            f"got {config.data.smoothing}."
        )


def optimizer_of(energy: nn.Module, training: Training) -> Optimizer:
    """The optimiser that is asked for, over the parameters of the energy."""
    kind = {"adamw": AdamW, "muon": Muon}[training.optimizer]
    return kind(
        energy.parameters(),
        lr=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )


def load_data(config: Config) -> Dataset:
    """The data set of a configuration; with smoothing, its test points have the noise."""
    dataset = data.load(
        config.data.name,
        size=config.data.size,
        test_fraction=config.data.test_fraction,
        seed=config.seed,
        dtype=DTYPES[config.dtype],
        image_size=config.data.image_size,
        scaling=config.data.scaling,
    )
    if not config.data.smoothing:
        return dataset
    noise = torch.randn(
        dataset.test.shape, generator=stream(config.seed, 3), dtype=dataset.test.dtype
    )
    return replace(dataset, test=dataset.test + config.data.smoothing * dataset.scale * noise)


def batches_of(
    config: Config, dataset: Dataset, x: PointSource, *, generator: torch.Generator
) -> Batches:
    """The stream of batches of ``x``, the standardised train points.

    Raises ValueError for flips of points whose units differ from pixel to pixel.
    """
    flips = config.data.flips
    if flips and dataset.shift.ndim:
        raise ValueError(
            "Flips need one unit for all pixels: expected images scaled by range "
            f'(data.scaling = "range"), got {dataset.name} scaled by coordinate.'
        )
    size, noise = min(config.training.batch_size, len(x)), config.data.smoothing
    noise = 0.0 if config.scheme.adds_noise else noise
    return Batches(x, size, flips=flips, noise=noise, generator=generator)


def load_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """``load_state_dict``; ValueError when the state is of another network."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            "An energy belongs to its configuration: expected the parameters of that "
            f"network, got {error}."
        ) from error


def schedule(training: Training) -> Callable[[int], float]:
    """Factor of the learning rate: linear warm-up, then half a cosine down to zero."""

    def factor(step: int) -> float:
        if step < training.warmup:
            return (step + 1) / training.warmup
        left = max(1, training.steps - training.warmup)
        return (1 + math.cos(math.pi * min(1.0, (step - training.warmup) / left))) / 2

    return factor


def averaging(decay: float) -> Callable[..., None]:
    """Running average ``θ̄ ← θ̄ + (1-β_k)(θ - θ̄)`` with ``β_k = min(β, (1+k)/(10+k))``.

    The warm-up lets the average forget the first, random weights, however short the run.
    """

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        rate = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        for mean, new in zip(averaged, current, strict=True):
            mean.lerp_(new, rate)

    return update
