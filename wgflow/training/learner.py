"""Everything that a configuration turns into, and its state as one tree."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from wgflow._random import stream
from wgflow.config import DTYPES, MIXED, Config
from wgflow.data.batches import Batches
from wgflow.data.dataset import Dataset
from wgflow.data.lazy import PointSource
from wgflow.data.moments import DataMoments
from wgflow.data.peek import width
from wgflow.data.transforms import Transform
from wgflow.distributed.ranks import ALONE, Ranks
from wgflow.energies.inherit import load_state
from wgflow.energies.microbatch import microbatched
from wgflow.energies.network import Network
from wgflow.training.budget import check_budget
from wgflow.training.checks import check_device, check_levels, check_patience
from wgflow.training.loading import batches_of, load_data, moments_of
from wgflow.training.loop import Step, train
from wgflow.training.schedule import averaging, optimizer_of, schedule


@dataclass(frozen=True, eq=False)
class Prepared:
    """What every learner of a run starts from: its data, and what a network is built for.

    Args:
        config: the settings of this rank.
        network: the energy to build, with the caller's own free part if it needs one.
        dataset: the data.
        u: its standardised train points.
        moments: of u.
        ranks: the processes that learn together.
    """

    config: Config
    network: Network
    dataset: Dataset
    u: PointSource
    moments: DataMoments
    ranks: Ranks = ALONE

    @classmethod
    def of(
        cls, config: Config, ranks: Ranks = ALONE, module: nn.Module | None = None
    ) -> "Prepared":
        """Load the data, and refuse what cannot be learned. Arguments as of `Learner.build`."""
        check_device(config.device)
        network = config.energy.around(module)
        config = config.settled()
        check_levels(config)
        if not config.data.reading.chooses:  # each column takes its time to load
            network.check_width(width(config.data.name) or 0)
        dataset = load_data(config)
        network.check_data(dataset)
        check_patience(config.training.patience, dataset, config)
        check_budget(config, dataset)
        u = dataset.learned
        moments = moments_of(network, dataset, u, config.data)
        if not config.data.smoothing:  # which is the lowest level otherwise
            energy = ranks.lead(lambda: config.energy.settled(moments))
            config = replace(config, energy=energy)
        return cls(config, config.energy.around(module), dataset, u, moments, ranks)

    def choose(self, network: Network) -> "Prepared":
        """The same with one of the candidates of the network."""
        return replace(self, network=network, config=replace(self.config, energy=network))


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
    generator: Generator
    ranks: Ranks = ALONE
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def build(
        cls, config: Config, ranks: Ranks = ALONE, module: nn.Module | None = None
    ) -> "Learner":
        """Load the data and make every part anew, as `begin`.

        Args:
            config: the settings of this rank.
            ranks: the processes that learn together.
            module: the caller's own free part, for a network that needs one.
        """
        return cls.begin(Prepared.of(config, ranks, module))

    @classmethod
    def begin(cls, prepared: Prepared) -> "Learner":
        """Every part anew; each random stream has its own seed."""
        config, ranks = prepared.config, prepared.ranks
        device, training = torch.device(config.device), config.training
        weights = stream(config.seed, 0)
        order = stream(config.seed, 1, rank=ranks.rank)
        mixed = config.dtype == MIXED
        energy = prepared.network.build(prepared.moments, mixed=mixed, generator=weights)
        energy = energy.to(device, DTYPES[config.dtype])
        optimizer = optimizer_of(energy, training)
        return cls(
            config,
            prepared.dataset,
            energy,
            optimizer,
            LambdaLR(optimizer, schedule(training)),
            AveragedModel(energy, multi_avg_fn=averaging(training.average)),
            batches_of(config, prepared.dataset, prepared.u.to(device), generator=order),
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
            "transform": None
            if self.dataset.transform is None
            else self.dataset.transform.state(),
            "event_shape": self.dataset.event_shape,
            "double": self.dataset.precision is not None,
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``; ValueError if it is of other data or another network."""
        self._check_data(state["shift"], state["scale"], state.get("transform"))
        load_state(self.energy, state["energy"])
        load_state(self.average, state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.batches.load_state_dict(state["batches"])
        self.generator.set_state(state["generator"])
        self.best.clear()
        self.best.update(state.get("best", {}))

    def keep(self) -> None:
        """Keep the running average as it is, the best so far, if the settings say so."""
        if self.config.training.keep_best:
            state = self.average.state_dict()
            self.best.update({name: value.clone() for name, value in state.items()})

    def finish(self) -> None:
        """End with the best running average that was kept, if any."""
        if self.best:
            load_state(self.average, self.best)

    def set_rate(self, rate: float) -> None:
        """Make ``rate`` the peak of the schedule, which goes on from its step."""
        self.scheduler.base_lrs = [rate for _ in self.scheduler.base_lrs]
        for group in self.optimizer.param_groups:
            group["initial_lr"] = rate
            group["lr"] = rate * self.scheduler.lr_lambdas[0](self.scheduler.last_epoch)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _check_data(self, shift: Tensor, scale: Tensor, maps: list[dict[str, Any]] | None) -> None:
        data = self.dataset
        if Transform.from_state(maps) != data.transform:
            raise ValueError(
                "`data` must be those the run started on: expected other maps of the columns than "
                f"those that data.transform = {self.config.data.transform!r} finds now."
            )
        if torch.equal(shift, data.shift) and torch.equal(scale, data.scale):
            return
        raise ValueError(
            "`data` must be those the run started on: expected mean "
            f"{shift.tolist()} and deviation {scale.tolist()}, "
            f"got {data.shift.tolist()} and {data.scale.tolist()}."
        )
