"""WGFlow: neural energy-based models learned by Wasserstein gradient flow.

The public names are imported when first asked for, so that ``wgflow --help`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wgflow._version import __version__

if TYPE_CHECKING:
    from wgflow.config import Config
    from wgflow.energy import Confined, Mixture, Rescaled, Sum, Tempered, energy_and_grad
    from wgflow.evaluation import evaluate_run
    from wgflow.nets import MLP
    from wgflow.run import Run, fit, load, resume

_HOMES = {
    "MLP": "nets",
    "Config": "config",
    "Confined": "energy",
    "Mixture": "energy",
    "Rescaled": "energy",
    "Run": "run",
    "Sum": "energy",
    "Tempered": "energy",
    "energy_and_grad": "energy",
    "evaluate_run": "evaluation",
    "fit": "run",
    "load": "run",
    "resume": "run",
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
