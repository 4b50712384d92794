"""What the tests of inputs that nobody meant share: numbers, trees, damage, and their limits.

``WGFLOW_FUZZ=10000`` sets the cases per kind of input, 30 by default.
"""

import contextlib
import os
import resource
import signal

from hypothesis import HealthCheck, settings, strategies as st

CASES = int(os.environ.get("WGFLOW_FUZZ", "30"))
LONGEST = 1000
"""Characters of a message."""

PATIENCE = 30.0
"""Seconds that one input may take, of which most take less than a hundredth."""

MOST = 4 * 2**30
"""Bytes that the process may come to take, with PyTorch and all tests before."""


def examples(count):
    """So many cases, the same ones in every run where they are few."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=CASES <= 100,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


fuzz = examples(CASES)
seldom = examples(max(10, CASES // 20))
"""For inputs that need the work of a whole command."""


@contextlib.contextmanager
def bounded():
    """Fail where an input takes longer than `PATIENCE`, or memory comes to more than `MOST`."""

    def late(*_):
        raise AssertionError(f"hangs: more than {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MOST


def tried(use, *arguments, **options):
    """What a use returns; None where it refuses its input in words, and in few of them."""
    said = ""
    try:
        with bounded():
            return use(*arguments, **options)
    except ValueError as error:
        said = str(error)
    assert 0 < len(said) <= LONGEST, said[: 2 * LONGEST]
    assert "allow_pickle" not in said, said
    return None


NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2, 2**31, 2**63, -(2**63), 10**400, 1e308, 1e-320, -0.0]),
    st.integers(),
    st.floats(),
)


def is_written(value):
    """Whether Python writes all the digits of a number."""
    return not (isinstance(value, int) and abs(value) > 10**300)


JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS.filter(is_written) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)

CUTS = st.lists(
    st.tuples(
        st.floats(0, 0.999), st.sampled_from(["cut", "change", "insert"]), st.integers(0, 255)
    ),
    max_size=6,
)


def damaged(whole, cuts):
    """Bytes with some of them cut out, changed, or put in."""
    data = bytearray(whole)
    for place, kind, byte in cuts:
        at = int(place * len(data)) if data else 0
        if kind == "cut":
            del data[at:]
        elif kind == "change" and data:
            data[at] = byte
        elif kind == "insert":
            data[at:at] = bytes([byte]) * (byte + 1)
    return bytes(data)


def leaves(tree, path=()):
    """Paths to all parts of a tree of dicts, lists and tuples."""
    yield path
    parts = tree.items() if isinstance(tree, dict) else ()
    parts = enumerate(tree) if isinstance(tree, list | tuple) else parts
    for key, part in parts:
        yield from leaves(part, (*path, key))


def replaced(tree, path, value):
    """The tree with a value in the place of one part; without that part for `GONE`."""
    if not path:
        return value
    key, *rest = path
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    parts = {k: replaced(tree[k], rest, value) if k == key else tree[k] for k in keys}
    parts = {k: part for k, part in parts.items() if part is not GONE}
    if isinstance(tree, dict):
        return parts
    if hasattr(tree, "_fields"):  # a named tuple has all of its fields
        return type(tree)(*(parts.get(k) for k in keys))
    return type(tree)(parts.values())


GONE = object()


def mutations(tree, values):
    """Trees that differ in one to three parts."""
    places = [path for path in leaves(tree) if path]
    change = st.tuples(st.sampled_from(places), values | st.just(GONE))
    changes = st.lists(change, min_size=1, max_size=3)

    def changed(pairs):
        found = tree
        for path, value in pairs:
            with contextlib.suppress(KeyError, IndexError, TypeError):  # its place is gone
                found = replaced(found, path, value)
        return found

    return changes.map(changed)
