"""A noise-conditional perceptron: the energy of vectors along the heat flow."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from wgflow._check import check_choice, check_nonnegative, check_positive
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.data.dataset import Dataset
from wgflow.data.mixtures import Gaussians, Stacks
from wgflow.data.moments import LARGEST, DataMoments
from wgflow.energies.blur import USUAL_LEVEL, lowest_of
from wgflow.energies.frequency import USUAL, frequency_of
from wgflow.energies.mixture import NoisyMixture
from wgflow.energies.network import Network
from wgflow.energies.noise_levels import NoiseLevels
from wgflow.energies.residual import WAVES, Residual

STARTS = ("stack", "coarse", "trial", "gaussian")
"""Names of what an energy may start from."""


@dataclass(frozen=True)
class NoiseMLPSpec(Network):
    """A `NoiseMLP` of vectors: a mixture of Gaussians, tilted by a residual perceptron.

    Args:
        lowest, highest: see `wgflow.energies.noise_levels.NoiseLevels`; the distribution that is
            learned is that of the data with noise of the lowest level. None for .01, or less where
            this would blur the data: a run has what `wgflow.energies.blur.lowest_of` finds.
        start: what it starts from: ``stack``, the mixture of `wgflow.data.mixtures`; ``coarse``,
            of few components alone, and the whole stack is for draws: the residual of a coarse
            start is smooth, and soon learned from many rows; ``trial``, which of these two is
            ahead after some steps, `wgflow.training.trial`; ``gaussian``, that of the data's
            moments.
        width: units per hidden layer.
        depth: number of hidden layers.
        features: number of frequencies, rounded up to as many for every coordinate; 0 for none.
        frequency: the deviation of a phase on data of unit variance, in radians; None for what the
            number of points shows along one coordinate, `wgflow.energies.frequency.frequency_of`.

    Raises:
        ValueError: when a setting is out of its range.
    """

    needs_moments: ClassVar[bool] = True
    needs_mixture: ClassVar[bool] = True

    lowest: float | None = None
    highest: float = 10.0
    start: str = "stack"
    width: int = 256
    depth: int = 3
    features: int = 64
    frequency: float | None = None

    def __post_init__(self) -> None:
        check_positive(width=self.width, depth=self.depth)
        if self.frequency is not None:
            check_positive(frequency=self.frequency)
        check_nonnegative(features=self.features)
        check_choice("start", self.start, STARTS)
        _ = self.noise_levels  # which are checked

    @property
    def needs_coarse(self) -> bool:
        """Whether it may start there."""
        return self.start in ("coarse", "trial")

    @property
    def candidates(self) -> tuple["NoiseMLPSpec", ...]:
        """With either start, before a trial."""
        if self.start != "trial":
            return (self,)
        return replace(self, start="stack"), replace(self, start="coarse")

    @property
    def noise_levels(self) -> NoiseLevels:
        """From the lowest to the highest."""
        lowest = USUAL_LEVEL if self.lowest is None else self.lowest
        return NoiseLevels(lowest, self.highest)

    def settled(self, moments: DataMoments) -> "NoiseMLPSpec":
        """With the lowest level that the data need, if it is left to them."""
        if self.lowest is not None or not moments.families:
            return self
        return replace(self, lowest=lowest_of(NoisyMixture(moments.families)))

    def leads_to(self, known: Network) -> bool:
        """A candidate, of any lowest level if that is left to the data."""
        if isinstance(known, NoiseMLPSpec) and self.lowest is None:
            return known in replace(self, lowest=known.lowest).candidates
        return super().leads_to(known)

    def check_data(self, dataset: Dataset) -> None:
        """Few enough coordinates for a covariance."""
        self.check_width(math.prod(dataset.event_shape))

    def check_width(self, columns: int) -> None:
        """The same, where the header of a file says so."""
        if columns > LARGEST:
            raise ValueError(
                f"`energy.kind` noise-mlp needs at most {LARGEST} coordinates: got {columns}; "
                "leave columns of a table out; images have noisy-unet."
            )

    def weights(self, dim: int) -> int:
        """Of all layers."""
        fan_in = dim + 2 * self.frequencies(dim) + 2 * WAVES + (self.depth - 1) * self.width
        return dim * self.frequencies(dim) + fan_in * self.width

    def kept(self, dim: int) -> int:
        """Features, and each hidden layer before and after its activation."""
        return dim + 3 * self.frequencies(dim) + 2 * self.depth * self.width

    def frequencies(self, dim: int) -> int:
        """Those of all coordinates, as many for each."""
        return -(-self.features // dim) * dim

    def build(
        self, moments: DataMoments, *, mixed: bool = False, generator: Rng = None
    ) -> nn.Module:
        """The mixture, or the Gaussian of the moments, and a residual that is zero."""
        dim = math.prod(moments.event_shape)
        covariance = moments.covariance
        if not isinstance(covariance, Tensor):
            covariance = torch.eye(dim, dtype=torch.float64)
        mean = torch.zeros(dim, dtype=torch.float64)
        if moments.center is not None:
            mean = moments.center.double().flatten()
        gaussian = Gaussians(mean.new_ones(1), mean[None], covariance[None])
        stacks = Stacks(list(moments.families) or [gaussian], list(moments.coarse) or [gaussian])
        base = {"gaussian": [gaussian], "coarse": stacks.coarse}.get(self.start, stacks.stack)
        draws = NoisyMixture(stacks.defensive) if self.start == "coarse" else None
        spec = replace(self, frequency=frequency_of(self.frequency, moments, seen=1))
        return NoiseMLP(spec, NoisyMixture(base), gaussian, draws, generator=generator)


class NoiseMLP(nn.Module):
    """``E(x, λ) = -log b_λ(x) + s(x, λ)`` with λ = log σ².

    b is a mixture of Gaussians, so that ``b_λ = b * N(0, σ²I)`` is one too: the energy starts with
    its normaliser at every level, and its distribution is sampled exactly. Draws are of q_λ, the
    same or another mixture, nearer to the data and too rich for a perceptron to correct. The
    residual s is a `wgflow.energies.residual.Residual`.

    The density is cut at a multiple of q, infinite while it learns: see `RelativeEnergy.bound`.

    Without a level this is the energy of the lowest.

    Args:
        spec: its sizes and noise levels.
        mixture: b.
        gaussian: of the moments of the data, as a mixture of one.
        draws: q; None for b.
        generator: source of the initial weights.
    """

    ceiling: Tensor

    def __init__(
        self,
        spec: NoiseMLPSpec,
        mixture: NoisyMixture,
        gaussian: Gaussians,
        draws: NoisyMixture | None = None,
        *,
        generator: Rng = None,
    ) -> None:
        super().__init__()
        self.levels, self.mixture, self.draws = spec.noise_levels, mixture, draws
        count, hidden = spec.frequencies(len(gaussian.means[0])), [spec.width] * spec.depth
        self.residual = Residual(
            gaussian, count, spec.frequency or USUAL, hidden, generator=generator
        )
        self.register_buffer("ceiling", torch.tensor(math.inf))

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``E(x, λ)``; without a level that of the lowest."""
        level = self.at(x, level)
        return self.mixture(x, level) + self.tilt(x, level)

    def tilt(self, x: Points, level: Values) -> Values:
        """``max(s, -c - log q/b)`` with the ceiling c: the density is at most ``e^c q/Z``."""
        s = self.residual(x, level)
        if self.draws is None:
            return torch.maximum(s, -self.ceiling)
        if self.ceiling.isinf():  # while it learns, q is only drawn from
            return s
        return torch.maximum(s, self.draws(x, level) - self.mixture(x, level) - self.ceiling)

    def reference(
        self, like: Tensor, count: int, level: Values | None = None, *, generator: Rng = None
    ) -> tuple[Points, Values]:
        """``count`` draws of q_λ shaped like the points of ``like``, and their log-density."""
        x = self.drawn(like, count, level, generator=generator)
        with torch.no_grad():
            return x, -self.source(x, self.at(x, level))

    def drawn(
        self, like: Tensor, count: int, level: Values | None = None, *, generator: Rng = None
    ) -> Points:
        """``count`` draws of q_λ shaped like the points of ``like``."""
        empty = like.new_empty(count, *like.shape[1:])
        return self.source.sample(empty, self.at(empty, level), generator=generator)

    @property
    def source(self) -> NoisyMixture:
        """q."""
        return self.draws or self.mixture

    def relative(self) -> "RelativeEnergy":
        """The energy relative to its start b, ``s``."""
        return RelativeEnergy(self)

    def at(self, x: Points, level: Values | None) -> Values:
        """The level of each point; that of the lowest where none is given."""
        if level is not None:
            return level
        return x.new_full((len(x),), 2 * math.log(self.levels.lowest))


