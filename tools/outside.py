"""The built wheel and source distribution, installed and used outside of the repository.

    python -m build
    python -m tools.outside dist

Each goes into a new environment, which borrows the dependencies of this one, and runs in a folder
that has nothing else. Nothing is fetched.
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
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
    if not (home / "run" / "report.html").is_file():
        raise SystemExit(f"{distribution.name} must write a report: got none.")


def main() -> None:
    """Try out every distribution of a folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    if not found:
        sys.exit(f"{folder} must have a wheel or a source distribution: got neither.")
    for distribution in found:
        with tempfile.TemporaryDirectory() as scratch:
            try_out(distribution, Path(scratch))
        print(f"{distribution.name} works outside of the repository.")


if __name__ == "__main__":
    main()
