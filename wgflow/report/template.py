"""The templates of the pages: values in, HTML out, every value escaped."""

import base64
import json
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from wgflow import plots


def fill(template: str, **values: Any) -> str:
    """The page that a template makes of values; it has the filters `data_uri` and `plain`."""
    environment = Environment(
        loader=PackageLoader("wgflow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "plain": plain}
    return environment.get_template(template).render(values)


def data_uri(image: Figure | bytes) -> str:
    """A figure, or the bytes of a PNG file, as a data URI."""
    data = image if isinstance(image, bytes) else plots.png(image)
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def attempt(draw: Callable[[Any], Figure], records: Any) -> Figure | str:
    """A figure of records, or the reason why they cannot be drawn."""
    try:
        return draw(records)
    except (ValueError, TypeError, OverflowError) as error:  # of a file that someone changed
        return str(error)


def plain(value: Any) -> str:
    """Text as it is, numbers to three digits, and anything else as JSON."""
    if isinstance(value, float):
        return rounded(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def rounded(value: float) -> str:
    """Three digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", "−")
