"""Figures of one run and of several: arrays and energies in, matplotlib figures out.

Every function builds a fresh `Figure` and leaves no global state behind. In every figure blue is
the data and orange is the model.
"""

from wgflow.plots.axes import aspect
from wgflow.plots.charts import Box, Chart, box_of, density_of, tabulated
from wgflow.plots.densities import (
    DEPTH,
    TRUTH,
    compared_densities,
    densities,
    landscape,
    scatter,
)
from wgflow.plots.motion import filmstrip, moments
from wgflow.plots.samples import PAIRS, floors, marginals, occupancy, pairs, pictures
from wgflow.plots.style import DENSITY, png
from wgflow.plots.training import compared_curves, curves

__all__ = [
    "DENSITY",
    "DEPTH",
    "PAIRS",
    "TRUTH",
    "Box",
    "Chart",
    "aspect",
    "box_of",
    "compared_curves",
    "compared_densities",
    "curves",
    "densities",
    "density_of",
    "filmstrip",
    "floors",
    "landscape",
    "marginals",
    "moments",
    "occupancy",
    "pairs",
    "pictures",
    "png",
    "scatter",
    "tabulated",
]
