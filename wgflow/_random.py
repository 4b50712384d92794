"""Random streams: reproducible seeds, and Gaussian noise shaped like given points."""

import numpy as np
import torch
from torch import Tensor

Rng = torch.Generator | None
"""A source of random numbers; None for PyTorch's global one."""


def noise_like(x: Tensor, *, generator: Rng = None) -> Tensor:
    """Standard Gaussian noise of the shape, dtype and device of x."""
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def stream(
    seed: int, number: int, device: torch.device | str = "cpu", *, rank: int = 0
) -> torch.Generator:
    """Generator of one of the independent random streams of a run, on one of its ranks."""
    # PyTorch's generator on the CPU reads 32 bits of its seed, so the streams' are hashed to 32.
    entropy = [seed, number, rank] if rank else [seed, number]
    (word,) = np.random.SeedSequence(entropy).generate_state(1)
    return torch.Generator(device).manual_seed(int(word))
