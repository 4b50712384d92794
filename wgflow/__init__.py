"""WGFlow: neural energy-based models learned by Wasserstein gradient flow.

The public names are imported when first asked for, so that ``wgflow --help`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wgflow._version import __version__

if TYPE_CHECKING:
    from wgflow.config import Config
    from wgflow.energies.base import Confined, Mixture, Rescaled, Sum, Tempered, energy_and_grad
    from wgflow.energies.mlp import MLP
    from wgflow.runs.evaluate import evaluate_run
    from wgflow.runs.fit import fit, resume
    from wgflow.runs.load import load
    from wgflow.runs.run import Run

_HOMES = {
    "MLP": "energies.mlp",
    "Config": "config",
    "Confined": "energies.base",
    "Mixture": "energies.base",
    "Rescaled": "energies.base",
    "Run": "runs.run",
    "Sum": "energies.base",
    "Tempered": "energies.base",
    "energy_and_grad": "energies.base",
    "evaluate_run": "runs.evaluate",
    "fit": "runs.fit",
    "load": "runs.load",
    "resume": "runs.fit",
}

__all__ = [
    "MLP",
    "Config",
    "Confined",
    "Mixture",
    "Rescaled",
    "Run",
    "Sum",
    "Tempered",
    "__version__",
    "energy_and_grad",
    "evaluate_run",
    "fit",
    "load",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wgflow' has no attribute {name!r}")
    return getattr(import_module(f"wgflow.{_HOMES[name]}"), name)
