"""Rows that no tail of a column leads to: errors, or events that so few rows hardly tell of."""

import math
from typing import NamedTuple

import torch
from scipy.special import pdtrc
from torch import Tensor

from wgflow.data.gaussianise import FAR, NORMAL_QUARTILES
from wgflow.metrics.alarms import ERRORS

RARE = math.erfc(ERRORS / math.sqrt(2))
"""The probability of chance that counts as none."""

FEW = 8
"""Rows at most; what share more have is known well enough to be learned."""

NEXT, LEAST = 50, 10
"""Spacings that tell how heavy a tail is, and how many of few rows do."""

COLUMNS = 64
"""At a time, in double precision."""

TIMES = 10.0
"""How far isolated rows must be, over the next."""


class Isolated(NamedTuple):
    """Rows far from all others.

    Attributes:
        column: its place.
        rows: how many.
        times: distance of the nearest of them to the median, over that of the next row.
        share: of all rows.
        center: the median.
        distance: of the next row to it.
    """

    column: int
    rows: int
    times: float
    share: float
    center: float
    distance: float

    def drawn(self, x: Tensor) -> Tensor:
        """Which of points x, (n, d), lie nearer to these rows than to all others, (n,)."""
        far = (x[:, self.column].double() - self.center).abs()
        return far > self.distance * math.sqrt(self.times)

    def without(self, x: Tensor) -> Tensor:
        """Points x, (n, d), but for those at these rows, if they are as few as chance may make.

        One point 10⁵ deviations out decides every distance, and is there in one of many draws.
        """
        drawn = self.drawn(x)
        count = int(drawn.sum())
        likely = float(pdtrc(count - 1, self.share * len(x))) if count else 1.0
        return x[~drawn] if likely > RARE else x


def isolated(x: Tensor) -> Isolated | None:
    """The rows of the column where they are farthest beyond the others; None where none are.

    Of distances ``a_1 ≥ a_2 ≥ …`` to the median, ``s_i = i log(a_i/a_{i+1})`` are independent and
    exponential, of one mean, in a tail ``a^{-α}`` of any α (Rényi 1953). So for k spacings below
    the m-th, ``s_m`` is beyond t times their mean with probability ``(1 + t/k)^{-k}``, and more
    rarely in lighter tails. m rows are isolated where that probability is below `RARE` for all m
    up to `FEW` and all columns together, and they are beyond `FAR` robust deviations and `TIMES`
    the distance of the next.

    Args:
        x: rows, (n, d); those that lack a number are left out. Fewer than 76 tell nothing.
    """
    x = x[x.isfinite().all(1)]
    count = min(NEXT, len(x) // 4 - FEW - 1)
    if count < LEAST:
        return None
    rare = RARE / (FEW * x.shape[1])
    beyond = torch.cat([_beyond(part.double(), count, rare) for part in x.split(COLUMNS, 1)], 1)
    if beyond.max() < 0:
        return None
    row, column = divmod(int(beyond.argmax()), x.shape[1])
    values = x[:, column].double()
    center = values.quantile(0.5)
    distance = float((values - center).abs().topk(row + 2).values[-1])
    times, share = float(beyond[row, column].exp()), (row + 1) / len(x)
    return Isolated(column, row + 1, times, share, float(center), distance)


def _beyond(x: Tensor, count: int, rare: float) -> Tensor:
    """``log(a_m/a_{m+1})`` for m up to `FEW`, (FEW, d); -1 where those m rows are not isolated."""
    lower, median, upper = x.quantile(x.new_tensor([0.25, 0.5, 0.75]), 0)
    spread = (upper - lower) / NORMAL_QUARTILES
    far = (x - median).abs().topk(FEW + count + 1, 0).values
    tiny = torch.finfo(far.dtype).tiny
    gaps = (far[:-1].clamp(min=tiny) / far[1:].clamp(min=tiny)).log()
    spacings = gaps * torch.arange(1, len(far)).to(gaps)[:, None]
    below = spacings[1:].unfold(0, count, 1).mean(-1).clamp(min=tiny)
    log_p = -count * (spacings[:FEW] / below[:FEW] / count).log1p()
    alone = (log_p < math.log(rare)) & (spread > 0)
    alone &= (far[:FEW] > FAR * spread) & (gaps[:FEW] > math.log(TIMES))
    return gaps[:FEW].where(alone, -1.0)
