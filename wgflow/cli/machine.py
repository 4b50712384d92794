"""The verbs about this machine: doctor, bench."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wgflow.cli.options import Json
from wgflow.cli.printing import rows_table, say, say_json, say_lines
from wgflow.cli.progress import waiting

if TYPE_CHECKING:
    from wgflow.machine.bench import Gain
    from wgflow.machine.doctor import Diagnosis

verbs = typer.Typer(rich_markup_mode="markdown")


@verbs.command(
    epilog="""- `wgflow doctor`
- `wgflow doctor --json | jq .extras`

Nothing is changed and nothing is fetched. The exit code is 1 where something keeps the package
from working.
"""
)
def doctor(as_json: Json = False) -> None:
    """Say what is installed: versions, devices, threads, precision, data and extras."""
    from wgflow.machine.doctor import doctor

    found = doctor()
    if as_json:
        say_json(found._asdict() | {"healthy": found.healthy})
    else:
        say_lines([f"{name:<10} {text}" for name, text in told(found)])
    if not found.healthy:
        raise typer.Exit(1)


@verbs.command(
    epilog="""- `wgflow bench`
- `wgflow bench --seconds 60 --json`

Steps per second of the default perceptron in the plane on one thread, beside those that its matrix
products alone would allow; then how many times faster all cores, other precisions and compiled
code are. What is compared runs in turn; a ratio below 1 is slower.
"""
)
def bench(
    seconds: Annotated[float, typer.Option(help="Of measuring; compiling comes on top.")] = 20.0,
    as_json: Json = False,
) -> None:
    """Measure how fast chains move here, and whether threads, precision or compiling pay."""
    from wgflow.machine.bench import bench

    with waiting("Measuring"):
        found = bench(seconds)
    if as_json:
        speeds = [speed._asdict() for speed in found.speeds]
        gains = [gain._asdict() | {"pays": gain.pays} for gain in found.gains]
        return say_json({"speeds": speeds, "gains": gains, "failures": found.failures})
    rows = [s._asdict() | {"MALA / products": s.mala / s.products} for s in found.speeds]
    say(rows_table(rows))
    say_lines(gain_lines(found.gains))
    say_lines([f"{name}: cannot be tried: {why}" for name, why in found.failures.items()])


def gain_lines(gains: "Iterable[Gain]") -> list[str]:
    """A line for each setting: its ratios by the number of chains, and where it pays."""
    by_setting: dict[str, list[Gain]] = {}
    for gain in gains:
        by_setting.setdefault(gain.setting, []).append(gain)
    lines = []
    for setting, found in by_setting.items():
        ratios = ", ".join(f"{gain.ratio:.2f} × at {gain.chains}" for gain in found)
        where = [str(gain.chains) for gain in found if gain.pays]
        pays = f"pays at {', '.join(where)} chains" if where else "does not pay here"
        lines.append(f"{setting}: {ratios}; {pays}")
    return lines


def told(found: "Diagnosis") -> list[tuple[str, str]]:
    """A diagnosis in words, a line for each part of it."""
    versions = dict(found.versions)
    head = f"{versions.pop('wgflow')}, Python {versions.pop('python')}"
    platform = versions.pop("platform")
    return [
        ("wgflow", f"{head}, {platform}"),
        ("packages", ", ".join(f"{n} {v or 'absent'}" for n, v in versions.items()) or "unknown"),
        ("devices", "; ".join(f"{n}: {kind}" for n, kind in found.devices.items()) or "none"),
        ("threads", _threads(found.threads)),
        ("precision", _precision(found.precision)),
        ("compiler", found.compiler or "none: a CPU runs uncompiled"),
        ("data", _data(found.data)),
        *((f"[{name}]", _extra(name, lacks)) for name, lacks in found.extras.items()),
        *(("problem", sentence) for sentence in found.problems),
    ]


def _threads(found: dict[str, Any]) -> str:
    variable = found["OMP_NUM_THREADS"] or "unset"
    return f"{found['threads']} of {found['cores']} cores; OMP_NUM_THREADS is {variable}"


def _precision(found: dict[str, Any]) -> str:
    if not found:
        return "unknown"
    pays = "pays" if found["mixed_is_fast"] else "does not pay"
    return f"{', '.join(found['available'])}; {found['mixed']} {pays} here"


def _data(found: dict[str, Any]) -> str:
    sets = ", ".join(found["fetched"]) or "nothing"
    free = f"{found['free_bytes'] / 2**30:.1f} GiB free"
    return f"{found['folder']} has {sets}; {free if found['writable'] else 'cannot be written'}"


def _extra(name: str, lacks: list[str]) -> str:
    if not lacks:
        return "complete"
    return f"lacks {', '.join(lacks)}: pip install 'wgflow[{name}]'"
