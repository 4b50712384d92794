"""What a run learned: its energy, fresh samples of it, and its normaliser."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgflow.flows import heat
from wgflow.flows import heat_uses
from wgflow.config import DTYPES, MIXED, Config
from wgflow.data.dataset import Dataset
from wgflow.energies.base import Confined, Rescaled, Tempered
from wgflow.likelihood.quadrature import box, log_z
from wgflow.energies.image_networks import ImageNoisyUNet
from wgflow.training.learner import load_data
from wgflow.energies.noise_levels import Levels
from wgflow.likelihood.annealing import LogZ
from wgflow.tasks.ood import recovery
from wgflow.samplers.particles import Particles
from wgflow.energies.precision import halved
from wgflow.energies.principal import CONTRAST, contrastable
from wgflow.runs.normalising import ROUNDS, along_levels, from_confinement, from_moments
from wgflow.samplers import MALA
from wgflow._check import check_choice
from wgflow.samplers.kinetic import KineticState
from wgflow.samplers.population import descent, draw, follow
from wgflow.schemes import EnergyMatching, matching

STARTS = ("noise", "population")
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

    @cached_property
    def dataset(self) -> Dataset:
        """The data it learned from, loaded when first asked for."""
        return load_data(self.config)

    @property
    def levels(self) -> Levels | None:
        """The levels of noise that its energy knows, if it knows some."""
        network = self.config.energy
        return network.levels if isinstance(network, ImageNoisyUNet) else None

    @property
    def leads(self) -> bool:
        """Whether its energy leads from noise to the data."""
        return self.levels is not None or matching(self.config.scheme) is not None

    def sample(
        self,
        count: int,
        *,
        start: str | None = None,
        rounds: int | None = None,
        generator: torch.Generator | None = None,
        **path: Any,
    ) -> Tensor:
        """``count`` fresh points of the learned density, in the original units of the data.

        Args:
            count: number of points.
            start: ``population``, see `wgflow.samplers.population.draw`; ``noise``, see
                `wgflow.flows.heat.generate`, for energies of levels of noise, and
                `wgflow.samplers.population.follow`, for those matched to paths from noise; None for noise
                where it can be, else the population.
            rounds: moves of a point from the population.
            generator: source of randomness.
            path: options of those: steps and langevin; of levels stochastic and contrast, of
                paths time. The contrast is `wgflow.energies.principal.CONTRAST` by default, where a learned
                energy knows what to contrast with and no Langevin steps are asked for.

        Raises:
            ValueError: the scheme kept no particles, or matched no paths, or a number is out of
                its range.
        """
        check_choice("start", start or STARTS[0], STARTS)
        if start == "noise" or (start is None and self.leads):
            return self._from_noise(count, path, generator)
        if path:
            raise ValueError(
                f"Points of the population follow no path: expected no options, got {path}."
            )
        particles = self._population()
        u = draw(
            self.energy.energy,
            particles,
            count,
            _mala(particles),
            rounds=ROUNDS if rounds is None else rounds,
            generator=generator,
        )
        return self._original(u)

    def stages(
        self, count: int, *, generator: torch.Generator | None = None, **options: Any
    ) -> Iterator[Tensor]:
        """``count`` points on their way from noise, after 0, 1 ... steps.

        A step is one gradient, or two of an energy of levels of noise. In original units; options
        and errors as in `sample` from noise, without Langevin steps.
        """
        options = self.options(options)
        if self.levels is not None:
            like = self.like(count)
            way = heat.stages(self.leading, self.levels, like, generator=generator, **options)
        else:
            paths, x = self._noise(count, generator)
            options = {"temperature": paths.temperature} | options
            way = descent(self.energy.energy, x, **options)
        while True:
            with self._mixed():  # not while the caller has the points
                u = next(way, None)
            if u is None:
                return
            yield self._original(u)

    def recovery(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """`wgflow.tasks.ood.recovery` of points in original units, in standardised ones.

        By `wgflow.flows.heat_uses.recovery` of an energy of levels of noise.

        Raises:
            ValueError: the energy leads from no noise to the data.
        """
        u = (x - self.energy.shift.to(x)) / self.energy.scale.to(x)
        if self.levels is not None:
            with self._mixed():
                return heat_uses.recovery(self.energy.energy, u, generator=generator)
        paths, _ = self._noise(1, None)
        with self._mixed():
            return recovery(
                self.energy.energy,
                u,
                temperature=paths.temperature,
                noise=paths.noise,
                generator=generator,
            )

    @property
    def leading(self) -> Tempered:
        """The energy that leads down levels of noise: no flatter than one that was learned."""
        return Tempered(self.energy.energy, 1 / self.temperature)

    def like(self, count: int) -> Tensor:
        """An empty tensor like ``count`` points."""
        return torch.empty(count, *self.event_shape, dtype=DTYPES[self.config.dtype])

    def options(self, path: dict[str, Any]) -> dict[str, Any]:
        """The options of a way from noise, checked; down levels with the usual contrast.

        Raises:
            ValueError: an option is not of such a way.
        """
        if self.levels is None:
            if path.get("stochastic") or path.get("contrast"):
                raise ValueError(
                    "A path from noise is deterministic and of one energy: expected an energy of "
                    "levels of noise for stochastic steps or a contrast, or langevin steps at its "
                    "end."
                )
            return {k: v for k, v in path.items() if k not in ("stochastic", "contrast")}
        if "time" in path:
            raise ValueError(
                "The heat flow has steps and no time: expected the options steps, "
                f"stochastic, langevin and contrast, got time {path['time']}."
            )
        plain = not (self.composed or path.get("langevin"))
        usual = CONTRAST if plain and contrastable(self.energy.energy) else 0.0
        return {"contrast": usual} | path

    def _from_noise(self, count: int, path: dict[str, Any], generator) -> Tensor:
        path = self.options(path)
        if self.levels is not None:
            path = {"temperature": self.temperature, "generator": generator} | path
            with self._mixed():
                x = heat.generate(self.leading, self.levels, self.like(count), **path)
            return self._original(x)
        paths, x = self._noise(count, generator)
        path = {"temperature": paths.temperature, "generator": generator} | path
        with self._mixed():
            return self._original(follow(self.energy.energy, x, **path))

    def _noise(self, count: int, generator) -> tuple[EnergyMatching, Tensor]:
        """The energy matching of the scheme, and noise from which its paths start."""
        paths = matching(self.config.scheme)
        if paths is None:
            raise ValueError(
                "Only energies matched to paths lead from noise to the data: expected the scheme "
                "energy-matching, joint or dual-score-matching; others from their population."
            )
        like = self.like(count)
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype)
        return paths, paths.noise * noise

    def _mixed(self) -> torch.autocast:
        return halved(self.config.dtype == MIXED)

    def _original(self, u: Tensor) -> Tensor:
        return (self.energy.shift + self.energy.scale * u).to(u)

    def log_prob(self, x: Tensor) -> Tensor:
        """``log p(x) = -E(x) - log Z``, (batch,), in nats; its error is `normaliser`'s."""
        with torch.no_grad():
            return -self.energy(x) - self.normaliser.value

    @cached_property
    def normaliser(self) -> LogZ:
        """``log Z`` of the energy with its standard error: the same in all units.

        By quadrature in one and two dimensions, where the error is that of the rule and counted
        as zero; otherwise by annealing both ways between the learned density, from the particles
        that never entered a gradient, and a Gaussian of the moments of those that did. An energy
        of levels of noise is annealed along its heat flow, and one with wells at images is cooled
        from its confinement instead: minutes to hours.

        Raises:
            ValueError: the scheme kept no particles and learned no wells.
        """
        if len(self.event_shape) == 1 and self.event_shape[0] <= 2:
            grid = box(self.energy.shift, self.energy.scale, DTYPES[self.config.dtype])
            value = float(log_z(self.energy, grid))
            return LogZ(value, 0.0, value, value)
        generator = torch.Generator().manual_seed(self.config.seed)
        energy, like = self.energy.energy, self.like(1)
        if self.levels is not None:
            return along_levels(energy, self.levels, like, generator=generator)
        paths, held_out = matching(self.config.scheme), self.held_out or self.particles
        if paths is not None and paths.cutoff < 1 and isinstance(energy, Confined):
            return from_confinement(energy, paths, held_out, like, generator=generator)
        trained = self._population()
        return from_moments(
            energy, trained, held_out or trained, _mala(trained), generator=generator
        )

    def _population(self) -> Particles:
        if self.particles is None:
            raise ValueError("Samples start from particles: expected a scheme that has some.")
        return self.particles


def _mala(p: Particles) -> MALA:
    """MALA with the step the population learned: one leapfrog of η is MALA of ε = η²/2."""
    step = float(p.state.step_size)
    return MALA(step_size=step**2 / 2 if isinstance(p.state, KineticState) else step)
