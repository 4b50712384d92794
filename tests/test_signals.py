"""A signal that comes while the command line is being imported ends it with one line."""

import signal
import subprocess
import sys

import pytest

from wgflow._signals import _leave, leaves_no_more, leaving

BEGUN = """
import os, signal
from wgflow._signals import leaving
signal.signal(signal.SIGINT, signal.default_int_handler)
leaving()
try:
    os.kill(os.getpid(), {number})
except BaseException:
    print("an exception")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_leaves_at_once(number, code):
    code_of = BEGUN.format(number=int(number))
    ended = subprocess.run([sys.executable, "-c", code_of], capture_output=True, text=True)
    assert ended.returncode == code
    assert ended.stderr == "Stopped: nothing was begun; run the command again.\n"
    assert ended.stdout == ""


def test_a_verb_that_began_is_left_by_an_exception_and_an_ignored_signal_is_ignored():
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        leaving()
        assert signal.getsignal(signal.SIGTERM) is _leave
        assert leaves_no_more()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert not leaves_no_more()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        leaving()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
