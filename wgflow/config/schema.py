"""The settings of a run: frozen records whose constructors are the schema."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from wgflow._check import (
    LONGEST,
    check_choice,
    check_fraction,
    check_nonnegative,
    check_positive,
    shown,
)
from wgflow.data.images import SCALINGS
from wgflow.data.reading import MISSING, Reading
from wgflow.data.transforms import RULES
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.network import Network
from wgflow.energies.precision import fast_bfloat16
from wgflow.schemes import NearProximal, Scheme
from wgflow.schemes.base import divided

MIXED, AUTO = "bf16-mixed", "auto"
"""Convolutions in bfloat16; and the same where the device is made for it, else float32."""

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    MIXED: torch.float32,
    AUTO: torch.float32,
}
"""Names of the precisions, and the type of the weights and points in each."""

OPTIMIZERS = ("adamw", "muon")
"""Names of the optimisers."""


@dataclass(frozen=True)
class Data:
    """What to learn from.

    Args:
        name, size, test_fraction: source, number of train points and share held out; see
            `wgflow.data.dataset.load`.
        validation_fraction: share of the train rows of a table on which learning is validated, and
            may stop early; 0 to validate on the test points, as images do. Toy sets draw that
            share besides.
        test: file of the test points, of a source without any; all its own rows are then for
            learning and validation. None holds a share of them out.
        image_size: side to which images are cut and resized; None keeps their size.
        scaling: ``coordinate`` or ``range``; None chooses by the data; see
        `wgflow.data.dataset.load`.
        transform: monotone maps of the columns of a table, for heavy tails and bounds: ``auto``
            chooses among all of `wgflow.data.transforms`, ``yeo-johnson`` leaves out those with
            bounds, None maps nothing.
        missing: ``error``; ``impute``, see `wgflow.data.missing`; or ``drop``, for rows that are
            complete.
        columns, exclude: names of the columns of a table to learn, None for all, and of those to
            leave out, as the number or the name of a row.
        flips: whether images are mirrored left to right at random; they must be scaled by range.
        smoothing: σ ≥ 0 of Gaussian noise added to every batch, in standardised units; the law
            that is learned, and scored, is that of the data with this noise.

    Raises:
        ValueError: when a setting is out of its range.
    """

    name: str = "eight-gaussians"
    size: int | None = None
    test_fraction: float = 0.1
    validation_fraction: float = 0.1
    test: str | None = None
    image_size: int | None = None
    scaling: str | None = None
    transform: str | None = "auto"
    missing: str = MISSING[0]
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    flips: bool = False
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("Data need a source: expected a name or a path, got ''.")
        if self.size is not None and self.size < 2:
            raise ValueError(f"Data need spread: expected a size ≥ 2, got {self.size}.")
        _check_between(test_fraction=self.test_fraction)
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(
                "`validation_fraction` must be at least 0 and below 1: got "
                f"{self.validation_fraction}."
            )
        if self.image_size is not None:
            check_positive(image_size=self.image_size)
        if self.scaling not in (None, *SCALINGS):
            raise unknown("scaling", str(self.scaling), SCALINGS)
        if self.transform is not None:
            check_choice("transform", self.transform, RULES)
        _ = self.reading  # which checks its own
        check_nonnegative(smoothing=self.smoothing)
        if self.flips and self.scaling == "coordinate":
            raise ValueError(
                "Flips need one unit for all pixels: expected scaling range, got coordinate."
            )

    @property
    def reading(self) -> Reading:
        """What is read of a table."""
        return Reading(self.missing, self.columns, self.exclude)


@dataclass(frozen=True)
class Training:
    """The optimisation: warm-up, cosine decay to zero, running average of the weights.

    Args:
        steps: learning steps.
        batch_size: data per learning step, or all of them where there are fewer.
        accumulate: parts that data and particles of a step are evaluated in, for the memory of
            one part and the gradient of all; see `wgflow.energies.microbatch`.
        optimizer: ``adamw``, or ``muon``: `wgflow.training.muon.Muon`, which learns convolutional
            energies of images in fewer steps.
        learning_rate: peak of the schedule.
        betas: Adam's decays of its two moments.
        weight_decay: decoupled decay of the weights, per unit of the learning rate.
        warmup: steps of linear warm-up.
        average: decay of the running average of the weights, which is the energy that is kept.
        clip: greatest norm of the gradient; None for none.
        evaluate_every: steps between two evaluations on the test points.
        checkpoint_every: steps between two checkpoints.
        patience: evaluations without improvement after which training stops; None for never.
        keep_best: whether a run ends with the running average that validated best; with its start,
            if that is a density, unless validation points gain log 100 nats in all over it.

    Raises:
        ValueError: when a setting is out of its range.
    """

    steps: int = 700
    batch_size: int = divided(1024)
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 4e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup: int = 50
    average: float = 0.99
    clip: float | None = None
    evaluate_every: int = 50
    checkpoint_every: int = 100
    patience: int | None = None
    keep_best: bool = False

    def __post_init__(self) -> None:
        check_positive(
            steps=self.steps,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            learning_rate=self.learning_rate,
            evaluate_every=self.evaluate_every,
            checkpoint_every=self.checkpoint_every,
            clip=1 if self.clip is None else self.clip,
            patience=1 if self.patience is None else self.patience,
        )
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_nonnegative(warmup=self.warmup, weight_decay=self.weight_decay)
        check_fraction(average=self.average)
        for beta in self.betas:
            check_fraction(betas=beta)
        if 1 in (self.average, *self.betas):
            raise ValueError(
                "A running average must forget: expected average and betas < 1, "
                f"got {self.average} and {self.betas}."
            )


@dataclass(frozen=True)
class Config:
    """Everything that determines a run, but the machine.

    Args:
        seed: of every random number, at least 0.
        device: a torch device that computes in float64, such as cpu or cuda:0.
        dtype: float32, float64, or bf16-mixed: float32 with the convolutions of image networks in
            bfloat16 while they learn, which is several times faster where the processor has it
            and many times slower elsewhere; or auto, see `settled`.
        init: folder of a run whose energy this one begins with; None begins anew.
        data, energy, scheme, training: what to learn from, what learns, how, and how long.

    Raises:
        ValueError: when a setting is out of its range.
    """

    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    init: str | None = None
    data: Data = field(default_factory=Data)
    energy: Network = field(default_factory=MLPSpec)
    scheme: Scheme = field(default_factory=NearProximal)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        check_nonnegative(seed=self.seed)
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        if self.training.accumulate > 1 and self.energy.keeps_state:
            raise ValueError(
                "`training.accumulate` must be 1 with energy.spectral, which moves on with every "
                f"evaluation: got {self.training.accumulate}."
            )
        try:
            torch.device(self.device)
        except (RuntimeError, ValueError):  # of text that is not UTF-8, too
            raise ValueError(
                "A device is named as in torch: expected cpu, cuda, cuda:1 ..., "
                f"got {shown(self.device)}."
            ) from None

    def settled(self) -> "Config":
        """The same with the precision that ``auto`` stands for on the device.

        bf16-mixed where that is fast, else float32. A run keeps what it began with.
        """
        if self.dtype != AUTO:
            return self
        return replace(self, dtype=MIXED if fast_bfloat16(self.device) else "float32")


def unknown(
    what: str, got: str, known: Iterable[str], path: str = "", *, deeper: Sequence[str] = ()
) -> ValueError:
    """The error of a name that is none of the known ones; ``path`` is its dotted key.

    ``deeper`` are keys of this very name in tables below.
    """
    near = deeper or difflib.get_close_matches(got[:LONGEST], list(known), n=1)
    hint = f" Did you mean {join(path, near[0])!r}?" if near else ""
    expected = f"expected one of {', '.join(known)}" if known else "expected none"
    return ValueError(f"No such {what}: {expected}, got {shown(join(path, got))}.{hint}")


def join(path: str, key: str) -> str:
    """A dotted key."""
    return f"{path}.{key}" if path else key


def _check_between(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f"`{name}` must be above 0 and below 1: got {value}.")
