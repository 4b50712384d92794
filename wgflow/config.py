"""The configuration of a run: frozen records whose constructors are the schema.

A configuration is written as TOML: one table per record, one key per argument. Where an argument
is a choice (a scheme, its dynamics, a sampler ...) its table has a key ``kind``, one of `KINDS`,
and the other keys are the arguments of that kind; a bare string stands for a table of nothing
but its kind. Keys left out keep their defaults. TOML has no null: None is written ``"none"``.
"""

import contextlib
import difflib
import inspect
import json
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch

from wgflow._version import __version__
from wgflow.architectures import Convolutional, ImageResNet, ImageUNet, Network, Perceptron
from wgflow.images import SCALINGS
from wgflow.samplers import HMC, MALA, ULA, Underdamped
from wgflow.samplers.base import check_fraction, check_positive
from wgflow.schemes import (
    EnergyMatching,
    FirstOrder,
    Forward,
    FromData,
    FromNoise,
    GradientNorm,
    InnerDescent,
    Joint,
    MaximumLikelihood,
    NearProximal,
    Population,
    Reverse,
    Scheme,
)

KINDS: dict[str, type] = {
    "mlp": Perceptron,
    "unet": ImageUNet,
    "resnet": ImageResNet,
    "near-proximal": NearProximal,
    "maximum-likelihood": MaximumLikelihood,
    "gradient-norm": GradientNorm,
    "energy-matching": EnergyMatching,
    "joint": Joint,
    "population": Population,
    "from-data": FromData,
    "from-noise": FromNoise,
    "mala": MALA,
    "ula": ULA,
    "hmc": HMC,
    "underdamped": Underdamped,
    "forward": Forward,
    "reverse": Reverse,
    "first-order": FirstOrder,
    "inner-descent": InnerDescent,
}
"""Names of everything that can be chosen: the only table from strings to classes."""

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16-mixed": torch.float32}
"""Names of the precisions, and the type of the weights and points in each."""


@dataclass(frozen=True)
class Data:
    """What to learn from.

    Args:
        name, size, test_fraction: source, number of train points and share held out; see
            `wgflow.data.load`.
        image_size: side to which images are cut and resized; None keeps their size.
        scaling: ``coordinate`` or ``range``; None chooses by the data; see `wgflow.data.load`.
        flips: whether images are mirrored left to right at random; they must be scaled by range.
        smoothing: σ ≥ 0 of Gaussian noise added to every batch, in standardised units; the law
            that is learned, and scored, is that of the data with this noise.

    Raises:
        ValueError: when a setting is out of its range.
    """

    name: str = "eight-gaussians"
    size: int | None = None
    test_fraction: float = 0.1
    image_size: int | None = None
    scaling: str | None = None
    flips: bool = False
    smoothing: float = 0.0

    def __post_init__(self):
        if not self.name:
            raise ValueError("Data need a source: expected a name or a path, got ''.")
        if self.size is not None and self.size < 2:
            raise ValueError(f"Data need spread: expected a size ≥ 2, got {self.size}.")
        _check_between("Data", test_fraction=self.test_fraction)
        if self.image_size is not None:
            check_positive("Data", image_size=self.image_size)
        if self.scaling not in (None, *SCALINGS):
            raise _unknown("scaling", str(self.scaling), SCALINGS)
        if not 0 <= self.smoothing < float("inf"):
            raise ValueError(f"Data need smoothing ≥ 0: expected ≥ 0, got {self.smoothing}.")
        if self.flips and self.scaling == "coordinate":
            raise ValueError(
                "Flips need one unit for all pixels: expected scaling range, got coordinate."
            )


@dataclass(frozen=True)
class Training:
    """The optimisation: AdamW, warm-up, cosine decay to zero, running average of the weights.

    Args:
        steps: learning steps.
        batch_size: data per learning step.
        accumulate: parts that data and particles of a step are evaluated in, for the memory of
            one part and the gradient of all; see `wgflow.parts`.
        learning_rate: peak of the schedule.
        betas: Adam's decays of its two moments.
        weight_decay: decoupled decay of the weights, per unit of the learning rate.
        warmup: steps of linear warm-up.
        average: decay of the running average of the weights, which is the energy that is kept.
        clip: greatest norm of the gradient; None for none.
        evaluate_every: steps between two evaluations on the test points.
        checkpoint_every: steps between two checkpoints.
        patience: evaluations without improvement after which training stops; None for never.

    Raises:
        ValueError: when a setting is out of its range.
    """

    steps: int = 700
    batch_size: int = 1024
    accumulate: int = 1
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup: int = 50
    average: float = 0.99
    clip: float | None = None
    evaluate_every: int = 50
    checkpoint_every: int = 100
    patience: int | None = None

    def __post_init__(self):
        check_positive(
            "Training",
            steps=self.steps,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            learning_rate=self.learning_rate,
            evaluate_every=self.evaluate_every,
            checkpoint_every=self.checkpoint_every,
            clip=1 if self.clip is None else self.clip,
            patience=1 if self.patience is None else self.patience,
        )
        _check_count("Training", warmup=self.warmup)
        check_fraction("Training", average=self.average)
        for beta in self.betas:
            check_fraction("Training", betas=beta)
        if 1 in (self.average, *self.betas):
            raise ValueError(
                "A running average must forget: expected average and betas < 1, "
                f"got {self.average} and {self.betas}."
            )


