"""Checkpoints: a tree of tensors and plain values in one safetensors file, never a pickle.

The tensors lie in the file's body, bit for bit; the shape of the tree and the plain values are
JSON in its header, beside a digest of both. Reading builds dicts, lists, tuples and the named
tuples that the caller passes in: nothing in a file can name code to run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from wgflow.storage.folder import write_bytes

FORMAT = "wgflow-1"

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
    return unpack(read(path), records, device=device)


def load_model(path: Path, kind: str) -> dict[str, Any]:
    """Read ``{kind: parameters, "accuracy": share}``, as classifiers are kept.

    Raises:
        ValueError: as `load`, and for a tree with other names.
    """
    tree = load(path, [])
    if not isinstance(tree, dict) or set(tree) != {kind, "accuracy"}:
        got = sorted(tree) if isinstance(tree, dict) else type(tree).__name__
        raise ValueError(f"This is not a {kind}: expected one in {path}, got {got}.")
    return tree


def pack(tree: Tree) -> Packed:
    """A tree taken apart, as `save` writes it and other processes can be sent it."""
    tensors: dict[str, Tensor] = {}
    return json.dumps(_encode(tree, tensors)), tensors


def unpack(packed: Packed, records: Iterable[type], *, device: torch.device | str = "cpu") -> Tree:
    """The tree again; arguments as of `load`."""
    structure, tensors = packed
    known = {record.__name__: record for record in records}
    return _Decoder(tensors, known, torch.device(device)).decode(json.loads(structure))


def read(path: Path) -> Packed:
    """The parts of a tree that `save` wrote; ValueError as `load`."""
    if not path.is_file():
        raise ValueError(f"A checkpoint is a file: expected one at {path}, got none.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Cloned, since the file's own memory has another alignment and goes with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"A checkpoint is a safetensors file: expected a whole one at {path}, got {error}."
        ) from error
    if header.get("format") != FORMAT or not {"tree", "sha256"} <= set(header):
        raise ValueError(
            f"A checkpoint is written by WGFlow: expected format {FORMAT!r} in {path}, "
            f"got {header.get('format')!r}."
        )
    digest = _digest(header["tree"], tensors)
    if digest != header["sha256"]:
        raise ValueError(
            f"A checkpoint is intact: expected digest {header['sha256'][:12]} in {path}, "
            f"got {digest[:12]}; the file is corrupt."
        )
    return header["tree"], tensors


def _encode(node: Tree, tensors: dict[str, Tensor]) -> Any:
    match node:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = node.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"tensor": name, "cpu": node.device.type == "cpu"}
        case tuple():
            parts = [_encode(part, tensors) for part in node]
            names = getattr(node, "_fields", None)  # only a named tuple has it
            if names is None:
                return {"tuple": parts}
            fields = [list(pair) for pair in zip(names, parts, strict=True)]
            return {"record": type(node).__name__, "fields": fields}
        case list():
            return {"list": [_encode(part, tensors) for part in node]}
        case dict() if all(type(key) in (str, int) for key in node):
            return {"dict": [[key, _encode(part, tensors)] for key, part in node.items()]}
        case None | bool() | int() | float() | str():
            return node
    raise ValueError(
        "A checkpoint holds tensors and plain values: expected None, bool, int, float, str, "
        "or a list, tuple or dict (with keys str or int) of them, "
        f"got {type(node).__name__}."
    )


class _Decoder:
    """Builds the tree back; every class it can make is in ``known``."""

    def __init__(self, tensors: Mapping[str, Tensor], known: Mapping[str, type], device):
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
            raise ValueError(
                "A checkpoint holds known records only: "
                f"expected one of {', '.join(sorted(self.known))}, got {name!r}."
            )
        names = list(record.__annotations__)
        optional = getattr(record, "_field_defaults", {})
        if [n for n in names if n in fields or n not in optional] != list(fields):
            raise ValueError(
                f"A {name} in a checkpoint has the fields it was saved with: "
                f"expected {names}, got {list(fields)}; it is of another version."
            )
        return record(**fields)


def _digest(structure: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
