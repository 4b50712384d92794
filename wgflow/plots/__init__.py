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
from wgflow.plots.journey import along, stages
from wgflow.plots.motion import filmstrip, moments
from wgflow.plots.samples import floors, occupancy, pictures
from wgflow.plots.style import DENSITY, png
from wgflow.plots.tables import COLUMNS, MASSES, POOR, columns, contours
from wgflow.plots.training import compared_curves, curves

__all__ = [
    "COLUMNS",
    "DENSITY",
    "DEPTH",
    "MASSES",
    "POOR",
    "TRUTH",
    "Box",
    "Chart",
    "along",
    "aspect",
    "box_of",
    "columns",
    "compared_curves",
    "compared_densities",
    "contours",
    "curves",
    "densities",
    "density_of",
    "filmstrip",
    "floors",
    "landscape",
    "moments",
    "occupancy",
    "pictures",
    "png",
    "scatter",
    "stages",
    "tabulated",
]
