"""What the estimators share: `fit` is an ordinary run of the rows of X."""

import numbers
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from wgflow._tensor import Points
from wgflow.config import Config, dumps
from wgflow.config.recipes import configure
from wgflow.likelihood.annealing import LogZ
from wgflow.runs.fit import fit
from wgflow.runs.load import load, read_config
from wgflow.runs.run import Run
from wgflow.storage import folder

FEWEST = 3
"""Rows of X: two to learn from, and one held out."""

TABLE = "table.parquet"
"""The rows of X, in the folder of the run."""

RandomState = int | np.integer | np.random.RandomState | None
"""What scikit-learn takes as a source of randomness; None for NumPy's global one."""


class Packed(NamedTuple):
    """A run as it is pickled: the files of its folder, and its normaliser once it is known."""

    files: dict[str, bytes]
    normaliser: LogZ | None


class LearnedRun(BaseEstimator):
    """An estimator whose fit is a run.

    The folder of the run is temporary: it is there as long as ``run_`` is, is pickled with it, and
    `save` keeps a copy.

    Args:
        steps: training steps; None for the default.
        settings: each ``key=value``, as after ``--set`` on the command line.
        random_state: seed of the run, or what draws one.

    Attributes:
        run_: the `Run`.
        n_features_in_: number of columns of X.
        feature_names_in_: their names, where X is a table of a library of data frames.
    """

    def __init__(
        self,
        *,
        steps: int | None = None,
        settings: Sequence[str] = (),
        random_state: RandomState = None,
    ) -> None:
        self.steps = steps
        self.settings = settings
        self.random_state = random_state

    def save(self, path: Path | str) -> None:
        """Write the run and its data to a new folder, which `wgflow.load` reads.

        Raises:
            ValueError: the folder is not new.
        """
        check_is_fitted(self, "run_")
        write_files(files_of(self.run_.path), Path(path))

    def _learn(self, X: Any) -> Points:
        """Learn from the rows of X, and return them."""
        x = self._validated(X, ensure_min_samples=FEWEST)
        names = vars(self).get("feature_names_in_", [f"x{j}" for j in range(x.shape[1])])
        with tempfile.TemporaryDirectory(prefix="wgflow-") as home:
            table = Path(home) / TABLE
            parquet.write_table(pa.table(dict(zip(names, x.T, strict=True))), table)
            run = fit(self._config(table), Path(home) / "run")
            self.run_ = opened(files_of(run.path) | {TABLE: table.read_bytes()})
        return self._points(x)

    def _config(self, table: Path) -> Config:
        if isinstance(self.settings, str):
            raise ValueError(
                f"`settings` must be a list of key=value, not one alone: got {self.settings!r}."
            )
        steps = [] if self.steps is None else [f"training.steps={self.steps}"]
        seed = f"seed={seed_of(self.random_state)}"
        return configure(str(table), None, *self.settings, *steps, seed)

    def _rows(self, X: Any) -> Points:
        """The rows of X, of the columns that were learned."""
        check_is_fitted(self, "run_")
        return self._points(self._validated(X, reset=False))

    def _validated(self, X: Any, **options: Any) -> np.ndarray:
        kinds = [np.float64, np.float32]
        try:
            return np.asarray(validate_data(self, X, dtype=kinds, order="C", **options))
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(
                f"`X` must hold numbers: {error}. A data frame with categories is learned by "
                "wgflow.fit(wgflow.configure(frame), data=frame)."
            ) from error

    def _points(self, x: np.ndarray) -> Points:
        """Rows as points of the density: values on a grid in the middles of their cells."""
        schema = self.run_.schema
        middles = 0.0 if schema is None else schema.widths / 2
        return torch.tensor(x + middles, dtype=self.run_.dtype)

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self)}
        if "run_" in state:
            state["run_"] = packed(state["run_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "run_" in state:
            state = state | {"run_": opened(*state["run_"])}
        super().__setstate__(state)


def seed_of(random_state: RandomState) -> int:
    """An integer as it is, or else one that is drawn."""
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def files_of(path: Path) -> dict[str, bytes]:
    """What is in the files of a folder, by their names relative to it."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def write_files(files: Mapping[str, bytes], path: Path) -> None:
    """Write the files of a run to a new folder; its data are `TABLE` there."""
    folder.check_new(path)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        folder.write_bytes(path / name, content)
    config = read_config(path)
    data = replace(config.data, name=str((path / TABLE).resolve()))
    folder.write_text(path / folder.CONFIG, dumps(replace(config, data=data)))


def packed(run: Run) -> Packed:
    """The run as it is pickled."""
    return Packed(files_of(run.path), vars(run).get("normaliser"))


def opened(files: Mapping[str, bytes], normaliser: LogZ | None = None) -> Run:
    """The run of these files, in a temporary folder that is removed with it."""
    home = Path(tempfile.mkdtemp(prefix="wgflow-"))
    try:
        write_files(files, home)
        run = load(home)
    except BaseException:
        shutil.rmtree(home)
        raise
    weakref.finalize(run, shutil.rmtree, home, ignore_errors=True)
    if normaliser is not None:
        vars(run)["normaliser"] = normaliser  # where its cached property keeps it
    return run
