"""Sums over all pairs of points and components, which mixtures of many of them are made of."""

import math

import torch
from torch import Tensor

FEW = 4
"""Coordinates up to which products are taken one coordinate at a time."""


def products(c: Tensor, a: Tensor, offset: Tensor) -> Tensor:
    """``c_i·a_j + o_j``, (rows, d), (columns, d) and (columns,) -> (rows, columns).

    Of a few coordinates one by one, which is four times faster than the usual product.
    """
    if c.shape[1] > FEW:
        return torch.addmm(offset, c, a.T)
    own, other = c[:, None].unbind(2), a.T.contiguous()
    values = torch.addcmul(offset.expand(len(c), -1), own[0], other[0])
    for k in range(1, len(other)):
        values.addcmul_(own[k], other[k])
    return values


def log_sum_exp(values: Tensor) -> Tensor:
    """``log Σ_j exp(v_ij)``, (rows, columns) -> (rows,), for far-apart finite values; takes them.

    `torch.logsumexp` to rounding and faster: by powers of two, which take MKL's processors a third
    of the time of its exponential, and a fortieth where most terms underflow. Terms e^80 times
    smaller than the largest are rounded away in float32 and float64 alike, so what stands for
    them is without effect. What is to be differentiated is left to `torch.logsumexp`.
    """
    if values.requires_grad:
        return values.logsumexp(1)
    top = values.amax(1, keepdim=True)
    powers = values.sub_(top).clamp_min_(-80).mul_(1 / math.log(2)).exp2_()
    return powers.sum(1).log_() + top[:, 0]
