"""What a run learned: its energy, its flow, fresh samples, and its normaliser."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wgflow._check import check_choice, check_nonnegative
from wgflow._random import Rng
from wgflow._tensor import Points, Values
from wgflow.config import DTYPES, MIXED, Config
from wgflow.data.columns import Columns
from wgflow.data.dataset import Dataset
from wgflow.data.gaussian_mixture import fitted
from wgflow.data.lazy import LazyPoints
from wgflow.data.memory import check_memory
from wgflow.data.tables import read_rows
from wgflow.data.targets import GaussianMixture
from wgflow.energies.base import Relative, Rescaled, Tilted
from wgflow.energies.microbatch import full_batch
from wgflow.energies.noise_levels import At
from wgflow.energies.precision import halved
from wgflow.flows import Flow, flow_of
from wgflow.likelihood import from_reference
from wgflow.likelihood.annealing import LogZ
from wgflow.likelihood.from_particles import ROUNDS, log_z_from_particles
from wgflow.likelihood.from_reference import Reach
from wgflow.likelihood.quadrature import standardised_log_z
from wgflow.metrics.alarms import why_unknown
from wgflow.runs.sampled import SampledTarget
from wgflow.samplers.langevin import MALA
from wgflow.samplers.particles import Particles
from wgflow.samplers.population import draw
from wgflow.tasks.conditional import ConditionalDensity, known_row
from wgflow.training.learner import load_data

OUTLIER_NOISE = 0.1
"""Noise level at which outliers are told, in standardised units."""

STARTS = ("noise", "population", "reference")
"""Where samples may start."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a run learned, as of its latest checkpoint.

    Attributes:
        path: its folder.
        config: what was asked for.
        energy: the running average of the energy, in the original units of the data; frozen.
        particles: the population that trained, in standardised units; None without one.
        held_out: the population that never entered a gradient; None without one.
        event_shape: shape of one point.
        steps: learning steps done.
        rollbacks: how often the run diverged and went back.
        composed: whether the energy is made of those of several runs, or tempered.
        temperature: T ≥ 1, how much flatter the energy is than one that was learned.
        schema: the columns of the table it learned from; None for other data.
        target: the given energy whose samples it learned from; None for data.
    """

    path: Path
    config: Config
    energy: Rescaled
    particles: Particles | None
    held_out: Particles | None
    event_shape: tuple[int, ...]
    steps: int
    rollbacks: int
    composed: bool = False
    temperature: float = 1.0
    schema: Columns | None = None
    target: SampledTarget | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The data it learned from, loaded when first asked for."""
        return load_data(self.config)

    @cached_property
    def flow(self) -> Flow | None:
        """The flow from noise to the data, in standardised units; None where none was learned."""
        levels, paths = self.config.energy.noise_levels, self.config.scheme.path
        options = {"autoguidance": 0.0} if self.composed else {}
        return flow_of(self.energy.energy, levels, paths, temperature=self.temperature, **options)

    def sample(
        self,
        count: int,
        *,
        start: str | None = None,
        rounds: int = ROUNDS,
        generator: Rng = None,
        **options: Any,
    ) -> Points:
        """``count`` fresh points of the learned density, in the original units of the data.

        Args:
            count: number of points.
            start: ``population``, see `wgflow.samplers.population.draw`, ``noise``, see
                `Flow.sample`, or ``reference``, see `wgflow.likelihood.from_reference.draw`; None
                for the reference where the energy has one, else for noise where there is a flow.
            rounds: moves of a point from the population; draws of the reference for each point,
                where `reach` may ask for more.
            generator: source of randomness.
            options: of the flow, see `MatchedPath` and `HeatFlow`.

        Raises:
            ValueError: there are no particles or no flow, or a number is out of its range.
        """
        check_choice("start", start or STARTS[0], STARTS)
        check_nonnegative(rounds=rounds)
        size = 3 * self.like(1).nbytes + 8  # parts, all of them, in units of the data; their order
        check_memory({f"{count} points": count * size})
        if start == "reference" or (start is None and self.tilt is not None and not options):
            like = self.like(1)
            tilt, most = self.require_tilted().relative(), max(rounds, self.reach.rounds)
            u = from_reference.draw(tilt, like, count, rounds=most, generator=generator)
            return self.unstandardise(u)
        if start == "noise" or (start is None and self.flow is not None):
            flow = self.require_flow().configured(**options)
            with self.mixed_precision():
                return self.unstandardise(flow.sample(self.like(count), generator=generator))
        if options:
            raise ValueError(f"`start` must be noise with options of a flow: got {options}.")
        particles = self.require_particles()
        step = MALA(particles.langevin_step)
        u = draw(self.energy.energy, particles, count, step, rounds=rounds, generator=generator)
        return self.unstandardise(u)

    def sample_frame(self, count: int, *, backend: str = "pandas", **options: Any) -> Any:
        """`sample` as rows of the table, in a data frame: see `Columns.frame`.

        Without a table the columns are x0, x1, ... Options are of `sample`.
        """
        points = self.sample(count, **options).flatten(1)
        names = [f"x{j}" for j in range(points.shape[1])]
        return (self.schema or Columns.numbers(names)).frame(points, backend)

    def read(self, source: Any, *, generator: Rng = None) -> Points:
        """All rows of a file or a data frame as points of this density, in its units.

        Columns of a table are matched by name, and dequantised as those learned from; an array
        holds points.

        Args:
            source: path of an .npy, .npz, .csv, .tsv or .parquet file, or a frame of any library.
            generator: of the noise of what is dequantised.

        Raises:
            ValueError: columns are missing or there are others, values are not finite numbers or
                not of the kind of their column, or points have another shape.
        """
        dtype = self.dtype
        numbers = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        x = read_rows(source, numbers, self.schema, generator=generator)
        if x.shape[1:] != self.event_shape:
            name = source if isinstance(source, str | Path) else "`frame`"
            raise ValueError(
                f"{name} must hold points of shape {self.event_shape}: got an array of shape "
                f"{x.shape}."
            )
        rows = torch.arange(len(x))
        return LazyPoints(x, rows, dtype).fresh(rows, generator=generator)

    def trajectory(self, count: int, *, generator: Rng = None, **options: Any) -> Iterator[Points]:
        """``count`` points on their way from noise: see `Flow.trajectory`; in original units."""
        flow = self.require_flow().configured(**options)
        way = flow.trajectory(self.like(count), generator=generator)
        while True:
            with self.mixed_precision():  # not while the caller has the points
                u = next(way, None)
            if u is None:
                return
            yield self.unstandardise(u)

    def reconstruction_error(self, x: Points, *, generator: Rng = None) -> Tensor:
        """`Flow.reconstruction_error` of x in original units, in standardised ones."""
        with self.mixed_precision():
            u = self.energy.standardise(x)
            return self.require_flow().reconstruction_error(u, generator=generator)

    def log_prob(self, x: Points) -> Values:
        """``log p(x) = -E(x) - log Z``, (batch,), in nats; its error is `normaliser`'s.

        Raises:
            ValueError: as `normaliser`, or the bounds of log Z refute every value of it.
        """
        log_z = self.normaliser
        if math.isnan(log_z.value):
            reason = why_unknown(log_z.lower, log_z.upper)
            raise ValueError(f"A log-density needs log Z, which is not known: {reason}.")
        with torch.no_grad():
            return -self.energy(x) - log_z.value

    @cached_property
    def normaliser(self) -> LogZ:
        """``log Z`` of the energy with its standard error: the same in all units.

        In one and two dimensions by quadrature, with the difference between two grids as error.
        Elsewhere, if the energy has a reference, by draws of that, see
        `wgflow.likelihood.from_reference`; or by annealing both ways: along the flow, if that
        bounds log Z, which takes minutes to hours; otherwise between the held-out particles and a
        Gaussian of the training ones' moments.

        Raises:
            ValueError: the scheme kept no particles, and there is no flow that bounds log Z.
        """
        if len(self.event_shape) == 1 and self.event_shape[0] <= 2:
            dim, dtype = self.event_shape[0], DTYPES[self.config.dtype]
            value, error = map(float, standardised_log_z(self.energy.energy, dim, dtype))
            return LogZ(value, error, value, value)
        generator = torch.Generator().manual_seed(self.config.seed)
        if self.tilted is not None:
            return self.reach.log_z
        held_out = self.held_out or self.particles
        if self.flow is not None:
            found = self.flow.log_z(self.like(1), held_out, generator=generator)
            if found is not None:
                return found
        trained = self.require_particles()
        energy = self.energy.energy
        return log_z_from_particles(energy, trained, held_out or trained, generator=generator)

    def outlier_energy(self, x: Points) -> Values:
        """``E(u, log σ²)`` of standardised points u, (batch,): larger for outliers.

        Without the Jacobian of the maps of columns, which makes points rare wherever a map is
        flat, whatever they are; and with σ = `OUTLIER_NOISE`, where the energy has levels, so that
        it is not the finest detail of the density that decides.
        """
        energy, u = self.energy.energy, self.standardise(x)
        levels = self.config.energy.noise_levels
        if levels is not None:
            energy = At(energy, min(max(OUTLIER_NOISE, levels.lowest), levels.highest))
        with torch.no_grad():
            value = energy(u)
        most = torch.finfo(value.dtype).max  # where the energy overflows
        return value.nan_to_num(most, most)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of `named`."""
        return self.named.names

    @property
    def named(self) -> Columns:
        """The columns of the table, or x0, x1 ...; ValueError for points that are no vectors."""
        if len(self.event_shape) != 1:
            raise ValueError(f"Columns are of vectors: got points of shape {self.event_shape}.")
        return self.schema or Columns.numbers([f"x{j}" for j in range(self.event_shape[0])])

    @cached_property
    def mixture(self) -> GaussianMixture:
        """One fitted to standardised train points, where annealing of conditionals starts."""
        return fitted(self.dataset.learned, seed=self.config.seed)

    def conditional(self, known: Mapping[str | int, Any]) -> ConditionalDensity:
        """The density of the other columns given the values of some: see `known_row`.

        Raises:
            ValueError: points are no vectors, a column is unknown, a value is none of its
                column, or no column or all are known.
        """
        usual = self.dataset.test.mean(0).to(self.dtype)
        return ConditionalDensity(self, *known_row(known, self.named, usual))

    def standardise(self, x: Points) -> Points:
        """Points of the data in standardised units; ValueError for ones of another shape."""
        if tuple(x.shape[1:]) != self.event_shape:
            raise ValueError(
                f"Points must have the shape {self.event_shape} after the first axis: got "
                f"{tuple(x.shape)}."
            )
        return self.energy.standardise(x)

    def unstandardise(self, u: Points) -> Points:
        """Standardised points in the units of the data, within the bounds of their columns.

        Leading axes may be any. A density has hardly any mass beyond these bounds, see
        `wgflow.data.transforms`; points there are reflected.
        """
        x, maps = self.energy.unstandardise(u), self.energy.transform
        return x if maps is None else maps.within(x)

    @property
    def dtype(self) -> torch.dtype:
        """The type of points in the units of the data."""
        return self.energy.outer(self.like(0))

    def like(self, count: int) -> Tensor:
        """An empty tensor like ``count`` standardised points."""
        return torch.empty(count, *self.event_shape, dtype=DTYPES[self.config.dtype])

    def mixed_precision(self) -> torch.autocast:
        """The context of mixed precision, where the run learned in it and it is fast."""
        return halved(self.config.dtype == MIXED)

    def require_flow(self) -> Flow:
        """The flow. Raises ValueError without one."""
        if self.flow is None:
            raise ValueError(
                "Only a flow leads from noise to the data: expected the scheme energy-matching, "
                "joint or dual-score-matching; others sample from their population."
            )
        return self.flow

    @property
    def tilted(self) -> Tilted | None:
        """The energy of standardised points, if it has a reference."""
        plain = full_batch(self.energy.energy)
        return plain if isinstance(plain, Tilted) else None

    @cached_property
    def reach(self) -> Reach:
        """How far the reference is from the density. Raises ValueError where there is none."""
        generator = torch.Generator().manual_seed(self.config.seed)
        tilt = self.require_tilted().relative()
        return from_reference.reach(tilt, self.like(1), generator=generator)

    @property
    def tilt(self) -> Relative | None:
        """The energy relative to its reference, of standardised points; None without one."""
        return None if self.tilted is None else self.tilted.relative()

    def require_tilted(self) -> Tilted:
        """The energy of standardised points. Raises ValueError where it has no reference."""
        if self.tilted is None:
            raise ValueError(
                "`start` must be noise or population for an energy without a reference: got "
                "reference; energy.kind noise-mlp has one."
            )
        return self.tilted

    def require_particles(self) -> Particles:
        """The population that trained. Raises ValueError without one."""
        if self.particles is None:
            raise ValueError("Samples start from particles: expected a scheme that has some.")
        return self.particles
