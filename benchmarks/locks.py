"""Processes that compete for one folder: never two writers, no error, nothing left behind.

python -m benchmarks.locks --trials 1000
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from wgflow.storage import folder

COMPETE = """
import os, sys, traceback
from pathlib import Path
from wgflow.storage import folder
from wgflow.storage.lock import locked

here, runs = Path(sys.argv[1]), sys.argv[2] == "True"
for trial, line in enumerate(sys.stdin):
    run = here / str(trial)
    try:
        if runs:
            folder.check_new(run)
        with locked(run):
            if runs:
                folder.check_no_run(run)
            alone = os.open(run / "writer", os.O_CREAT | os.O_EXCL)  # fails beside another writer
            os.close(alone)
            for _ in range(20):
                os.sched_yield()
            if runs:
                for name in (folder.CONFIG, folder.ENVIRONMENT):
                    folder.write_json(run / name, {"status": "finished"})
            (run / "writer").unlink()
        print("held", flush=True)
    except ValueError:
        print("refused", flush=True)
    except FileExistsError:
        print("together", flush=True)
    except BaseException:
        print("error", traceback.format_exc().splitlines()[-1], flush=True)
"""


class Found(NamedTuple):
    """How often the lock was held, and refused, and two wrote; errors; folders not clean."""

    held: int
    refused: int
    together: int
    errors: list[str]
    left: int


def race(here: Path, *, trials: int, processes: int, runs: bool = False) -> Found:
    """Let processes go at once, trial by trial, at a stale lock or, with ``runs``, at no folder.

    With ``runs`` every one begins a run there, which one alone may do.
    """
    command = [sys.executable, "-c", COMPETE, str(here), str(runs)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    racers = [subprocess.Popen(command, text=True, bufsize=1, **pipes) for _ in range(processes)]
    said, left = [], 0
    for trial in range(trials):
        path = here / str(trial)
        if not runs:
            path.mkdir()
            stale = {"pid": 2**22 + 1, "host": "elsewhere"}
            (path / folder.LOCK).write_text(json.dumps(stale))
        for racer in racers:  # all are let go at once, and heard before the next trial
            racer.stdin.write("go\n")
        said += [racer.stdout.readline().strip() for racer in racers]
        expected = {folder.CONFIG, folder.ENVIRONMENT} if runs else set()
        left += {file.name for file in path.iterdir()} != expected
    for racer in racers:
        racer.communicate(timeout=60)
    counts = [said.count(word) for word in ("held", "refused", "together")]
    return Found(*counts, [line for line in said if line.startswith("error")], left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    asked = parser.parse_args()
    for runs in (False, True):
        with tempfile.TemporaryDirectory() as here:
            found = race(Path(here), trials=asked.trials, processes=asked.processes, runs=runs)
        print("beginning a run" if runs else "at a stale lock", json.dumps(found._asdict()))


if __name__ == "__main__":
    main()
