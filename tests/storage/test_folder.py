"""The lock of a folder: one writer at a time, and none after its process has ended."""

import json
import os
import subprocess
import sys

import pytest

from wgflow.storage import folder

TRIALS, PROCESSES = 40, 4

COMPETE = """
import os, sys
from pathlib import Path
from wgflow.storage import folder

here = Path(sys.argv[1])
for trial, line in enumerate(sys.stdin):
    run = here / str(trial)
    try:
        with folder.locked(run):
            alone = os.open(run / "writer", os.O_CREAT | os.O_EXCL)  # fails beside another writer
            os.close(alone)
            for _ in range(20):
                os.sched_yield()
            (run / "writer").unlink()
        print("held", flush=True)
    except ValueError:
        print("refused", flush=True)
"""


def test_of_many_processes_at_a_stale_lock_one_at_a_time_writes(tmp_path):
    command = [sys.executable, "-c", COMPETE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    racers = [subprocess.Popen(command, text=True, bufsize=1, **pipes) for _ in range(PROCESSES)]
    for trial in range(TRIALS):
        (tmp_path / str(trial)).mkdir()
        stale = {"pid": 2**22 + 1, "host": "elsewhere"}
        (tmp_path / str(trial) / folder.LOCK).write_text(json.dumps(stale))
        for racer in racers:  # all are let go at once, and heard before the next trial
            racer.stdin.write("go\n")
        said = [racer.stdout.readline().strip() for racer in racers]
        assert set(said) <= {"held", "refused"}, [racer.communicate()[1] for racer in racers]
        assert "held" in said
        assert list((tmp_path / str(trial)).iterdir()) == []
    for racer in racers:
        assert racer.communicate(timeout=60)[1] == ""


def test_a_lock_names_its_process_and_goes_with_it(tmp_path):
    with folder.locked(tmp_path / "new"):
        assert folder.holder(tmp_path / "new")["pid"] == os.getpid()
        with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on host"):
            folder.locked(tmp_path / "new").__enter__()
    assert not (tmp_path / "new").exists()  # made here, and empty


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 1, "host": "elsewhere"}'])
def test_a_file_that_no_process_has_locked_is_taken_over(tmp_path, text):
    (tmp_path / folder.LOCK).write_text(text)
    assert folder.holder(tmp_path) is None
    with folder.locked(tmp_path):
        assert json.loads((tmp_path / folder.LOCK).read_text())["pid"] == os.getpid()
    assert tmp_path.exists()


def test_a_free_path_is_numbered(tmp_path):
    assert folder.free(tmp_path / "a-3") == tmp_path / "a-3"
    (tmp_path / "a-3").mkdir()
    (tmp_path / "a-3-2").mkdir()
    assert folder.free(tmp_path / "a-3") == tmp_path / "a-3-3"
