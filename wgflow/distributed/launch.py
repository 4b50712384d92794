"""Launching a run on several processes, through Lightning Fabric.

Fabric chooses the devices, knows the environments of clusters (torchrun, SLURM, LSF, MPI ...) and
joins the processes: by gloo on CPUs, by NCCL on GPUs. Without any such environment the processes
of a machine are started here rather than by Fabric, whose observer ends all of them by SIGKILL,
without a word, when one has failed.
"""

import contextlib
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from wgflow.distributed.ranks import ALONE, Ranks
from wgflow.errors import Diverged, Interrupted, Led

TIMEOUT = 300.0
"""Seconds that ranks wait for one that is silent but whose connections stand."""

GRACE = 10.0
"""Seconds that the processes started here have to end after the first has."""

MEETING = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Number of this machine, from 0, and address and free port of the first."""

AGREED = (Led, Diverged, Interrupted)
"""Ends that all ranks come to together; the first alone speaks of them."""


@contextlib.contextmanager
def launched(
    devices: int | None,
    nodes: int | None,
    device: str,
    *,
    usual: int = 1,
    timeout: float = TIMEOUT,
) -> Iterator[Ranks]:
    """The ranks of this run: on every machine as many processes as devices.

    Called by the command line in every process. It starts the others of this machine by its own
    command, unless torchrun or a cluster did, and waits for their end.

    Args:
        devices: processes per machine, and GPUs if ``device`` is one; None for torchrun's or the
            usual number.
        nodes: machines, on each of which the command runs; None for torchrun's, or 1.
        device: torch device of the configuration, without an index.
        usual: processes per machine unless somebody says otherwise.
        timeout: seconds after which a silent rank counts as lost.

    Raises:
        ValueError: Fabric is not installed, the devices are not there, or nobody says where the
            machines meet.
    """
    devices = _counted(devices, "LOCAL_WORLD_SIZE", usual)
    nodes = _counted(nodes, "GROUP_WORLD_SIZE", 1)
    if devices * nodes == 1:
        yield ALONE
        return
    fabric = _fabric(devices, nodes, device, timeout)
    with _others(fabric.strategy.cluster_environment, devices, nodes):
        fabric.launch()
        rank, size = dist.get_rank(), dist.get_world_size()
        if rank:
            logging.getLogger("wgflow").setLevel(logging.ERROR)
        try:
            yield Ranks(rank, size, str(fabric.device))
        except AGREED as error:
            if rank:
                raise SystemExit(1) from error
            raise
        dist.destroy_process_group()


def _counted(given: int | None, variable: str, usual: int) -> int:
    """What was given, or what torchrun's environment says, or what is usual."""
    started = os.environ.get(variable) if "TORCHELASTIC_RUN_ID" in os.environ else None
    if given is None or started is None:
        return int(started or usual) if given is None else given
    if given != int(started):
        raise ValueError(
            f"torchrun counts the processes: expected {variable} = {started} or no option, "
            f"got {given}."
        )
    return given


def _fabric(devices: int, nodes: int, device: str, timeout: float) -> Any:
    kind = torch.device(device)
    if kind.index is not None:
        raise ValueError(
            f"Several ranks have a device each: expected a device such as cpu or {kind.type}, "
            f"got {device}."
        )
    try:
        from lightning_fabric import Fabric  # pyright: ignore
        from lightning_fabric.strategies.ddp import DDPStrategy  # pyright: ignore
    except ImportError as error:
        raise ValueError(
            "Several ranks are launched by Lightning Fabric: expected the package "
            f"lightning-fabric, got {error}; install it with: pip install 'wgflow[distributed]'"
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    strategy = DDPStrategy(timeout=timedelta(seconds=timeout))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on hardware and launchers that does not apply
        try:
            return Fabric(
                accelerator=kind.type, devices=devices, num_nodes=nodes, strategy=strategy
            )
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"Ranks need devices: expected {devices} of kind {kind.type}, got {error}"
            ) from error


@contextlib.contextmanager
def _others(environment: Any, devices: int, nodes: int) -> Iterator[None]:
    """The other processes of this machine, started and waited for, unless somebody else does."""
    if environment.creates_processes_externally:
        yield
        return
    missing = [name for name in MEETING if name not in os.environ]
    if nodes > 1 and missing:
        raise ValueError(
            "Machines that no cluster manages meet at an address: expected the environment "
            f"variables {', '.join(MEETING)} on each, got no {', '.join(missing)}."
        )
    os.environ |= {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "WORLD_SIZE": str(devices * nodes),
        "LOCAL_RANK": "0",
    }
    children = [
        subprocess.Popen(_command(), env=os.environ | {"LOCAL_RANK": str(number)})
        for number in range(1, devices)
    ]
    try:
        yield
    finally:
        _end(children)


def _command() -> list[str]:
    """The command of this process."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    script = [sys.argv[0]] if spec is None else ["-m", spec.name]
    return [sys.executable, *script, *sys.argv[1:]]


def _end(children: list[subprocess.Popen]) -> None:
    """Wait for processes; those that do not end in time are killed."""
    if dist.is_initialized() and dist.get_backend() == "gloo":
        dist.destroy_process_group()  # so that whoever waits for this rank learns that it is gone
    for child in children:
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
