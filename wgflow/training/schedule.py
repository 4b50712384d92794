"""The optimiser of a run, its learning rate over the steps, and the running average."""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from wgflow.config import Training
from wgflow.training.muon import Muon


def optimizer_of(energy: nn.Module, training: Training) -> Optimizer:
    """The optimiser that the settings name, over the parameters of the energy."""
    kind = {"adamw": partial(AdamW, fused=True), "muon": Muon}[training.optimizer]
    return kind(
        energy.parameters(),
        lr=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )


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
