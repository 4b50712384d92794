"""Pieces of a page: words, tables and pictures as HTML."""

import base64
import html
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.resources import files
from typing import NamedTuple

from matplotlib.figure import Figure

from wgflow import plots

escape = partial(html.escape, quote=True)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Section(NamedTuple):
    """A titled part of the page; ``body`` is HTML."""

    key: str
    title: str
    body: str


def page(title: str, head: str, sections: Iterable[Section]) -> str:
    """A whole page; ``head`` is HTML."""
    parts = list(sections)
    links = "".join(f'<a href="#{part.key}">{escape(part.title)}</a>' for part in parts)
    bodies = "".join(
        f'<section id="{part.key}"><h2>{escape(part.title)}</h2>{part.body}</section>'
        for part in parts
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_asset('report.css')}</style></head>"
        f"<body><main><header>{head}</header><nav>{links}</nav>{bodies}"
        "<footer>Written by WGFlow.</footer></main>"
        f"<script>{_asset('report.js')}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return files("wgflow.report").joinpath(name).read_text(encoding="utf-8")


def absent(key: str, title: str, name: str) -> Section:
    """The section of what a run lacks: it names the file."""
    return Section(key, title, f'<p class="missing">This run has no {escape(name)}.</p>')


def note(text: str) -> str:
    """What a reader should know of what follows."""
    return f'<p class="note">{escape(text)}</p>'


def figure(figure: Figure, alt: str, caption: str = "") -> str:
    """A figure as a picture in the page."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    width = round(100 * figure.get_figwidth())
    source = uri(plots.png(figure))
    return f'<figure><img src="{source}" alt="{escape(alt)}" width="{width}">{below}</figure>'


def pair(parts: Sequence[str], beside: bool = True) -> str:
    """Two things beside each other where there is room."""
    both = "".join(parts)
    return f'<div class="pair">{both}</div>' if beside else both


def uri(image: bytes) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain words."""

    def line(cells: Sequence[str], kind: str) -> str:
        return "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells)

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return wide(f"<thead><tr>{line(header, 'th')}</tr></thead><tbody>{body}</tbody>")


def wide(table: str) -> str:
    """A table that scrolls where it is wider than the page."""
    return f'<div class="wide"><table>{table}</table></div>'
