"""Learning steps of two processes beside those of one, in seconds of the clock and of the CPU.

    OMP_NUM_THREADS=1 python -m benchmarks.ranks

The same totals, of which each of two processes takes half, as ``wgflow train --devices 2`` does,
with one thread each; two cores must be free. One process and two take turns. CPU seconds are those
of one process, which leave out what it waits for, so that their ratio is what the clock's would be
on a machine with nothing else to do and with no messages. Parts that are a product of batch and
particles, as the densities of global moves, take each island a quarter of the time.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

from wgflow.config import Config, build
from wgflow.config.recipes import configure
from wgflow.distributed.islands import share
from wgflow.distributed.ranks import Ranks
from wgflow.training.learner import Learner

WARM, ROUNDS = 5, 3
MANY = ("scheme.dynamics.size=16384", "scheme.dynamics.held_out=16384", "training.batch_size=8192")
DIGITS = {
    "data": {"name": "digits"},
    "energy": {"kind": "unet", "widths": [32, 64]},
    "scheme": {"dynamics": {"size": 1024, "held_out": 1024}},
    "training": {"batch_size": 512},
}
WORKS: dict[str, tuple[int, Config]] = {
    "plane, default": (30, configure("moons")),
    "plane, 16384 particles": (5, configure("moons", None, *MANY)),
    "digits, convolutional": (5, build(DIGITS)),
}
"""Learning steps that are timed, and settings."""


def timed(name: str, ranks: Ranks, meeting: str) -> tuple[float, float]:
    """Seconds of a learning step, by the clock and of this process alone."""
    torch.set_num_threads(1)
    if not ranks.alone:
        place = {"init_method": f"file://{meeting}", "rank": ranks.rank, "world_size": ranks.size}
        dist.init_process_group("gloo", **place)
    count, settings = WORKS[name]
    learner = Learner.build(share(settings, ranks), ranks)
    steps = learner.steps(learner.start())
    for _ in range(WARM):
        next(steps)
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(steps)
    found = (time.perf_counter() - clock) / count, (time.process_time() - cpu) / count
    if not ranks.alone:
        dist.destroy_process_group()
    return found


def of(name: str, size: int) -> tuple[float, float]:
    """The longest of so many processes."""
    with (
        tempfile.NamedTemporaryFile() as file,
        multiprocessing.get_context("spawn").Pool(size) as pool,
    ):
        meeting = f"{file.name}.meeting"
        jobs = [(name, Ranks(rank, size), meeting) for rank in range(size)]
        clocks, cpus = zip(*pool.starmap(timed, jobs, chunksize=1), strict=True)
    return max(clocks), max(cpus)


def line(name: str) -> str:
    """Medians over rounds, and how many times as fast two processes are."""
    found = torch.tensor([[of(name, 1), of(name, 2)] for _ in range(ROUNDS)])
    one, two = found.median(0).values.tolist()
    ratios = (found[:, 0] / found[:, 1]).median(0).values.tolist()
    cells = (
        f"{1000 * a:9.1f}{1000 * b:9.1f}{r:7.2f}" for a, b, r in zip(one, two, ratios, strict=True)
    )
    return f"{name:<24}" + "   ".join(cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each work."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("works", nargs="*", default=list(WORKS), metavar="|".join(WORKS))
    options = parser.parse_args(arguments)
    print(
        f"{'milliseconds of a step':<24}" + "   ".join([f"{'one':>9}{'two':>9}{'ratio':>7}"] * 2)
    )
    print(f"{'':<24}{'by the clock':>25}   {'CPU of a process':>25}")
    for name in options.works:
        print(line(name), flush=True)


if __name__ == "__main__":
    main()
