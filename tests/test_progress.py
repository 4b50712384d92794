"""How far work is, and that it is given up where it would take longer than it may."""

import pytest

from wgflow import _progress
from wgflow._progress import TooLong, duration, finished, limited, watched, watching


class Clock:
    """Seconds that pass by themselves, a second for each look."""

    now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def test_work_that_nobody_watches_is_done():
    assert list(watched(range(3), "work")) == [0, 1, 2]


def test_what_is_done_and_what_is_left(monkeypatch):
    monkeypatch.setattr(_progress, "time", Clock())
    seen = []
    with watching(lambda *told: seen.append(told)):
        assert list(watched("ab", "work")) == ["a", "b"]
    assert list(watched("cd", "work")) == ["c", "d"]
    assert seen == [("work", 1, 2, 1.0), ("work", 2, 2, 0.0)]


def test_work_that_would_take_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(_progress, "time", Clock())
    with limited(99.0), pytest.raises(TooLong, match=r"work would take 2 min, more than 99 s"):
        list(watched(range(100), "work"))
    with limited(100.0):
        assert len(list(watched(range(100), "work"))) == 100
    monkeypatch.setattr(_progress, "time", Clock())
    with limited(2.0):  # too short to be worth giving up
        assert len(list(watched(range(4), "work"))) == 4


def test_steps_of_unknown_number_are_told_by_the_part_that_is_done(monkeypatch):
    monkeypatch.setattr(_progress, "time", Clock())
    seen = []

    def work():
        return finished(0, lambda n: n + 1, lambda n: n / 4, "work")

    with watching(lambda *told: seen.append(told)):
        assert work() == 4
    assert seen == [("work", 25 * k, 100, 4.0 - k) for k in (1, 2, 3, 4)]
    with limited(99.0), pytest.raises(TooLong, match=r"work would take 2 min, more than 99 s"):
        finished(0, lambda n: n + 1, lambda n: n / 100, "work")
    assert finished(0, lambda n: n + 1, lambda n: (n / 3) ** 9, "work") == 3


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (99.0, "99 s"), (150.0, "2 min"), (9000.0, "2.5 h")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