@dataclass(frozen=True)
class Config:
    """Everything that determines a run, but the machine.

    Args:
        seed: of every random number, at least 0.
        device: a torch device, such as cpu or cuda:0.
        dtype: float32, float64, or bf16-mixed: float32 with the convolutions of image networks in
            bfloat16 while they learn, which is several times faster where the processor has it.
        init: folder of a run whose energy this one begins with; None begins anew.
        data, energy, scheme, training: what to learn from, what learns, how, and how long.

    Raises:
        ValueError: when a setting is out of its range.
    """

    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    init: str | None = None
    data: Data = field(default_factory=Data)
    energy: Network = field(default_factory=Perceptron)
    scheme: Scheme = field(default_factory=NearProximal)
    training: Training = field(default_factory=Training)

    def __post_init__(self):
        _check_count("Config", seed=self.seed)
        if self.dtype not in DTYPES:
            raise _unknown("dtype", self.dtype, DTYPES)
        spectral = isinstance(self.energy, Convolutional) and self.energy.spectral
        if self.training.accumulate > 1 and spectral:
            raise ValueError(
                "Spectral normalisation moves on with every evaluation, so that parts of a batch "
                "differ: expected training.accumulate 1 with energy.spectral, "
                f"got {self.training.accumulate}."
            )
        try:
            torch.device(self.device)
        except RuntimeError:
            raise ValueError(
                "A device is named as in torch: expected cpu, cuda, cuda:1, mps ..., "
                f"got {self.device!r}."
            ) from None


def build(table: Mapping[str, Any]) -> Config:
    """The configuration of a table: defaults, except where the table says otherwise.

    Raises:
        ValueError: a key or a kind is unknown, a value has the wrong type or is out of its
            range; the message names the dotted key and, if there is one, the nearest known key.
    """
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
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"A configuration is a TOML file: {error}.") from None


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
            f"A setting is written key=value: expected e.g. training.steps=500, got {text!r}."
        )
    return keys, _literal(value.strip())


def _literal(text: str) -> Any:
    """A TOML value, a number such as .5 that TOML refuses, or else the text itself."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
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
        raise _Mismatch(path, "a table", table)
    hints = get_type_hints(type(default))
    for key in table:
        if key not in hints:
            raise _unknown_key(default, key, path)
    values = {
        key: _read(hints[key], value, getattr(default, key), _join(path, key))
        for key, value in table.items()
    }
    try:
        return replace(default, **values)
    except ValueError as error:
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
        raise _Mismatch(path, expected, value)
    return origin(value)


SCALARS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", lambda value: type(value) in (int, float)),
    str: ("a string", lambda value: isinstance(value, str)),
}
"""What a plain value must be: in words, and as a test."""


def _optional(hint: Any, value: Any, default: Any, path: str) -> Any:
    """None, or the first type of a union that suits."""
    if value is None or value == "none":
        return None
    expected = []
    for option in get_args(hint):
        try:
            if option is not types.NoneType:
                return _read(option, value, default, path)
        except _Mismatch as error:
            if error.path != path:  # inside a table, whose message says more
                raise
            expected.append(error.expected)
    raise _Mismatch(path, " or ".join([*expected, '"none"']), value)


def _tuple(hint: Any, value: Any, path: str) -> tuple[Any, ...]:
    inner = get_args(hint)
    if inner[-1] is ...:
        inner = inner[:1] * len(value) if isinstance(value, list | tuple) else ()
    elif not isinstance(value, list | tuple) or len(value) != len(inner):
        raise _Mismatch(path, f"an array of {len(inner)}", value)
    items = enumerate(zip(inner, value, strict=True))
    return tuple(_read(h, v, None, f"{path}[{i}]") for i, (h, v) in items)


def _choice(contract: Any, value: Any, default: Any, path: str) -> Any:
    """One of the kinds of a contract, from its table or its bare name."""
    if not isinstance(value, str | Mapping):
        raise _Mismatch(path, "a table or the name of a kind", value)
    table = {"kind": value} if isinstance(value, str) else dict(value)
    known = {name: kind for name, kind in KINDS.items() if issubclass(kind, contract)}
    name = str(table.pop("kind", _kind(default)))
    if name not in known:
        raise _unknown(f"kind for {path}", name, known)
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
            yield f"\n[{_join(path, key)}]"
            yield from _lines(value, _join(path, key))


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


class _Mismatch(ValueError):
    """A value of the wrong type; keeps in words what was expected."""

    def __init__(self, path: str, expected: str, value: Any):
        self.path, self.expected = path, expected
        got = json.dumps(value, default=str, ensure_ascii=False)
        super().__init__(
            f"A value must suit its key: expected {expected} for {path or 'the configuration'}, "
            f"got {got}."
        )


def _unknown(what: str, got: str, known: Iterable[str], path: str = "") -> ValueError:
    near = difflib.get_close_matches(got, list(known), n=1)
    hint = f" Did you mean {_join(path, near[0])!r}?" if near else ""
    expected = f"expected one of {', '.join(known)}" if known else "expected none"
    return ValueError(f"No such {what}: {expected}, got {_join(path, got)!r}.{hint}")


def _unknown_key(record: Any, key: str, path: str) -> ValueError:
    owner = _kind(record) or path or "the configuration"
    return _unknown(f"key of {owner}", key, [f.name for f in fields(record)], path)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _check_count(owner: str, **values: int) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{owner} needs {name} ≥ 0: expected ≥ 0, got {value}.")


def _check_between(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f"{owner} needs {name} between 0 and 1: got {value}.")
