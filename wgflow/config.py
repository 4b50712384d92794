"""The configuration of a run: frozen records whose constructors are the schema."""

from dataclasses import dataclass, field

from wgflow.schemes import NearProximal, Scheme


@dataclass(frozen=True)
class Data:
    """What to learn from. See `wgflow.data.load`."""

    name: str = "eight-gaussians"
    size: int | None = None
    test_fraction: float = 0.1


@dataclass(frozen=True)
class Network:
    """The energy: an `MLP` in standardised units, plus a confinement ``|u|²/(2s²)``.

    Args:
        width, depth, features, frequency, activation: see `wgflow.nets.MLP`.
        confinement: s, in standard deviations of the data; None for no confinement.
    """

    width: int = 128
    depth: int = 2
    features: int = 64
    frequency: float = 2.0
    activation: str = "silu"
    confinement: float | None = 2.0


@dataclass(frozen=True)
class Training:
    """The optimisation: Adam, warm-up, cosine decay to zero, running average of the weights.

    Args:
        steps: learning steps.
        batch_size: data per learning step.
        learning_rate: peak of the schedule.
        betas: Adam's decays of its two moments.
        warmup: steps of linear warm-up.
        average: decay of the running average of the weights, which is the energy that is kept.
        clip: greatest norm of the gradient; None for none.
        evaluate_every: steps between two evaluations on the test points.
        checkpoint_every: steps between two checkpoints.
        patience: evaluations without improvement after which training stops; None for never.
    """

    steps: int = 800
    batch_size: int = 1024
    learning_rate: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 50
    average: float = 0.99
    clip: float | None = None
    evaluate_every: int = 50
    checkpoint_every: int = 100
    patience: int | None = None


@dataclass(frozen=True)
class Config:
    """Everything that determines a run, but the machine."""

    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    data: Data = field(default_factory=Data)
    energy: Network = field(default_factory=Network)
    scheme: Scheme = field(default_factory=NearProximal)
    training: Training = field(default_factory=Training)
