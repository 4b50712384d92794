"""Flows from noise to data and back."""

from typing import Any

from wgflow.energies.noise_levels import NoiseLevels
from wgflow.flows.base import Flow
from wgflow.flows.heat_flow import HeatFlow
from wgflow.flows.path import MatchedPath, StraightPaths

__all__ = ["Flow", "HeatFlow", "MatchedPath", "StraightPaths", "flow_of"]


def flow_of(
    energy: Any, levels: NoiseLevels | None, paths: StraightPaths | None, **heat: Any
) -> Flow | None:
    """The flow of an energy: by its noise levels, or the paths that it was matched to.

    Args:
        energy: E.
        levels: of the noise that E is conditional on, if any.
        paths: that E was matched to, if any.
        heat: further fields of `HeatFlow`.
    """
    if levels is not None:
        return HeatFlow(energy, levels, **heat)
    return None if paths is None else MatchedPath(energy, paths)
