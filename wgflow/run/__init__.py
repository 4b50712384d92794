"""Runs: learn from a configuration into a folder, go on after a stop, load what was learned."""

from wgflow.run.fitting import fit, resume
from wgflow.run.learned import Run
from wgflow.run.stored import load, publish, read_config
from wgflow.runner import Diverged, Interrupted, Listener

__all__ = [
    "Diverged",
    "Interrupted",
    "Listener",
    "Run",
    "fit",
    "load",
    "publish",
    "read_config",
    "resume",
]