class RelativeEnergy(nn.Module):
    """``s = E + log b``: the energy of the density relative to the start b, with E's parameters.

    Differences of energies at a point, and weights of draws of q, are those of E. Where q is b it
    is never evaluated, only sampled.

    Args:
        energy: with a reference.
    """

    def __init__(self, energy: NoiseMLP) -> None:
        super().__init__()
        self.energy, self.levels = energy, energy.levels

    def forward(self, x: Points, level: Values | None = None) -> Values:
        """``s(x, λ)``; without a level that of the lowest."""
        return self.energy.tilt(x, self.energy.at(x, level))

    def reference(
        self, like: Tensor, count: int, level: Values | None = None, *, generator: Rng = None
    ) -> tuple[Points, Values]:
        """``count`` draws of q, and the logarithm of their density relative to b."""
        x = self.energy.drawn(like, count, level, generator=generator)
        return x, self.log_reference(x, level)

    def bound(self, ceiling: float) -> None:
        """Cut the density, so that no weight ``e^{-s} b/q`` is beyond ``e^ceiling``."""
        self.energy.ceiling.fill_(ceiling)

    @torch.no_grad()
    def log_reference(self, x: Points, level: Values | None = None) -> Values:
        """``log q/b``, zero where they are one."""
        energy, level = self.energy, self.energy.at(x, level)
        if energy.draws is None:
            return x.new_zeros(len(x))
        return energy.mixture(x, level) - energy.source(x, level)

    def relative(self) -> "RelativeEnergy":
        """Itself."""
        return self
