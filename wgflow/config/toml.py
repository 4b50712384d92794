"""The configuration of a run as a table and as TOML.

A configuration is a tree of records, `wgflow.config.schema`, whose constructors are the schema. It
is written as TOML: one table per record, one key per argument. Where an argument is a choice (a
scheme, its dynamics, a sampler ...) its table has a key ``kind``, one of `KINDS`, and the other
keys are the arguments of that kind; a bare string stands for a table of nothing but its kind. Keys
left out keep their defaults. TOML has no null: None is written ``"none"``.
"""

import contextlib
import inspect
import json
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from wgflow._check import shortened, shown
from wgflow._version import __version__
from wgflow.config.refusals import Mismatch, shallow
from wgflow.config.schema import Config, join, unknown
from wgflow.energies.mlp import MLPSpec
from wgflow.energies.noise_mlp import NoiseMLPSpec
from wgflow.energies.noise_unet import NoisyUNetSpec
from wgflow.energies.own_module import OwnModuleSpec
from wgflow.energies.unet import ResNetSpec, UNetSpec
from wgflow.samplers import HMC, MALA, ULA, CrankNicolson, Travel, Underdamped
from wgflow.schemes import (
    AcrossLevels,
    DetailedBalance,
    DualScoreMatching,
    EnergyMatching,
    FirstOrder,
    Forward,
    FromData,
    FromNoise,
    FromReference,
    GradientNorm,
    InnerDescent,
    Joint,
    MaximumLikelihood,
    NearProximal,
    Population,
    Reverse,
)

KINDS: dict[str, type] = {
    "mlp": MLPSpec,
    "unet": UNetSpec,
    "resnet": ResNetSpec,
    "noisy-unet": NoisyUNetSpec,
    "noise-mlp": NoiseMLPSpec,
    "module": OwnModuleSpec,
    "near-proximal": NearProximal,
    "maximum-likelihood": MaximumLikelihood,
    "gradient-norm": GradientNorm,
    "energy-matching": EnergyMatching,
    "dual-score-matching": DualScoreMatching,
    "detailed-balance": DetailedBalance,
    "joint": Joint,
    "across-levels": AcrossLevels,
    "population": Population,
    "from-data": FromData,
    "from-noise": FromNoise,
    "from-reference": FromReference,
    "mala": MALA,
    "travel": Travel,
    "ula": ULA,
    "crank-nicolson": CrankNicolson,
    "hmc": HMC,
    "underdamped": Underdamped,
    "forward": Forward,
    "reverse": Reverse,
    "first-order": FirstOrder,
    "inner-descent": InnerDescent,
}
"""Names of everything that can be chosen: the only table from strings to classes."""


def build(table: Mapping[str, Any]) -> Config:
    """The configuration of a table: defaults, except where the table says otherwise.

    Raises:
        ValueError: a key or a kind is unknown, a value has the wrong type or is out of its
            range; the message names the dotted key and, if there is one, the nearest known key.
    """
    with shallow():
        return _fill(Config(), table, "")


def to_table(record: Any) -> dict[str, Any]:
    """The nested table of a record, every argument visible; `build` is its inverse."""
    kind = {"kind": _kind(record)} if type(record) in KINDS.values() else {}
    return kind | {f.name: _plain(getattr(record, f.name)) for f in fields(record)}


def loads(text: str) -> Config:
    """The configuration written as TOML. Raises ValueError as `build`, or if it is no TOML."""
    return build(parse(text))


def parse(text: str) -> dict[str, Any]:
    """The table written as TOML, unchecked; ValueError with line and column if it is no TOML."""
    try:
        with shallow():
            return tomllib.loads(text)
    except ValueError as error:  # that a number has too many digits, too
        raise ValueError(f"A configuration is a TOML file: {shortened(str(error))}.") from None


def dumps(config: Config) -> str:
    """The configuration as TOML with every default visible; `loads` is its inverse."""
    head = f'# WGFlow {__version__}: everything that determines a run. None is "none".'
    return "\n".join([head, *_lines(to_table(config), "")]) + "\n"


def override(table: Mapping[str, Any], *assignments: str) -> dict[str, Any]:
    """A copy of the table with values set by dotted keys, as in ``scheme.dynamics.size=4096``.

    Values are read as TOML; a bare word is a string. Kinds are set before the arguments that
    belong to them, so the order does not matter, and a kind that differs from the one in the
    table starts from its own defaults.

    Raises:
        ValueError: an assignment is not ``key=value``.
    """
    with shallow():
        pairs = [_assignment(text) for text in assignments]
        result = dict(table)
        for keys, value in sorted(pairs, key=lambda pair: len(pair[0]) - (pair[0][-1] == "kind")):
            result = _assign(result, keys, value)
    return result


def _assignment(text: str) -> tuple[list[str], Any]:
    key, sign, value = text.partition("=")
    keys = key.strip().split(".")
    if not sign or not all(keys):
        raise ValueError(
            f"A setting is written key=value: expected e.g. training.steps=500, got {shown(text)}."
        )
    return keys, _literal(value.strip())


