"""Files that are not what their names say, or larger than memory, are refused in one sentence."""

import gzip
import io
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from wgflow.data import foreign
from wgflow.data.dataset import load
from wgflow.data.foreign import load_array, shape_of
from wgflow.data.table_files import read_table

X = np.random.default_rng(0).normal(size=(50, 3))


def npy(x, shape=None, header=None):
    """The bytes of an .npy file, of another shape or header than it has."""
    stream = io.BytesIO()
    np.save(stream, x)
    whole = stream.getvalue()
    old = whole[10 : whole.index(b"\n") + 1]
    new = header or old.replace(str(x.shape).encode(), str(shape or x.shape).encode()).strip()
    new += b"\n" if header is None else b""
    return whole[:8] + len(new).to_bytes(2, "little") + new + whole[10 + len(old) :]


def npz(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


ARRAYS = {
    "a header of 14.6 TiB": (npy(X, (10**12, 2)), "must hold an array of numbers"),
    "a deep header": (npy(X, header=b"{'descr': " + b"[" * 9000), "must hold an array of numbers"),
    "an archive of a header of 14.6 TiB": (npz(**{"x.npy": npy(X, (10**12, 2))}), "must hold"),
    "an archive of text": (npz(x="text"), "got 'x', which is no array"),
    "an archive of nothing": (npz(), "got an empty zip archive"),
    "an archive of several": (npz(**{"a.npy": npy(X), "b.npy": npy(X)}), "named 'x' or 'train'"),
    "text": (b"a,b\n1,2\n", "must hold an array of numbers: got text"),
    "gzip": (gzip.compress(npy(X)), "got gzip, to be unpacked first"),
    "a pickle": (b"\x80\x04K\x01.", "got a Python pickle, which is never opened"),
    "nothing": (b"", "got an empty file"),
    "objects": (npy(X).replace(b"<f8", b"|O "), "must hold an array of numbers"),
}


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_are_refused(case, suffix, tmp_path):
    content, message = ARRAYS[case]
    file = tmp_path / f"x{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_array(file)
    assert str(caught.value).startswith(f"x{suffix} must")
    assert "allow_pickle" not in str(caught.value)


def test_an_archive_larger_than_memory_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 1000)))
    assert load_array(tmp_path / "x.npz").shape == shape_of(tmp_path / "x.npz") == (1000, 1000)
    monkeypatch.setattr(foreign, "free_memory", lambda: 1e7)
    with pytest.raises(ValueError, match=r"must fit into memory: got 0.00745 GiB"):
        load_array(tmp_path / "x.npz")


def test_a_gzip_file_larger_than_memory_is_not_unpacked(tmp_path, monkeypatch):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10**6)))
    monkeypatch.setattr("wgflow.data.binary.free_memory", lambda: 1e4)
    monkeypatch.setattr(foreign, "free_memory", lambda: 1e4)
    with pytest.raises(ValueError, match="must fit into memory"):
        load(tmp_path)


TABLES = {
    "names in latin-1": ("größe,b\n1,2\n".encode("latin-1"), "expected text in UTF-8"),
    "values in latin-1": (
        b"a,b\n" + 2000 * b"x,1\n" + "ö,1\n".encode("latin-1"),
        "must be text in UTF-8: got other bytes in column 'a'",
    ),
    "long numbers for names": (b"1" * 400 + b",2\n3,4\n", r"got numbers .* \(40\d characters\)"),
    "gzip": (gzip.compress(b"a,b\n1,2\n"), "got gzip, to be unpacked first"),
    "no name": (b"a,\n1,0.5\n1,1.5\n", "must name every column: got '', which is no index"),
    "a name that repeats": (b",a\nx,1\nx,1\n", "must name every column: got ''"),
    "an index alone": (b"Unnamed: 0\n0\n1\n", "every column: got 'Unnamed: 0', which is no"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_are_refused(case, tmp_path):
    content, message = TABLES[case]
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "x.csv")


READ = {
    "semicolons": b"a;b;c\n1;2.5;x\n3;4.5;y\n",
    "decimal commas": b"a;b;c\n1;2,5;x\n3;4,5;y\n",
    "tabs": b'"a"\t"b"\t"c"\n1\t2.5\tx\n3\t4.5\ty\n',
    "bars": b"a|b|c\n1|2.5|x\n3|4.5|y\n",
    "commas in a name": b'"a";"b";"c"\n1;2.5;"x"\n3;4.5;"y"\n',
    "an index of numbers": b",a,b,c\n7,1,2.5,x\n3,3,4.5,y\n",
    "an index of names": b'"","a","b","c"\n"one",1,2.5,x\n"two",3,4.5,y\n',
    "an index of R's numbers": b'"","a","b","c"\n"1.1",1,2.5,x\n"1.2",3,4.5,y\n',
    "an index read twice": b"Unnamed: 0.1,Unnamed: 0,a,b,c\n0,0,1,2.5,x\n1,1,3,4.5,y\n",
}


@pytest.mark.parametrize("case", READ)
def test_separators_and_indices_are_seen(case, tmp_path, caplog):
    (tmp_path / "x.csv").write_bytes(READ[case])
    table = read_table(tmp_path / "x.csv")
    assert table.to_pydict() == {"a": [1, 3], "b": [2.5, 4.5], "c": ["x", "y"]}
    assert len(caplog.records) == (2 if "twice" in case else "index" in case)
    assert all("is an index of its rows: left out" in r.getMessage() for r in caplog.records)


def test_an_index_in_parquet_is_left_out(tmp_path, caplog):
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=pd.Index([5, 2, 9]))
    frame.to_parquet(tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet").to_pydict() == {"a": [1, 2, 3]}
    assert len(caplog.records) == 1


def test_a_file_of_tabs_may_have_commas_in_its_names(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"a, in m, or b\tc\n1.5\tx\n")
    assert read_table(tmp_path / "x.tsv").to_pydict() == {"a, in m, or b": [1.5], "c": ["x"]}


def test_commas_among_decimal_points_are_no_decimal_commas(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a;b\n1.5;2,5\n3.5;2,5\n")
    assert read_table(tmp_path / "x.csv").to_pydict() == {"a": [1.5, 3.5], "b": ["2,5", "2,5"]}


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.parquet", "x/a.png", "x/-ubyte"])
def test_a_named_pipe_is_not_waited_for(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    if name == "x/-ubyte":
        (tmp_path / name).rename(tmp_path / "x" / "train-images-idx3-ubyte")
    source = tmp_path / ("x" if name.startswith("x/") else name)
    with pytest.raises(ValueError, match="must be a file: got something else"):
        load(source)


def test_images_of_too_many_pixels_are_refused(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    for most in (60, 6000):  # of which Pillow warns, and what it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(ValueError, match=r"a.png must be an image: .*decompression bomb"):
            load(tmp_path)
