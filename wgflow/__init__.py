"""WGFlow: neural energy-based models learned by Wasserstein gradient flow.

Every public name is imported when it is first used, so that ``wgflow --help`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wgflow._version import __version__

if TYPE_CHECKING:
    from wgflow.config import Config as Config, Data as Data, Training as Training
    from wgflow.config.recipes import configure as configure
    from wgflow.data.arrays import write_points as write_points
    from wgflow.data.batches import Batches as Batches
    from wgflow.energies.base import (
        Mixture as Mixture,
        Rescaled as Rescaled,
        Sum as Sum,
        Tempered as Tempered,
        energy_and_grad as energy_and_grad,
    )
    from wgflow.energies.confined import Confined as Confined
    from wgflow.energies.mlp import MLP as MLP, MLPSpec as MLPSpec
    from wgflow.energies.noise_mlp import NoiseMLPSpec as NoiseMLPSpec
    from wgflow.energies.noise_unet import NoisyUNetSpec as NoisyUNetSpec
    from wgflow.energies.own_module import OwnModuleSpec as OwnModuleSpec
    from wgflow.energies.unet import ResNetSpec as ResNetSpec, UNetSpec as UNetSpec
    from wgflow.estimators.density import EnergyDensity as EnergyDensity
    from wgflow.estimators.outliers import EnergyOutlier as EnergyOutlier
    from wgflow.flows import Flow as Flow, HeatFlow as HeatFlow, MatchedPath as MatchedPath
    from wgflow.machine.bench import bench as bench
    from wgflow.machine.doctor import doctor as doctor
    from wgflow.metrics.alarms import Alarm as Alarm, alarms as alarms
    from wgflow.report.card import push_to_hub as push_to_hub
    from wgflow.report.comparison import compare_report as compare_report
    from wgflow.report.finish import finish as finish
    from wgflow.report.page import write_report as write_report
    from wgflow.runs.classes import sample_classes as sample_classes
    from wgflow.runs.compose import compose as compose
    from wgflow.runs.evaluate import evaluate as evaluate
    from wgflow.runs.filling import fill as fill
    from wgflow.runs.fit import fit as fit, resume as resume
    from wgflow.runs.given import fit_energy as fit_energy, resume_energy as resume_energy
    from wgflow.runs.hub import from_pretrained as from_pretrained
    from wgflow.runs.load import load as load, publish as publish
    from wgflow.runs.outliers import ood as ood
    from wgflow.runs.rows import score_rows as score_rows
    from wgflow.runs.run import Run as Run
    from wgflow.runs.sampling import Classes as Classes
    from wgflow.runs.summaries import compare as compare, list_runs as list_runs
    from wgflow.runs.uses import (
        Chains as Chains,
        denoise as denoise,
        inpaint as inpaint,
        interpolate as interpolate,
    )
    from wgflow.samplers import (
        HMC as HMC,
        MALA as MALA,
        ULA as ULA,
        CrankNicolson as CrankNicolson,
        Independence as Independence,
        Sampler as Sampler,
        Travel as Travel,
        Underdamped as Underdamped,
        sample as sample,
    )
    from wgflow.schemes import (
        AcrossLevels as AcrossLevels,
        DetailedBalance as DetailedBalance,
        DualScoreMatching as DualScoreMatching,
        EnergyMatching as EnergyMatching,
        FirstOrder as FirstOrder,
        Forward as Forward,
        FromData as FromData,
        FromNoise as FromNoise,
        FromReference as FromReference,
        GradientNorm as GradientNorm,
        InnerDescent as InnerDescent,
        Joint as Joint,
        MaximumLikelihood as MaximumLikelihood,
        NearProximal as NearProximal,
        Population as Population,
        Reverse as Reverse,
        Scheme as Scheme,
    )
    from wgflow.targets.base import Modes as Modes, TargetEnergy as TargetEnergy
    from wgflow.targets.checks import check_target as check_target
    from wgflow.targets.external import target_of as target_of
    from wgflow.targets.regression import logistic_regression as logistic_regression
    from wgflow.targets.symmetry import ParticleSystem as ParticleSystem
    from wgflow.tasks.conditional import ConditionalDensity as ConditionalDensity
    from wgflow.training.loop import train as train

_NAMES = {
    "config": "Config Data Training",
    "config.recipes": "configure",
    "data.arrays": "write_points",
    "data.batches": "Batches",
    "energies.base": "Mixture Rescaled Sum Tempered energy_and_grad",
    "energies.confined": "Confined",
    "energies.mlp": "MLP MLPSpec",
    "energies.noise_mlp": "NoiseMLPSpec",
    "energies.noise_unet": "NoisyUNetSpec",
    "energies.own_module": "OwnModuleSpec",
    "energies.unet": "ResNetSpec UNetSpec",
    "estimators.density": "EnergyDensity",
    "estimators.outliers": "EnergyOutlier",
    "flows": "Flow HeatFlow MatchedPath",
    "machine.bench": "bench",
    "machine.doctor": "doctor",
    "metrics.alarms": "Alarm alarms",
    "report.card": "push_to_hub",
    "report.comparison": "compare_report",
    "report.finish": "finish",
    "report.page": "write_report",
    "runs.classes": "sample_classes",
    "runs.compose": "compose",
    "runs.evaluate": "evaluate",
    "runs.filling": "fill",
    "runs.fit": "fit resume",
    "runs.given": "fit_energy resume_energy",
    "runs.hub": "from_pretrained",
    "runs.load": "load publish",
    "runs.rows": "score_rows",
    "runs.run": "Run",
    "runs.sampling": "Classes",
    "runs.summaries": "compare list_runs",
    "runs.outliers": "ood",
    "runs.uses": "Chains denoise inpaint interpolate",
    "samplers": "HMC MALA ULA CrankNicolson Independence Sampler Travel Underdamped sample",
    "schemes": "AcrossLevels DetailedBalance DualScoreMatching EnergyMatching FirstOrder Forward "
    "FromData FromNoise FromReference GradientNorm InnerDescent Joint MaximumLikelihood "
    "NearProximal Population Reverse Scheme",
    "targets.base": "Modes TargetEnergy",
    "targets.checks": "check_target",
    "targets.external": "target_of",
    "targets.regression": "logistic_regression",
    "targets.symmetry": "ParticleSystem",
    "tasks.conditional": "ConditionalDensity",
    "training.loop": "train",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]

if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'wgflow' has no attribute {name!r}")
        return getattr(import_module(f"wgflow.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
