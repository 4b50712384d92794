"""Schemes: how an energy learns, one contract."""

from wgflow.schemes.across_levels import AcrossLevels
from wgflow.schemes.base import Loss, Scheme
from wgflow.schemes.detailed_balance import DetailedBalance
from wgflow.schemes.dual import DualScoreMatching, RecentBatch
from wgflow.schemes.dynamics import Carry, Dynamics, ParticleScheme
from wgflow.schemes.fresh import FromReference
from wgflow.schemes.gradient_norm import GradientNorm
from wgflow.schemes.joint import Joint, Pair
from wgflow.schemes.matching import EnergyMatching, Paths
from wgflow.schemes.maximum_likelihood import MaximumLikelihood
from wgflow.schemes.population import Population
from wgflow.schemes.proximal import (
    Envelope,
    FirstOrder,
    Form,
    Forward,
    InnerDescent,
    NearProximal,
    Reverse,
)
from wgflow.schemes.short_run import FromData, FromNoise

__all__ = [
    "AcrossLevels",
    "Carry",
    "DetailedBalance",
    "DualScoreMatching",
    "Dynamics",
    "EnergyMatching",
    "Envelope",
    "FirstOrder",
    "Form",
    "Forward",
    "FromData",
    "FromNoise",
    "FromReference",
    "GradientNorm",
    "InnerDescent",
    "Joint",
    "Loss",
    "MaximumLikelihood",
    "NearProximal",
    "Pair",
    "ParticleScheme",
    "Paths",
    "Population",
    "RecentBatch",
    "Reverse",
    "Scheme",
]
