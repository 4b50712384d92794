"""Ranks: processes that learn one energy together, each with an island of the particles.

With K ranks the loss is the mean of K losses, each on an island of its own: a share of the batch
and of the population, with its own weights, random streams and step size. Every island has the
weight 1/K, whatever its estimate of Z, so that their weights never degenerate against each other
as those of independent populations would. Weighted means normalise within an island of n/K
particles, so the bias of self-normalised averages, of the logarithm in the near-proximal loss
(Jensen's inequality) and of Donsker and Varadhan's is of order K/n where one population of n has
1/n; variances are as before. Estimates of Z stay unbiased, and average: see
`wgflow.distributed.islands`.

Gradients are averaged in one place, before the optimiser. Hooks on ``backward``, as of
DistributedDataParallel, expect one forward pass through a wrapper per backward pass. Here the
energy is called many times for one loss, by samplers and inside second derivatives, and a sum
over the whole gradient once per step costs the same.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from wgflow.errors import Led, Lost

T = TypeVar("T")

SHORT = 2**17
"""Numbers up to which two processes exchange them faster than gloo reduces them."""


class Apart(RuntimeError):
    """The ranks hold different parameters, which none of them should."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them; alone unless said otherwise.

    Its methods are collective: all ranks call them in the same order, and all get the same answer.
    Alone they do nothing, at no cost. The others need a process group; see
    `wgflow.distributed.launch`.

    Args:
        rank: number of this process, from 0, the first, which alone writes.
        size: number of processes.
        device: torch device of this process; None for that of the configuration.
    """

    rank: int = 0
    size: int = 1
    device: str | None = None

    @property
    def alone(self) -> bool:
        """Whether there is only one."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, of the same shapes everywhere, by their means over the ranks."""
        if self.alone or not tensors:
            return
        flat = torch.cat([t.detach().reshape(-1) for t in tensors])
        with answered():
            total = self._sum(flat)
        parts = total.div_(self.size).split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the ranks, outside the graph; not finite if any of them is not."""
        value = value.detach().clone()
        self.average_([value])
        return value

    def spread_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first rank."""
        for tensor in () if self.alone else tensors:
            with answered():
                dist.broadcast(tensor.detach(), 0)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        with answered():
            dist.all_gather_object(values, value)
        return values

    def collect(self, value: T) -> list[T]:
        """The values of all ranks, on the first; none elsewhere."""
        if self.alone:
            return [value]
        values: list[Any] | None = [None] * self.size if self.first else None
        with answered():
            dist.gather_object(value, values)
        return values or []

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.alone:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def lead(self, act: Callable[[], T]) -> T:
        """What ``act`` returns on the first rank, which alone does it.

        Raises:
            Led: on the other ranks, when it raised there.
        """
        if self.alone:
            return act()
        if not self.first:
            value, problem = self._told(None)
            if problem is not None:
                raise Led(f"The first rank failed: {problem}")
            return value
        try:
            value = act()
        except Exception as error:
            self._told((None, str(error)))
            raise
        return self._told((value, None))[0]

    def check_same(self, tensors: Sequence[Tensor]) -> None:
        """Raise `Apart` unless the tensors have the same sums, to the last bit, on all ranks."""
        if self.alone:
            return
        sums = self.gather([float(t.detach().double().sum()) for t in tensors])
        if any(repr(other) != repr(sums[0]) for other in sums):
            raise Apart(
                "Ranks learn one energy: expected the same parameters on all, got others on rank "
                f"{next(r for r, other in enumerate(sums) if repr(other) != repr(sums[0]))}."
            )

    def _sum(self, flat: Tensor) -> Tensor:
        """The sum over the ranks, the same to the last bit on all."""
        if self.size > 2 or len(flat) > SHORT or not flat.is_cpu:
            dist.all_reduce(flat)
            return flat
        # Two processes send each other all they have: gloo's reduction cuts a message into many.
        other = torch.empty_like(flat)
        for work in (dist.isend(flat, 1 - self.rank), dist.irecv(other, 1 - self.rank)):
            assert work is not None
            work.wait()
        return other.add_(flat)

    def _told(self, value: Any) -> Any:
        box = [value]
        with answered():
            dist.broadcast_object_list(box, 0)
        return box[0]


ALONE = Ranks()
"""One process."""


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Raise `Lost` when a collective fails: connections close when their other end does."""
    try:
        yield
    except RuntimeError as error:
        # Of the form "[file:line] reason. Advice"; whoever wants all of it asks for the traceback.
        why = str(error).partition("\n")[0].rpartition("] ")[2].partition(". ")[0]
        raise Lost(f"Another rank ended or did not answer in time: {why}") from error
