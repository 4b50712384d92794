"""Run the examples and keep what they print and draw, beside them.

python docs/gallery/write.py            # all
python docs/gallery/write.py plane own
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def examples() -> list[Path]:
    """The scripts, in alphabetical order."""
    return sorted(path for path in HERE.glob("*.py") if path != Path(__file__))


def write(script: Path) -> None:
    """Run an example in an empty folder; its output and its pictures go beside it."""
    with tempfile.TemporaryDirectory() as folder:
        found = [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(found)}
        done = subprocess.run(
            [sys.executable, script.resolve()],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        script.with_suffix(".txt").write_text(done.stdout, "utf8")
        for picture in Path(folder).glob("*.png"):
            (HERE / picture.name).write_bytes(picture.read_bytes())


def main() -> None:
    """Write those that are named, or all."""
    names = sys.argv[1:]
    for script in examples():
        if not names or script.stem in names:
            write(script)
            print(script.stem)


if __name__ == "__main__":
    main()