def _literal(text: str) -> Any:
    """A TOML value, a number such as .5 that TOML refuses, or else the text itself."""
    with contextlib.suppress(ValueError):
        return tomllib.loads(f"value = {text}")["value"]
    with contextlib.suppress(ValueError):
        return float(text)
    return text


def _assign(table: Mapping[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    key, *rest = keys
    if rest:
        inner = table.get(key, {})
        inner = {"kind": inner} if isinstance(inner, str) else inner
        value = _assign(inner if isinstance(inner, Mapping) else {}, rest, value)
    elif key == "kind" and table.get("kind", value) != value:
        return {"kind": value}
    return {**table, key: value}


def _fill(default: Any, table: Any, path: str) -> Any:
    """The record ``default`` with the values of the table; ``path`` is its dotted key."""
    if not isinstance(table, Mapping):
        raise Mismatch(path, "a table", table)
    hints = get_type_hints(type(default))
    for key in table:
        if key not in hints:
            raise _unknown_key(default, key, path)
    values = {
        key: _read(hints[key], value, getattr(default, key), join(path, key))
        for key, value in table.items()
    }
    try:
        return replace(default, **values)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"In [{path}]: {error}" if path else str(error)) from None


def _read(hint: Any, value: Any, default: Any, path: str) -> Any:
    """``value`` as the type that a constructor asks for."""
    origin = get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return _optional(hint, value, default, path)
    if origin is tuple:
        return _tuple(hint, value, path)
    if inspect.isabstract(origin):
        return _choice(origin, value, default, path)
    if is_dataclass(origin):
        return _fill(default, value, path)
    expected, accepts = SCALARS[origin]
    if not accepts(value):
        raise Mismatch(path, expected, value)
    if type(value) is int and abs(value) > LARGEST:
        raise Mismatch(path, f"at most {LARGEST}", value)
    return origin(value)


SCALARS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", lambda value: type(value) in (int, float)),
    str: ("a string", lambda value: isinstance(value, str)),
}
"""What a plain value must be: in words, and as a test."""

LARGEST = 2**63 - 1
"""Greatest whole number, as processors count."""


def _optional(hint: Any, value: Any, default: Any, path: str) -> Any:
    """None, or the first type of a union that suits."""
    if value is None or value == "none":
        return None
    expected = []
    for option in get_args(hint):
        try:
            if option is not types.NoneType:
                return _read(option, value, default, path)
        except Mismatch as error:
            if error.path != path:  # inside a table, whose message says more
                raise
            expected.append(error.expected)
    raise Mismatch(path, " or ".join([*expected, '"none"']), value)


def _tuple(hint: Any, value: Any, path: str) -> tuple[Any, ...]:
    inner = get_args(hint)
    if not isinstance(value, list | tuple):
        raise Mismatch(path, "an array", value)
    if inner[-1] is ...:
        inner = inner[:1] * len(value)
    elif len(value) != len(inner):
        raise Mismatch(path, f"an array of {len(inner)}", value)
    items = enumerate(zip(inner, value, strict=True))
    return tuple(_read(h, v, None, f"{path}[{i}]") for i, (h, v) in items)


def _choice(contract: Any, value: Any, default: Any, path: str) -> Any:
    """One of the kinds of a contract, from its table or its bare name."""
    if not isinstance(value, str | Mapping):
        raise Mismatch(path, "a table or the name of a kind", value)
    table = {"kind": value} if isinstance(value, str) else dict(value)
    known = {name: kind for name, kind in KINDS.items() if issubclass(kind, contract)}
    name = str(table.pop("kind", _kind(default)))
    if name not in known:
        raise unknown(f"kind for {path}", name, known)
    return _fill(default if type(default) is known[name] else known[name](), table, path)


def _kind(record: Any) -> str | None:
    return next((name for name, kind in KINDS.items() if kind is type(record)), None)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_table(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return "none" if value is None else value


def _lines(table: Mapping[str, Any], path: str) -> Iterable[str]:
    """TOML: the values of a table, then its tables, each under its dotted header."""
    for key, value in table.items():
        if not isinstance(value, Mapping):
            comment = _alternatives(str(value)) if key == "kind" else ""
            yield f"{key} = {_written(value)}{comment}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield f"\n[{join(path, key)}]"
            yield from _lines(value, join(path, key))


def _written(value: Any) -> str:
    """A value as TOML, which is JSON but for infinities and two rare characters."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _alternatives(name: str) -> str:
    """A comment naming the other kinds of the same contract."""
    contract = [base for base in KINDS[name].__mro__ if inspect.isabstract(base)][-1]
    others = [n for n, kind in KINDS.items() if issubclass(kind, contract) and n != name]
    return f"  # or {', '.join(others)}" if others else ""


def _unknown_key(record: Any, key: str, path: str) -> ValueError:
    owner = _kind(record) or path or "the configuration"
    inner = {f.name: getattr(record, f.name) for f in fields(record)}
    deeper = [join(n, key) for n, r in inner.items() if is_dataclass(r) and key in vars(r)]
    return unknown(f"key of {owner}", key, list(inner), path, deeper=deeper)
