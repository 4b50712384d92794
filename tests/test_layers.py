"""The order of imports is one line: a module imports only modules that come before it."""

import ast
import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

import wgflow
from wgflow.cli import app
from wgflow.energies.mlp import MLP

ROOMS = {
    "": "_version _tensor _check _random _signals _progress errors",
    "storage": "lock folder checkpoint",
    "data": "download foreign memory images frames grids column reading columns lazy transforms "
    "gaussianise table_files tables arrays peek binary targets toys sources missing precision "
    "splits units batches incomplete determined dataset gaussian_mixture estimates mixtures "
    "mapped moments",
    "energies": "precision microbatch gradient base radial confined transformed conditional "
    "noise_levels network own_module layers frequency principal pairs mlp trunk unet noise_unet "
    "mixture blur residual noise_mlp joint_space inherit",
    "samplers": "base langevin diffusion kinetic independence particles descent population "
    "flow_map levels",
    "likelihood": "quadrature gaussian calibration annealing from_particles from_reference",
    "targets": "symmetry base distributions hierarchical wells particles regression catalogue "
    "external failures checks",
    "montecarlo": "base journey evaluation curvature bridge both_ways annealed density minima "
    "blocks informed independence near_proximal replicas ladder tally diagnostics "
    "parallel_tempering",
    "flows": "base path heat log_z heat_flow",
    "tasks": "inpaint denoise interpolate ood condition restriction conditional",
    "metrics": "target_alarms data_alarms alarms pairwise samples chance isolated sampled regions "
    "columns neighbours features fidelity classifier",
    "plots": "style charts axes densities samples tables training motion journey",
    "schemes": "base sample dynamics population fresh short_run maximum_likelihood gradient_norm "
    "proximal matching dual detailed_balance joint across_levels",
    "config": "refusals schema toml recipes",
    "machine": "doctor bench",
    "distributed": "ranks islands launch",
    "training": "signals muon schedule loop health recorder held flat checks binding loading "
    "budget learner warm_start validation trial progress runner",
    "runs": "sampled summaries zoo run load hub remarks fit uses trust image_scores evaluate "
    "classes compose sampling rows filling outliers judged stepping informed given",
    "estimators": "base density outliers",
    "report": "template material scores verdict film journey page card comparison finish",
    "cli": "printing stops options progress sampling tables train flow sample inverse interpolate "
    "ood score evaluate compare data machine entry",
}
"""The rooms from bottom to top, and in each its modules in their order; `__init__` comes last,
but of rooms that others import by name it only has a sentence."""
LAYERS = [
    [".".join(filter(None, (room, name))) for name in names.split()] + [room] * bool(room)
    for room, names in ROOMS.items()
]
ORDER = [*(name for layer in LAYERS for name in layer), "__main__", "__init__"]
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


def stack_of_modules():
    """Modules of the package on the call stack, outermost first, each once."""
    frame, names = inspect.currentframe(), []
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("wgflow."):
            names.append(name.removeprefix("wgflow."))
        frame = frame.f_back
    return list(dict.fromkeys(reversed(names)))


def test_a_batch_passes_few_rooms_and_only_goes_down(tmp_path, monkeypatch):
    """From the command to the loss: modules on the stack when a scheme evaluates its energy."""
    trips, forward = [], MLP.forward

    class Enough(Exception):
        """What ends the run once the trip was seen."""

    def seen(network, x):
        trips.append([*stack_of_modules(), "energies.mlp"])
        if {"schemes.proximal", "training.loop"} <= {*trips[-1]}:
            raise Enough
        return forward(network, x)

    monkeypatch.setattr(MLP, "forward", seen)
    small = ("training.steps=1", "scheme.dynamics.size=64", "scheme.dynamics.held_out=64")
    settings = [word for setting in small for word in ("--set", setting)]
    command = ["train", "moons", "--out", str(tmp_path / "run"), "--no-report", *settings]
    assert isinstance(CliRunner().invoke(app, command).exception, Enough)
    trip = trips[-1]
    assert len(trip) <= 10
    places = [[*ROOMS].index(name.split(".")[0]) for name in trip]
    assert places == sorted(places, reverse=True)
