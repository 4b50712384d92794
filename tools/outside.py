"""The built wheel and source distribution, installed and used outside of the repository.

    python -m build
    python -m tools.outside dist
    python -m tools.outside dist --fetch torch

Each goes into a new environment, which borrows the dependencies of this one, and runs in a folder
that has nothing else. Nothing is fetched. The second form is what a stranger does: the wheel and
all that it needs, that build of PyTorch first, come from the package index, the default run is
trained, and the time until its report is printed.
"""

import argparse
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
WHERE = "import wgflow; print(wgflow.__file__)"
POOR = 3
"""The exit code of a run of few steps, which is done and whose density is poor."""

COMMANDS = (
    ["--version"],
    ["doctor"],
    ["train", "moons", "--steps", "20", "--out", "run"],
    ["sample", "run", "-n", "10", "--out", "points.csv"],
    ["sample", "--pretrained", "mnist", "-n", "1", "--steps", "2"],
)


def call(*words: Path | str, cwd: Path) -> str:
    """What a command prints; it ends with an error unless it succeeds."""
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode not in (0, POOR):
        raise SystemExit(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(path: Path) -> Path:
    """The Python of a new environment, in which the packages of this one can be imported."""
    venv.create(path, with_pip=True)
    python = path / "bin" / "python"
    # Python 3.11 brings one that is too old to build with, and would come first.
    call(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", cwd=path)
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    home = Path(call(python, "-c", purelib, cwd=path).strip())
    # A path in such a file is searched after the environment's own packages, and the files of the
    # same kind that lie there, as those of editable installations, are not read.
    (home / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return python


def try_out(distribution: Path, scratch: Path) -> None:
    """Install a distribution in a new environment, and use it in an empty folder."""
    home = scratch / "home"
    home.mkdir(parents=True)
    python = environment(scratch / "environment")
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    call(python, *install, distribution.resolve(), cwd=home)
    where = Path(call(python, "-c", WHERE, cwd=home).strip())
    if REPOSITORY in where.parents:
        raise SystemExit(f"{distribution.name} must be imported from elsewhere: got {where}.")
    for command in COMMANDS:
        call(python.parent / "wgflow", *command, cwd=home)
    check_report(home / "run", distribution)


def check_report(run: Path, distribution: Path) -> None:
    """End with an error unless the run has one."""
    if not (run / "report.html").is_file():
        raise SystemExit(f"{distribution.name} must write a report: got none.")


def first_report(distribution: Path, torch: str, scratch: Path) -> str:
    """From an empty environment to the report of a default run: what each step took."""
    home = scratch / "home"
    home.mkdir(parents=True)
    venv.create(scratch / "environment", with_pip=True)
    commands = scratch / "environment" / "bin"
    install = (commands / "python", "-m", "pip", "install", "--quiet")
    steps = {
        torch: (*install, torch),
        distribution.name: (*install, distribution.resolve()),
        "wgflow train moons": (commands / "wgflow", "train", "moons", "--out", "run"),
    }
    taken = [f"{name} {timed(*words, cwd=home):.0f} s" for name, words in steps.items()]
    check_report(home / "run", distribution)
    return ", ".join(taken)


def timed(*words: Path | str, cwd: Path) -> float:
    """Seconds on the wall clock that a command takes."""
    begun = time.monotonic()
    call(*words, cwd=cwd)
    return time.monotonic() - begun


def try_out_all(found: list[Path]) -> None:
    """Every distribution, with borrowed dependencies."""
    for distribution in found:
        with tempfile.TemporaryDirectory() as scratch:
            try_out(distribution, Path(scratch))
        print(f"{distribution.name} works outside of the repository.")


def time_first_report(wheel: Path, torch: str) -> None:
    """Of the wheel, with what else the machine was doing."""
    begun, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        taken = first_report(wheel, torch, Path(scratch))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"From an empty environment to a report in {time.monotonic() - begun:.0f} s, "
        f"{used.ru_utime + used.ru_stime:.0f} s of them CPU: {taken}. "
        f"Load average before: {load:.1f} on {os.cpu_count()} cores."
    )


def main() -> None:
    """Try out every distribution of a folder, or time the way to a first report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fetch", metavar="TORCH", help="PyTorch, as pip is to install it")
    asked = parser.parse_args()
    wheels = sorted(asked.folder.glob("*.whl"))
    if not wheels:
        sys.exit(f"{asked.folder} must have a wheel: got none.")
    if asked.fetch is None:
        try_out_all([*wheels, *sorted(asked.folder.glob("*.tar.gz"))])
    else:
        time_first_report(wheels[-1], asked.fetch)


if __name__ == "__main__":
    main()
