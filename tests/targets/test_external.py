"""Energies in files of the user's, named as FILE.py:NAME."""

import pytest
import torch

from wgflow.data.targets import Funnel
from wgflow.targets.external import START, target_of, wrapped

SOURCE = """
from dataclasses import dataclass
import torch
from wgflow.data.targets import Funnel
from wgflow.targets.catalogue import named

@dataclass(frozen=True)
class Quartic:
    scale: float
    def __call__(self, x):
        return self.scale * (x**4).sum(1)

def bowl(x):
    return x.square().sum(1) / 2

quartic = Quartic(2.0)
neal = Funnel(3)
cluster = named("lj13")
number = 3
"""


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    return file


def test_a_function_of_a_file(mine):
    target = target_of(f"{mine}:bowl", 3)
    x = torch.tensor([[1.0, 2.0, 2.0]])
    assert target.energy(x).tolist() == [4.5]
    assert (target.name, target.dim, target.free) == (f"{mine}:bowl", 3, 3)
    assert target.start.factor.tolist() == (START * torch.eye(3)).tolist()
    assert target.known is None
    assert target_of(f"{mine}:quartic", 1).energy(x[:, :1]).tolist() == [2.0]


def test_what_a_file_knows_about_its_energy_is_kept(mine):
    assert isinstance(target_of(f"{mine}:neal").known, Funnel)
    cluster = target_of(f"{mine}:cluster")
    assert (cluster.name, cluster.dim, cluster.free) == (f"{mine}:cluster", 39, 36)


def test_a_name_of_the_catalogue():
    assert target_of("gmm", 7).dim == 7
    assert target_of("mustache").name == "mustache"


def test_a_file_runs_only_when_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "gmm.py").write_text("raise RuntimeError('ran')")
    monkeypatch.chdir(tmp_path)
    assert target_of("gmm").dim == 20


@pytest.mark.parametrize(
    ("name", "dim", "message"),
    [
        ("bowl", None, "`dim` must be given for a function"),
        ("bowl", 0, "`dim` must be > 0"),
        ("bwl", 2, r"mine.py: it has no 'bwl'; did you mean 'bowl'\?"),
        ("zzz", 2, "it has no 'zzz'\\.$"),
        ("number", 2, "must be a function of points .* is int"),
        ("neal", 5, "`dim` must be 3 for .*neal: got 5"),
        ("cluster", 5, "`dim` must be 39"),
        ("", 2, "must name a function of its file, FILE.py:NAME"),
    ],
)
def test_wrong_names_are_refused(mine, name, dim, message):
    with pytest.raises(ValueError, match=message):
        target_of(f"{mine}:{name}", dim)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_to_be_found", "raises ModuleNotFoundError: No module named"),
        ("def f(x:\n    pass", "raises SyntaxError"),
        ("raise SystemExit(3)", "raises SystemExit: 3"),
    ],
)
def test_a_file_that_does_not_run_is_one_sentence(tmp_path, source, message):
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(ValueError, match=message) as caught:
        target_of(f"{file}:f", 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none.py:f", "must be in a file that exists: got 'none.py'"),
        ("none.py", "must name a function of its file"),
        ("muschtache", "did you mean 'mustache'"),
        ("qqqq", "the names are gaussian, funnel"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        target_of(text, 2)


def test_data_belong_to_the_catalogue(mine, tmp_path):
    with pytest.raises(ValueError, match="`data` must be left out"):
        target_of(f"{mine}:bowl", 2, tmp_path)


def test_a_target_wraps_itself():
    target = wrapped(Funnel(4), None)
    assert target.known is target.energy
    assert target.dim == 4
