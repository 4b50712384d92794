"""The order of imports is one line: a module imports only modules that come before it."""

import ast
from pathlib import Path

import pytest

import wgflow

LAYERS = [
    ["_version", "_tensor", "precision", "folder", "fetch", "images", "readers", "sources"],
    ["targets", "toys", "stored", "batches", "data", "moments"],
    ["parts", "energy", "levels", "nets", "image_layers", "image_nets", "principal", "noisy_unet"],
    ["grid", "exact", "calibration"],
    ["distances", "metrics", "neighbours"],
    ["samplers.base", "samplers.langevin", "samplers.kinetic", "samplers.independence"],
    ["samplers", "particles", "descent", "sampling", "likelihood"],
    ["inpainting", "denoising", "interpolation", "outliers", "conditioning"],
    ["heat", "heat_likelihood", "heat_uses"],
    [
        "schemes.base",
        "schemes.dynamics",
        "schemes.restarted",
        "schemes.likelihood",
        "schemes.gradient_norm",
    ],
    ["schemes.proximal", "schemes.matching", "schemes.dual", "schemes.balance"],
    ["schemes.joint", "schemes"],
    ["ranks", "optimizers", "train"],
    [
        "architectures",
        "image_architectures",
        "settings",
        "config",
        "recipes",
        "islands",
        "checkpoint",
    ],
    ["features", "classifier", "fidelity"],
    ["health", "learning", "inheritance", "recording", "validation", "progress"],
    ["runner", "launch", "zoo", "run.normalising"],
    ["run.learned", "run.stored", "run.fitting", "run"],
    ["chains", "composition", "evaluation", "labelling", "classes"],
    ["plots.style", "plots.charts", "plots.axes"],
    ["plots.laws", "plots.samples", "plots.training", "plots.motion", "plots"],
    ["report.markup", "report.material", "report.scores", "report.verdict", "report.film"],
    ["report.page", "report.comparison", "report"],
    ["output", "cli.tables", "cli.progress", "cli.points", "cli.classes"],
    ["cli.training", "cli.sampling", "cli.runs", "cli.inverse", "cli.paths", "cli.outliers"],
    ["cli.data", "cli.entry", "cli", "__main__", "__init__"],
]
ORDER = [name for layer in LAYERS for name in layer]
PLACE = {name: place for place, name in enumerate(ORDER)}
ROOT = Path(wgflow.__file__).parent


def name_of(path, root):
    """``samplers/base.py`` is ``samplers.base``, and ``samplers/__init__.py`` is ``samplers``."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def modules(root):
    return {name_of(path, root): path for path in sorted(root.rglob("*.py"))}


def imports(path, known):
    """Modules of the package that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {resolve(alias.name, known) for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}, line {node.lineno}: import by the full name."
            found |= {resolve(f"{node.module}.{alias.name}", known) for alias in node.names}
    return found - {None}


def resolve(name, known):
    """The module that ``import name`` reaches: the longest known prefix, None outside."""
    head, *parts = name.split(".")
    if head != "wgflow":
        return None
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((p for p in prefixes if p in known), "__init__")


def violations(root, place):
    """A line for each import that does not point back."""
    known = modules(root)
    return [
        f"{name} imports {other}, which comes later or is itself"
        for name, path in known.items()
        for other in sorted(imports(path, known))
        if place[other] >= place[name]
    ]


def test_every_module_has_its_place():
    missing = sorted(set(modules(ROOT)) - set(PLACE))
    assert not missing, f"Add {', '.join(missing)} to LAYERS in {Path(__file__).name}."
    assert len(PLACE) == len(ORDER), "A module stands twice in LAYERS."


def test_imports_point_one_way():
    if set(modules(ROOT)) - set(PLACE):
        pytest.fail("Some modules have no place; see test_every_module_has_its_place.")
    assert violations(ROOT, PLACE) == []


FORBIDDEN = {
    "from wgflow.b import x": "a imports b",
    "import wgflow.b": "a imports b",
    "from wgflow import b as c": "a imports b",
    "def f():\n    from wgflow.b.deep import x": "a imports b.deep",
    "from wgflow import __doc__": "a imports __init__",
}


@pytest.mark.parametrize("source", FORBIDDEN)
def test_every_form_of_import_is_seen(source, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("__init__.py", "z.py", "b/__init__.py", "b/deep.py"):
        (tmp_path / name).write_text("import math\nfrom torch import nn\n")
    (tmp_path / "a.py").write_text(f"from wgflow.z import f\n{source}\n")
    place = {name: n for n, name in enumerate(["z", "a", "b.deep", "b", "__init__"])}
    (line,) = violations(tmp_path, place)
    assert line.startswith(FORBIDDEN[source])
