"""Runs of a few steps, which every test may read and none may change."""

import pytest
from command_line import SMALL, TINY, fit, only

from wgflow.storage.folder import LABELLER


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two runs of points in the plane, whose units differ, and one of digits by matched paths.

    The classifier of the digits says 3 whatever it sees.
    """
    folder = tmp_path_factory.mktemp("runs")
    digits = fit(folder, "digits", TINY)
    only(3).save(digits.path / LABELLER)
    return {
        "moons": fit(folder, "moons", SMALL),
        "rings": fit(folder, "rings", SMALL),
        "digits": digits,
    }
