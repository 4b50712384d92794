"""The lock of a folder, the files of killed writers, and what counts as a run."""

import json
import os
import time

import pytest

from benchmarks.locks import race
from wgflow.storage import folder
from wgflow.storage.lock import holder, locked


def test_of_many_processes_at_a_stale_lock_one_at_a_time_writes(tmp_path):
    found = race(tmp_path, trials=20, processes=4)
    assert (found.together, found.errors, found.left) == (0, [], 0)
    assert found.held >= 20


def test_of_many_processes_that_begin_one_run_one_does(tmp_path):
    found = race(tmp_path, trials=10, processes=3, runs=True)
    assert (found.together, found.errors, found.left) == (0, [], 0)
    assert found.held == 10


def test_a_lock_names_its_process_and_goes_with_it(tmp_path):
    with locked(tmp_path / "new"):
        assert holder(tmp_path / "new")["pid"] == os.getpid()
        with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on host"):
            locked(tmp_path / "new").__enter__()
    assert not (tmp_path / "new").exists()  # made here, and empty


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 1, "host": "elsewhere"}'])
def test_a_file_that_no_process_has_locked_is_taken_over(tmp_path, text):
    (tmp_path / folder.LOCK).write_text(text)
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert json.loads((tmp_path / folder.LOCK).read_text())["pid"] == os.getpid()
    assert tmp_path.exists()


def test_a_free_path_is_numbered(tmp_path):
    assert folder.free(tmp_path / "a-3") == tmp_path / "a-3"
    (tmp_path / "a-3").mkdir()
    (tmp_path / "a-3-2").mkdir()
    assert folder.free(tmp_path / "a-3") == tmp_path / "a-3-3"


def test_readers_of_a_lock_do_not_make_it_look_held(tmp_path, monkeypatch):
    """A shared lock for an instant, as `holder` takes it, delays a writer and refuses none."""
    import fcntl

    (tmp_path / folder.LOCK).touch()
    with (tmp_path / folder.LOCK).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        waits = iter([lambda: None, lambda: fcntl.flock(file, fcntl.LOCK_UN)])
        monkeypatch.setattr("time.sleep", lambda seconds: next(waits)())
        with locked(tmp_path):
            assert holder(tmp_path)["pid"] == os.getpid()


def test_temporary_files_of_killed_writers_go_and_of_living_ones_stay(tmp_path):
    old = time.time() - 60
    for name in (".a.json-x.part", ".b.json-x.part", ".a.json-mine", "a.json-x.part"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
    with folder._temporary(tmp_path / "a.json") as file:
        os.utime(file.name, (old, old))
        folder.write_text(tmp_path / "a.json", "1")
        assert {f.name for f in tmp_path.iterdir()} == {
            *(".b.json-x.part", ".a.json-mine", "a.json-x.part", "a.json"),
            os.path.basename(file.name),
        }
    folder.clean(tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {".a.json-mine", "a.json-x.part", "a.json"}


def begun(path, *names, status="running"):
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_text(json.dumps({"status": status}))
    return path


def test_what_a_killed_start_leaves_can_be_started_again(tmp_path):
    left = folder.LOCK, folder.TABLE, folder.CONFIG, ".config.toml-abc.part"
    folder.check_new(begun(tmp_path / "a", *left))
    with pytest.raises(ValueError, match="got other files there"):  # of the user's own
        folder.check_new(begun(tmp_path / "b", *left[1:3]))
    run = begun(tmp_path / "c", folder.CONFIG, folder.ENVIRONMENT)
    with pytest.raises(ValueError, match="start it again with: wgflow resume"):
        folder.check_run(run)
    with pytest.raises(ValueError, match=r"a run that is killed; .* or resume it"):
        folder.check_new(run)
    assert folder.is_begun(run)
    assert not folder.is_begun(
        begun(tmp_path / "d", *left[2:3], folder.ENVIRONMENT, status="finished")
    )
    (run / folder.METRICS).touch()
    assert not folder.is_begun(run)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "[" * 10_000, "\xff"])
def test_a_damaged_record_has_no_status(tmp_path, text):
    run = begun(tmp_path / "a", folder.CONFIG)
    (run / folder.ENVIRONMENT).write_bytes(text.encode("latin-1"))
    assert folder.status(run) == "unknown"


def test_a_folder_that_is_read_only_is_refused(tmp_path, monkeypatch):
    folder.check_writable(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ValueError, match="got one that is read-only"):
        folder.check_writable(tmp_path)
