"""The documentation site: `make docs` builds it into build/docs, without warnings."""

import functools
import pkgutil
import re
from pathlib import Path

from docutils.nodes import Element, SkipNode
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator

import wgflow

project = "WGFlow"
author = "the authors of WGFlow"
release = version = wgflow.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["README.md"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_use_ivar = True
default_role = "py:obj"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "WGFlow"
html_show_copyright = False


def write_reference(app: Sphinx) -> None:
    """One page per room: its sentence, and a section for each of its modules."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    rooms = [room.name for room in pkgutil.iter_modules(wgflow.__path__) if room.ispkg]
    for room in rooms:
        home = f"wgflow.{room}"
        lines = [home, "=" * len(home), "", f".. automodule:: {home}", ""]
        modules = pkgutil.iter_modules([str(Path(wgflow.__path__[0]) / room)])
        for name in (f"{home}.{module.name}" for module in modules):
            lines += [name, "-" * len(name), "", f".. automodule:: {name}", "   :members:", ""]
        write(folder / f"{room}.rst", lines)
    public = [f"`{name}`" for name in wgflow.__all__ if name != "__version__"]
    lines = ["Reference", "=========", "", ".. automodule:: wgflow", ""]
    lines += ["The public names, all of them in ``wgflow``:", "", ", ".join(public) + ".", ""]
    lines += ["The rooms of the package, of which each imports only those below it:", ""]
    write(folder / "index.rst", [*lines, ".. toctree::", "", *(f"   {r}" for r in rooms), ""])


def write(path: Path, lines: list[str]) -> None:
    """Write a page unless it is there, so that it is not built again for nothing."""
    text = "\n".join(lines)
    if not path.exists() or path.read_text("utf8") != text:
        path.write_text(text, "utf8")


def escaped(line: str) -> str:
    """Bars and stars of formulas, which reStructuredText would read as markup."""
    parts = re.split(r"(``.+?``|`.+?`)", line)
    return "".join(p if p.startswith("`") else re.sub(r"([|*])", r"\\\1", p) for p in parts)


def process_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Docstrings are sentences with formulas: only backticks and sections are markup."""
    literal = False
    for number, line in enumerate(lines):
        literal = literal and (not line.strip() or line.startswith("    "))
        lines[number] = line if literal else escaped(line)
        literal = literal or line.rstrip().endswith("::")


def skip(
    app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object
) -> bool | None:
    """Fields of a named tuple are described where the tuple is."""
    return True if type(obj).__name__ == "_tuplegetter" else None


@functools.cache
def places(env: BuildEnvironment) -> dict[str, list[str]]:
    """The full names of the documented objects that end in a short one."""
    found: dict[str, list[str]] = {}
    for name in env.domains.python_domain.objects:
        found.setdefault(name.rpartition(".")[2], []).append(name)
    return found


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    """A short name in backticks leads to the one object of that name, if there is one."""
    target = node.get("reftarget", "")
    found = places(env).get(target.rpartition(".")[2], [])
    found = [name for name in found if name.endswith(target.removeprefix("wgflow."))]
    if node.get("refdomain") != "py" or len(found) != 1:
        return None
    domain = env.domains.python_domain
    where = node["refdoc"]
    return domain.resolve_xref(env, where, app.builder, "obj", found[0], node, content)


def mathml(formula: str, display: str) -> str:
    """A formula of TeX as MathML. Browsers know the E of an expectation by its character alone."""
    double = '<mi mathvariant="double-struck">E</mi>'
    return convert(formula, display=display).replace(double, "<mi>&#x1D53C;</mi>")


def write_inline(translator: HTML5Translator, node: Element) -> None:
    """A formula as MathML, which browsers draw without scripts and without a network."""
    translator.body.append(mathml(node.astext(), "inline"))
    raise SkipNode


def write_display(translator: HTML5Translator, node: Element) -> None:
    """The same on a line of its own."""
    room = "overflow-y: hidden; padding: 0.4em 0"  # else the theme adds a bar to scroll
    translator.body.append(f'<div style="{room}">{mathml(node.astext(), "block")}</div>')
    raise SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (write_inline, None), (write_display, None))
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", resolve)
