"""How fine the Fourier features of an energy are."""

import math

from wgflow.data.moments import DataMoments, bandwidth

FINEST = 0.7
"""Radians per bandwidth: a feature turns once over nine bandwidths, two deviations over four."""

USUAL = 4.0
"""Where the number of points is not known: that of some 35,000 in the plane."""


def frequency_of(given: float | None, moments: DataMoments, *, seen: int | None = None) -> float:
    """The deviation σ of a phase on standardised data, in radians: ``given``, or by the points.

    n points in d dimensions show structure down to the bandwidth
    ``h = (4/((d+2) n))^{1/(d+4)}`` of a kernel estimate: finer features learn the noise of the
    points, and without fine ones an edge is blurred more than the points are. So ``σ = .7/h``: 2.4
    for 1600 points in the plane, 6.2 for 500,000; 3.6 for 5000 rows along a single column.

    Args:
        given: σ, if it is.
        moments: with the number of points and of their coordinates.
        seen: d, the coordinates that one feature sees; None for all.
    """
    if given is not None:
        return given
    if moments.points is None:
        return USUAL
    return FINEST / bandwidth(moments.points, seen or math.prod(moments.event_shape))
