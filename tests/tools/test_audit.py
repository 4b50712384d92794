"""What the audit makes of what its tools say."""

import json
import subprocess

import pytest

from tools import audit

LICENSED = [
    {"Name": "numpy", "License": "BSD-3-Clause"},
    {"Name": "attrs", "License": "MIT"},
    {"Name": "rich", "License": "MIT\nwith a text"},
]
SAFE = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["2.1"]}]}
UNFIXED = {"name": "c", "version": "3", "vulns": [{"id": "X-2", "fix_versions": []}]}
SKIPPED = {"name": "d", "skip_reason": "editable"}


def test_licences_are_counted():
    lines = audit.licences(json.dumps(LICENSED))
    assert lines == ["  1  BSD-3-Clause: numpy", "  2  MIT: attrs, rich"]


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SAFE, SKIPPED], 0, "none"),
        ([SAFE, VULNERABLE], audit.VULNERABLE, "b 2: X-1, fixed in 2.1"),
        ([UNFIXED], audit.VULNERABLE, "c 3: X-2, fixed in no version"),
        (None, audit.UNKNOWN, "needs the network, and got no answer: ConnectionError: no route"),
    ],
)
def test_the_exit_code_says_what_was_found(packages, code, said, monkeypatch, capsys):
    def run(module, *options):
        if module == "piplicenses":
            return subprocess.CompletedProcess([], 0, json.dumps(LICENSED), "")
        out = "" if packages is None else json.dumps({"dependencies": packages})
        return subprocess.CompletedProcess([], 1, out, "Traceback\nConnectionError: no route\n")

    monkeypatch.setattr(audit, "run", run)
    assert audit.main() == code
    assert said in capsys.readouterr().out
