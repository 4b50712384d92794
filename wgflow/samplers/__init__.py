"""Samplers: Markov kernels on batches of chains, one contract, one loop."""

from wgflow.samplers.base import Info, Sampler, advance, iterate, refresh, sample
from wgflow.samplers.diffusion import diffuse, heun
from wgflow.samplers.independence import Independence
from wgflow.samplers.kinetic import HMC, KineticState, Underdamped
from wgflow.samplers.langevin import MALA, ULA, CrankNicolson, LangevinState
from wgflow.samplers.levels import Travel, TravelState

__all__ = [
    "HMC",
    "MALA",
    "ULA",
    "CrankNicolson",
    "Independence",
    "Info",
    "KineticState",
    "LangevinState",
    "Sampler",
    "Travel",
    "TravelState",
    "Underdamped",
    "advance",
    "diffuse",
    "heun",
    "iterate",
    "refresh",
    "sample",
]
