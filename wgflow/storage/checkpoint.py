"""Checkpoints: a tree of tensors and plain values in one safetensors file, never a pickle.

The tensors lie in the file's body, bit for bit; the shape of the tree and the plain values are
JSON in its header, beside a digest of both. Reading builds dicts, lists, tuples and the named
tuples that the caller passes in: nothing in a file can name code to run.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from wgflow._check import shortened
from wgflow.errors import WGFlowError
from wgflow.storage.folder import write_bytes

FORMAT = "wgflow-1"

RENAMED = {"Recent": "RecentBatch"}
"""Names that named tuples had in earlier files, and those they have now."""

Tree = Any
"""Tensor, None, bool, int, float, str, or a dict, list, tuple or named tuple of trees."""

Packed = tuple[str, dict[str, Tensor]]
"""A tree taken apart: its shape and plain values as JSON, and its tensors on the CPU."""


def save(path: Path, tree: Tree) -> None:
    """Write a tree, the whole file or none of it.

    Raises:
        ValueError: the tree holds something else than a `Tree` may.
    """
    structure, tensors = pack(tree)
    digest = _digest(structure, tensors)
    header = {"format": FORMAT, "tree": structure, "sha256": digest}
    write_bytes(path, serialise(tensors, header))


def load(path: Path, records: Iterable[type], *, device: torch.device | str = "cpu") -> Tree:
    """Read a tree.

    Args:
        path: a file written by `save`.
        records: the named tuples that the tree may hold.
        device: where tensors go that were not on the CPU when saved.

    Raises:
        ValueError: the file is missing, foreign, truncated or corrupt, or it holds a record that
            is not among ``records`` or has other fields.
    """
    with refusing(path):
        return unpack(read(path), records, device=device)


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Refuse, in one sentence, a file whose digest is right and whose tree is not what it says.

    Such a file was forged, or is of another version; whatever is missing from it or of another
    type than it should be shows as one of Python's own errors where it is first used.
    """
    try:
        yield
    except (ValueError, OSError, WGFlowError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        got = shortened(f"{type(error).__name__} {' '.join(str(error).split())}")
        raise ValueError(
            f"{path} must hold what a run of this version wrote: got {got}."
        ) from error


def pack(tree: Tree) -> Packed:
    """A tree taken apart, as `save` writes it and other processes can be sent it."""
    tensors: dict[str, Tensor] = {}
    return json.dumps(_encode(tree, tensors)), tensors


def unpack(packed: Packed, records: Iterable[type], *, device: torch.device | str = "cpu") -> Tree:
    """The tree again; arguments as of `load`."""
    structure, tensors = packed
    known: dict[str, Any] = {record.__name__: record for record in records}
    known |= {old: known[new] for old, new in RENAMED.items() if new in known}
    return _Decoder(tensors, known, torch.device(device)).decode(json.loads(structure))


def read(path: Path) -> Packed:
    """The parts of a tree that `save` wrote; ValueError as `load`."""
    if not path.is_file():
        raise ValueError(f"{path} must be a checkpoint: got no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Cloned, since the file's own memory has another alignment and goes with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # the reader has errors of its own for each kind of damage
        got = shortened(str(error))
        raise ValueError(f"{path} must be a whole checkpoint: got {got}.") from error
    if header.get("format") != FORMAT or not {"tree", "sha256"} <= set(header):
        got = header.get("format")
        raise ValueError(f"{path} must be a checkpoint of format {FORMAT!r}: got {got!r}.")
    digest = _digest(header["tree"], tensors)
    if digest != header["sha256"]:
        raise ValueError(f"{path} must be an intact checkpoint: got one of another digest.")
    return header["tree"], tensors


def _encode(node: Tree, tensors: dict[str, Tensor]) -> Any:
    match node:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = node.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"tensor": name, "cpu": node.device.type == "cpu"}
        case tuple() if type(node) in (tuple, torch.Size):
            return {"tuple": [_encode(part, tensors) for part in node]}
        case tuple():
            named: Any = node
            fields = [[name, _encode(part, tensors)] for name, part in named._asdict().items()]
            return {"record": type(node).__name__, "fields": fields}
        case list():
            return {"list": [_encode(part, tensors) for part in node]}
        case dict() if all(type(key) in (str, int) for key in node):
            return {"dict": [[key, _encode(part, tensors)] for key, part in node.items()]}
        case None | bool() | int() | float() | str():
            return node
    raise ValueError(
        "A checkpoint must hold tensors, None, bool, int, float, str, or lists, tuples or dicts "
        f"(with keys str or int) of them: got {type(node).__name__}."
    )


class _Decoder:
    """Builds the tree back; every class it can make is in ``known``."""

    def __init__(
        self, tensors: Mapping[str, Tensor], known: Mapping[str, Any], device: torch.device
    ) -> None:
        self.tensors = tensors
        self.known = known
        self.device = device

    def decode(self, node: Any) -> Tree:
        match node:
            case {"tensor": name, "cpu": cpu}:
                return self.tensors[name] if cpu else self.tensors[name].to(self.device)
            case {"record": name, "fields": fields}:
                return self._record(name, {key: self.decode(part) for key, part in fields})
            case {"tuple": parts}:
                return tuple(self.decode(part) for part in parts)
            case {"list": parts}:
                return [self.decode(part) for part in parts]
            case {"dict": items}:
                return {key: self.decode(part) for key, part in items}
        return node

    def _record(self, name: str, fields: dict[str, Tree]) -> Tree:
        record = self.known.get(name)
        if record is None:
            known = ", ".join(sorted(self.known))
            raise ValueError(f"A record of a checkpoint must be one of {known}: got {name!r}.")
        optional = record._field_defaults
        if [n for n in record._fields if n in fields or n not in optional] != list(fields):
            raise ValueError(
                f"{name} in a checkpoint must have fields {list(record._fields)}: "
                f"got {list(fields)}; it is of another version."
            )
        return record(**fields)


def _digest(structure: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
