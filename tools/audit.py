"""Licences of what is installed, and its known vulnerabilities: `make audit`.

    python -m tools.audit

The licences are those that packages name themselves. The vulnerabilities come from PyPI's
database, which needs the network. The exit code is 1 with a vulnerability, 2 without an answer.
"""

import json
import subprocess
import sys
from typing import Any

VULNERABLE, UNKNOWN = 1, 2

LICENCES = ("piplicenses", "--format=json", "--from=mixed")
KNOWN = ("pip_audit", "--format=json", "--skip-editable", "--progress-spinner=off")


def run(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A tool of this environment."""
    command = [sys.executable, "-m", module, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def licences(told: str) -> list[str]:
    """Lines of a licence, how many packages have it, and which."""
    packages = json.loads(told)
    names = sorted({package["License"].splitlines()[0] for package in packages}, key=str.lower)
    found = {n: [p["Name"] for p in packages if p["License"].splitlines()[0] == n] for n in names}
    return [f"{len(who):>3}  {name}: {', '.join(sorted(who))}" for name, who in found.items()]


def vulnerabilities(told: str) -> list[str] | None:
    """Lines of a package and what is known of it; None where the tool got no answer."""
    try:
        packages: list[dict[str, Any]] = json.loads(told)["dependencies"]
    except ValueError:
        return None
    return [
        f"{package['name']} {package['version']}: {known['id']}, fixed in "
        f"{', '.join(known['fix_versions']) or 'no version'}"
        for package in packages
        for known in package.get("vulns", [])
    ]


def main() -> int:
    """Print both; the exit code."""
    print("Licences:", *licences(run(*LICENCES).stdout), sep="\n")
    done = run(*KNOWN)
    found = vulnerabilities(done.stdout)
    if found is None:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"The audit of vulnerabilities needs the network, and got no answer: {reason}")
        return UNKNOWN
    print("Known vulnerabilities:", *(found or ["none"]), sep="\n")
    return VULNERABLE if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
