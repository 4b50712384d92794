"""The public names: each resolves, and none is imported before it is used."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import wgflow

NAMES = [name for name in wgflow.__all__ if name != "__version__"]


def typed_names():
    """The names that type checkers see: those imported under TYPE_CHECKING."""
    tree = ast.parse(Path(wgflow.__file__).read_text("utf8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        found |= {alias.name: (node.module, alias.asname) for alias in node.names}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves_to_what_type_checkers_see(name):
    module, exported = typed_names()[name]
    assert exported == name  # `X as X` exports X from a typed package
    __import__(module)
    assert getattr(wgflow, name) is getattr(sys.modules[module], name)


def test_type_checkers_see_no_other_names():
    assert set(typed_names()) == set(NAMES)
    assert set(NAMES) <= set(dir(wgflow))
    assert (Path(wgflow.__file__).parent / "py.typed").is_file()


def test_no_name_hides_a_room():
    rooms = {module.name for module in pkgutil.iter_modules(wgflow.__path__)}
    assert rooms.isdisjoint(NAMES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'wgflow' has no attribute 'Confg'"):
        wgflow.Confg  # noqa: B018


def test_importing_the_package_imports_nothing_else():
    code = "import sys, wgflow; dir(wgflow); print(*{'torch', 'numpy', 'typer'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
