"""One self-contained HTML file per run, and one for several runs side by side.

Data flow one way: `gather` reads a run folder and tabulates its energy into a `Material`;
`render` turns that into a page. The page holds its pictures, style and script, and its content
policy forbids every request to the network. A file that is missing is named in its place.
"""

from wgflow.report.comparison import compare_report, render_comparison
from wgflow.report.material import Material, gather
from wgflow.report.page import render, write_report

__all__ = [
    "Material",
    "compare_report",
    "gather",
    "render",
    "render_comparison",
    "write_report",
]
