"""Densities on tables by neural networks: the spline flow of zuko, and WGFlow."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import wgflow
from benchmarks.tables_data import Table, files_of, write
from benchmarks.tables_methods import Fitted, Part, density, standardised
from wgflow.config import DTYPES
from wgflow.runs.outliers import compared, measured
from wgflow.storage.folder import free


@dataclass(frozen=True)
class SplineFlow:
    """The neural spline flow of zuko, stopped early: the weights best on a tenth of the rows.

    Adam at its usual rate, on standardised rows.

    Args:
        transforms, hidden: of the flow; splines of eight bins.
        passes: None for autoregressive transforms, 2 for coupling ones.
        rate, batch: of Adam.
        patience: evaluations without improvement after which it stops; one each epoch, and one in
            25 steps at most.
        seconds: CPU seconds after which it stops anyway.
    """

    transforms: int = 3
    hidden: tuple[int, ...] = (128, 128)
    passes: int | None = None
    rate: float = 1e-3
    batch: int = 256
    patience: int = 10
    seconds: float = 150.0

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        import zuko

        scaler, rows = standardised(part.train)
        u = torch.from_numpy(rows).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(part.seed)
            flow = zuko.flows.NSF(
                u.shape[1],
                transforms=self.transforms,
                hidden_features=self.hidden,
                passes=self.passes,
            )
            steps, best = self._descend(flow, u[torch.randperm(len(u))])
        flow.requires_grad_(False)

        def log_prob(x: np.ndarray) -> np.ndarray:
            parts = torch.from_numpy(x).float().split(2000)
            return torch.cat([flow().log_prob(p) for p in parts]).double().numpy()

        def sample(count: int, seed: int) -> np.ndarray:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return flow().sample((count,)).double().numpy()

        return density(log_prob, sample, scaler, steps=steps, validation=best)

    def _descend(self, flow: torch.nn.Module, u: torch.Tensor) -> tuple[int, float]:
        """Steps taken and the least validation loss, whose weights the flow is left with."""
        held_out, u = u[: max(1, len(u) // 10)], u[max(1, len(u) // 10) :]
        optimizer = torch.optim.Adam(flow.parameters(), lr=self.rate)
        every = max(25, len(u) // self.batch)
        best, kept, worse, step = float("inf"), flow.state_dict(), 0, 0
        end = time.process_time() + self.seconds
        batches = self._batches(u)
        while worse < self.patience and time.process_time() < end:
            loss = -flow().log_prob(next(batches)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % every:
                continue
            with torch.no_grad():
                now = -float(flow().log_prob(held_out).mean())
            worse = 0 if now < best else worse + 1
            if now < best:
                best, kept = now, {k: v.clone() for k, v in flow.state_dict().items()}
        flow.load_state_dict(kept)
        return step, best

    def _batches(self, u: torch.Tensor) -> Iterator[torch.Tensor]:
        while True:
            yield from u[torch.randperm(len(u))].split(self.batch)


@dataclass(frozen=True)
class WGFlow:
    """WGFlow with its defaults, in the folder of the part; it standardises by itself.

    Columns that are constant are left out: they have no density.

    Args:
        settings: changes of the defaults, ``key=value`` each.
    """

    settings: tuple[str, ...] = ()

    def fit(self, part: Part) -> Fitted:
        """See the class."""
        varies = np.ptp(part.train, 0) > 0
        columns = tuple(c for c, v in zip(part.columns, varies, strict=True) if v)
        files = files_of(part.name, part.folder)
        if not all(file.exists() for file in files):
            write(Table(columns, part.train[:, varies], part.test[:, varies]), files)
        config = wgflow.configure(str(files[0]), None, *self.settings)
        config = replace(config, seed=part.seed, data=replace(config.data, test=str(files[1])))
        run = wgflow.fit(config, free(part.folder / f"{part.name}-{part.seed}"))

        middles = 0.0 if run.schema is None else run.schema.widths / 2

        def points(x: np.ndarray) -> Any:  # values on a grid in the middles of their cells
            return torch.from_numpy(x[:, varies] + middles).to(DTYPES[run.config.dtype])

        def score(x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return run.outlier_energy(points(x)).double().numpy()

        def sample(count: int, seed: int) -> np.ndarray:
            generator = torch.Generator().manual_seed(seed)
            return run.sample(count, generator=generator).double().numpy()

        def others(x: np.ndarray) -> dict[str, np.ndarray]:
            reference = measured(run, points(part.train[:1000]))
            found = compared(measured(run, points(x)), reference)
            return {name: np.nan_to_num(values.numpy()) for name, values in found.items()}

        return Fitted(
            score,
            lambda x: run.log_prob(points(x)).double().numpy(),
            sample,
            lambda: {"steps": run.steps, "log_z": run.normaliser._asdict()},
            others,
        )
