"""Signals in every phase of a command: how soon it ends, with which code, and in which words.

    python -m benchmarks.stops [--trials 1]

Each trial starts `wgflow` in a process of its own, waits for a phase (importing, training,
evaluating, writing the report, sampling), and sends Ctrl-C or SIGTERM. A trial fails where the
process takes longer than `LIMIT` seconds, ends with another code than 130 or 143, or says anything
but one line in the end, without a traceback. What was trained is then resumed, and must come to
have scores and a report; temporary files must be gone.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rows import table

LIMIT = 2.0
"""Seconds within which a command must end."""

SMALL = [
    *("--set", "data.size=2000", "--set", "energy.width=32", "--set", "energy.features=8"),
    *("--set", "scheme.dynamics.size=256", "--set", "scheme.dynamics.held_out=256"),
]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
PHASES = {
    "importing": ("train", 0.15),
    "importing typer": ("train", 0.3),
    "importing torch": ("train", 1.0),
    "training": ("train long", "step "),
    "evaluating": ("train", "Evaluating."),
    "evaluating, later": ("train", "Evaluating.", 1.5),
    "reporting": ("train", "Writing the report."),
    "reporting, later": ("train", "Writing the report.", 1.0),
    "sampling": ("sample", 4.0),
    "scoring": ("evaluate", 4.0),
}
"""The command, and the seconds or the words on stderr after which the signal is sent, and when."""


class Ended(NamedTuple):
    """How a command ended: seconds after the signal, exit code, and the lines after it."""

    seconds: float
    code: int
    lines: list[str]

    def failures(self, code: int) -> list[str]:
        """What is wrong with it."""
        found = []
        if self.seconds > LIMIT:
            found.append(f"{self.seconds:.1f} s")
        if self.code != code:
            found.append(f"code {self.code}")
        stops = [line for line in self.lines if line.startswith("Stop")]
        others = [line for line in self.lines if not line.startswith(("Stop", "Error: Stop"))]
        if len(stops) + sum("Error: Stop" in line for line in self.lines) != 1:
            found.append(f"{len(stops)} lines that say so")
        if any("Traceback" in line for line in others):
            found.append("traceback")
        return found


def command(verb: str, run: Path) -> list[str]:
    """Words of a command on a run."""
    words = {
        "train": ["train", "moons", "--out", str(run), "--steps", "6", *SMALL],
        "train long": ["train", "moons", "--out", str(run), "--steps", "100000", *SMALL],
        "sample": ["sample", str(run), "-n", "3000000", "--out", str(run.parent / "x.npy")],
        "evaluate": ["evaluate", str(run), "--samples", "40000"],
    }
    return [sys.executable, "-X", "faulthandler", "-m", "wgflow", *words[verb]]


def stopped(words: list[str], when: float | str, later: float, number: int) -> Ended:
    """Start a command, send it a signal at that time or after that line, and see how it ends."""
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, **pipes)
    assert process.stderr is not None
    if isinstance(when, str):
        for line in process.stderr:
            if line.startswith(when):
                break
        time.sleep(later)
    else:
        time.sleep(when)
    begun = time.monotonic()
    process.send_signal(number)
    _, rest = process.communicate(timeout=120)
    return Ended(time.monotonic() - begun, process.returncode, rest.splitlines())


def trial(phase: str, number: int) -> tuple[Ended, list[str]]:
    """One command, stopped in a phase and gone on with: how it ended, and what failed."""
    verb, when, *later = PHASES[phase]
    with tempfile.TemporaryDirectory() as home:
        run = Path(home) / "run"
        if not verb.startswith("train"):
            subprocess.run(command("train", run), capture_output=True, check=False)
        ended = stopped(command(verb, run), when, *(later or [0.0]), number)
        failed = ended.failures(CODES[signal.Signals(number)])
        left = [path.name for path in Path(home).rglob("*.part")]
        if verb == "train" and (run / "checkpoint.safetensors").is_file():
            words = [sys.executable, "-m", "wgflow", "resume", str(run)]
            subprocess.run(words, capture_output=True, check=False)
            wanted = ("scores.json", "samples.npy", "report.html")
            failed += [f"no {name}" for name in wanted if not (run / name).is_file()]
            left = [path.name for path in Path(home).rglob("*.part")]
        return ended, failed + [f"left {name}" for name in left]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--phases", nargs="*", default=list(PHASES))
    asked = parser.parse_args()
    # Shells start background jobs with Ctrl-C ignored, which commands would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = []
    for phase in asked.phases:
        for number in CODES:
            for _ in range(asked.trials):
                ended, failed = trial(phase, number)
                said = ended.lines[-1] if ended.lines else ""
                row = (phase, number.name, f"{ended.seconds:.1f}", ended.code)
                rows.append((*row, "; ".join(failed), said))
                print(*rows[-1], sep=" | ", flush=True)
    print(table(["phase", "signal", "seconds", "code", "failures", "last line"], rows))


if __name__ == "__main__":
    main()
