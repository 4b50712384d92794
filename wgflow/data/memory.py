"""Memory that work would take, refused before it begins where it is not there."""

import math
from collections.abc import Mapping

import torch

from wgflow.data.foreign import free_memory


def check_memory(needs: Mapping[str, int | float], device: str = "cpu") -> None:
    """Raise ValueError unless all needs together fit into the memory that is free.

    Args:
        needs: bytes, by what takes them and, in brackets, what is to be smaller.
        device: where.
    """
    free = _free(device)
    if (total := sum(needs.values())) <= free:
        return
    parts = sorted(needs.items(), key=lambda part: -part[1])
    listed = ", ".join(f"{_size(size)} for {what}" for what, size in parts if size > 0.01 * total)
    raise ValueError(f"Memory must hold {listed}: got {_size(free)} that are free.")


def _free(device: str) -> float:
    kind = torch.device(device)
    if kind.type == "cpu":
        return free_memory()
    return float(torch.cuda.mem_get_info(kind)[0]) if kind.type == "cuda" else math.inf


def _size(count: int | float) -> str:
    units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    place = min(int(math.log2(max(count, 1)) // 10), len(units) - 1)
    return f"{count / 2 ** (10 * place):.3g} {units[place]}"
