"""An endless, seeded, resumable stream of batches of points."""

from collections.abc import Iterator, Mapping

import torch
from torch import Generator, Tensor

from wgflow._random import Rng
from wgflow.data.lazy import LazyPoints, PointSource


class Batches(Iterator[Tensor]):
    """An endless stream of batches: each epoch a fresh permutation, without replacement.

    The points left over when ``size`` does not divide ``n`` wait for a later epoch. The stream
    owns its randomness, seeded by one draw from ``generator``; its whole state is the state of
    its generator at the start of the epoch and the position in it, so that
    ``load_state_dict(state_dict())`` continues bit for bit.

    Args:
        x: points, shape (n, *event). Of `LazyPoints` images of eight bits get new noise within
            their pixels in each batch, and values of a table within their cells.
        size: points per batch, at most n.
        flips: whether each image (channels, height, width) is mirrored left to right with
            probability 1/2, anew in each epoch.
        noise: σ of Gaussian noise on every coordinate, anew in each batch: the stream is then
            that of ``p_d * N(0, σ²)``.
        generator: for the seed.
    """

    def __init__(
        self,
        x: PointSource,
        size: int,
        *,
        flips: bool = False,
        noise: float = 0.0,
        generator: Rng = None,
    ) -> None:
        if not 1 <= size <= len(x):
            raise ValueError(f"`size` of a batch must be 1 to {len(x)}: got {size}.")
        if flips and x.ndim != 4:
            got = tuple(x.shape[1:])
            raise ValueError(f"`flips` needs points (channels, height, width): got {got}.")
        self.x = x
        self.size = size
        self.flips = flips
        self.noise = noise
        self._noisy = noise > 0 or (isinstance(x, LazyPoints) and x.are_noisy)
        device = generator.device if generator else None
        seed = torch.randint(2**63 - 1, (), device=device, generator=generator)
        self._generator = torch.Generator().manual_seed(int(seed))
        self._begin(self._generator.get_state(), 0)

    def __next__(self) -> Tensor:
        if self._position + self.size > len(self.x):
            self._begin(self._generator.get_state(), 0)
        index = self._permutation[self._position : self._position + self.size]
        self._position += self.size
        # A generator of the batch's own: a function of the epoch and the position in it.
        own = torch.Generator()
        if self._noisy:
            own.manual_seed(self._seed + self._position)
        batch = self._gathered(index, own)
        if self.flips:
            mirrored = self._mirrored[index].to(batch.device)
            batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        return self._smoothed(batch, own) if self.noise else batch

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors: generator at the epoch's start, position, number of points."""
        position, points = torch.tensor(self._position), torch.tensor(len(self.x))
        return {"epoch": self._epoch.clone(), "position": position, "points": points}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from ``state``. Raises ValueError if it belongs to other data."""
        if set(state) != {"epoch", "position", "points"}:
            raise ValueError(f"`state` must hold epoch, position and points: got {sorted(state)}.")
        points = int(state["points"])
        if points != len(self.x):
            raise ValueError(f"`state` must be of {len(self.x)} points: got one of {points}.")
        self._begin(state["epoch"].cpu(), int(state["position"]))

    def _begin(self, epoch: Tensor, position: int) -> None:
        # Permutation and flips follow from the generator, so the state need not hold them.
        self._epoch = epoch.clone()
        self._generator.set_state(self._epoch)
        self._permutation = torch.randperm(len(self.x), generator=self._generator)
        if self.flips:
            self._mirrored = torch.rand(len(self.x), generator=self._generator) < 0.5
        if self._noisy:
            self._seed = int(torch.randint(2**31, (), generator=self._generator))
        self._position = position

    def _gathered(self, index: Tensor, own: Generator) -> Tensor:
        if isinstance(self.x, LazyPoints):
            return self.x.fresh(index, generator=own)
        return self.x[index.to(self.x.device)]

    def _smoothed(self, batch: Tensor, own: Generator) -> Tensor:
        noise = torch.randn(batch.shape, generator=own, dtype=batch.dtype)
        return batch + self.noise * noise.to(batch.device)
