"""The configuration of a run: frozen records, and the same as a table and as TOML."""

from wgflow.config.schema import DTYPES, MIXED, Config, Data, Training
from wgflow.config.toml import KINDS, build, dumps, loads, override, parse, to_table

__all__ = [
    "DTYPES",
    "KINDS",
    "MIXED",
    "Config",
    "Data",
    "Training",
    "build",
    "dumps",
    "loads",
    "override",
    "parse",
    "to_table",
]
