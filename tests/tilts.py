"""Noise-conditional energies with a reference, small, with a tilt that is not zero."""

import torch

from wgflow.data.mixtures import Gaussians
from wgflow.energies.mixture import NoisyMixture
from wgflow.energies.noise_mlp import NoiseMLP, NoiseMLPSpec

SPEC = NoiseMLPSpec(lowest=0.1, highest=4.0, width=16, depth=2, features=4, frequency=1.0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def families(dim, dtype=torch.float64):
    """Two Gaussians with covariances of their own, and three that share one."""
    generator = seeded(7)
    factors = 0.5 * torch.randn(3, dim, dim, generator=generator, dtype=dtype)
    covariances = factors @ factors.mT + 0.2 * torch.eye(dim, dtype=dtype)
    means = 1.5 * torch.randn(5, dim, generator=generator, dtype=dtype)
    own = Gaussians(torch.tensor([0.3, 0.4], dtype=dtype), means[:2], covariances[:2])
    shared = Gaussians(torch.full((3,), 0.1, dtype=dtype), means[2:], covariances[2:])
    return [own, shared]


def tilted(dim=1, *, size=0.4, spec=SPEC, others=False):
    """``-log b + s`` in double precision, s of about ``size``, with draws of b or of others."""
    eye = torch.eye(dim, dtype=torch.float64)
    gaussian = Gaussians(eye.new_ones(1), eye.new_zeros(1, dim), 2 * eye[None])
    wide = Gaussians(eye.new_tensor([0.6, 0.4]), eye.new_zeros(2, dim), 3 * eye[None])
    wide.means[1] += 1
    draws = NoisyMixture([wide]) if others else None
    base = NoisyMixture(families(dim))
    energy = NoiseMLP(spec, base, gaussian, draws, generator=seeded(1)).double()
    with torch.no_grad():
        head = torch.randn(spec.width, generator=seeded(2), dtype=torch.float64)
        energy.residual.head.copy_(size * head)
    return energy
