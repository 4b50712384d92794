"""Digests of what runs compute: recorded before a change, compared after it.

    python -m benchmarks.digests record before.json
    python -m benchmarks.digests check before.json

Digests depend on the processor and on the version of PyTorch, so a record serves on the machine
that made it. Everything runs on one thread. ``--only`` takes the beginnings of names of cases.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import wgflow
from wgflow.config import build
from wgflow.energies.noise_levels import At
from wgflow.flows.log_z import log_z
from wgflow.runs.compose import compose

Digests = dict[str, str]

SMALL_UNET = {"kind": "unet", "widths": [8, 16], "blocks": 1, "head": "distance"}
SMALL_NOISY = {"kind": "noisy-unet", "widths": [8, 16], "blocks": 1, "principal": 8}


def digest(x: torch.Tensor | np.ndarray) -> str:
    """Of the shape, the type and the bytes of an array."""
    a = np.ascontiguousarray(x.detach().numpy() if isinstance(x, torch.Tensor) else x)
    head = f"{a.shape}{a.dtype}".encode()
    return hashlib.sha256(head + a.tobytes()).hexdigest()[:24]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def of_run(run: wgflow.Run) -> Digests:
    """Of parameters, particles, samples and energies."""
    found = {f"parameter.{k}": v for k, v in enumerate(run.energy.energy.parameters())}
    for name in ("particles", "held_out"):
        if (particles := getattr(run, name)) is not None:
            found |= {f"{name}.x": particles.x, f"{name}.weight": particles.log_weight}
            found[f"{name}.log_z"] = particles.log_z
    found["energy"] = run.energy(run.dataset.test[:64])
    return {name: digest(x) for name, x in found.items()}


def fitted(folder: Path, table: dict, name: str = "run") -> wgflow.Run:
    return wgflow.fit(build(table), folder / name)


def plane(folder: Path) -> Digests:
    """Default runs in the plane."""
    found = {}
    for name in ("eight-gaussians", "moons", "checkerboard"):
        run = fitted(folder, {"data": {"name": name}, "training": {"steps": 100}}, name)
        x = run.sample(500, generator=seeded())
        own = of_run(run) | {"sample": digest(x), "log_prob": digest(run.log_prob(x))}
        found |= {f"{name}.{k}": v for k, v in own.items()}
    return found


def schemes(folder: Path) -> Digests:
    """Other schemes, dynamics and samplers, a few steps each."""
    cases = {
        "reverse": {"kind": "near-proximal", "form": "reverse", "envelope": "inner-descent"},
        "gradient-norm": {"kind": "gradient-norm", "dynamics": {"sampler": "underdamped"}},
        "cd": {"kind": "maximum-likelihood", "dynamics": {"kind": "from-data", "life": 3}},
        "short-run": {"kind": "maximum-likelihood", "dynamics": {"kind": "from-noise"}},
        "hmc": {"kind": "maximum-likelihood", "dynamics": {"sampler": "hmc", "reaction": False}},
        "matching": {"kind": "energy-matching"},
        "joint": {"kind": "joint"},
    }
    found = {}
    for name, scheme in cases.items():
        table = {"data": {"name": "rings"}, "scheme": scheme, "training": {"steps": 12}}
        run = fitted(folder, table, name)
        own = of_run(run) | {"sample": digest(run.sample(100, generator=seeded()))}
        found |= {f"{name}.{k}": v for k, v in own.items()}
    product = compose([wgflow.load(folder / n) for n in ("reverse", "cd")], temperature=1.5)
    return found | {"product": digest(product.sample(100, generator=seeded()))}


def digits(folder: Path) -> Digests:
    """Digits: the recipe, then the three phases of images in small networks."""
    settings = {
        "data": {"name": "digits"},
        "energy": {"frequency": 0.5},
        "scheme": {"dynamics": {"steps": 10, "size": 1024, "held_out": 1024}},
        "training": {"steps": 20, "batch_size": 256, "weight_decay": 1.0},
    }
    run = fitted(folder, settings, "recipe")
    found = {f"recipe.{k}": v for k, v in of_run(run).items()}
    found["recipe.sample"] = digest(run.sample(50, generator=seeded()))
    optimizer = {"optimizer": "muon", "steps": 12, "batch_size": 32, "clip": 500.0}
    data = {"name": "digits", "scaling": "range"}
    first = fitted(
        folder,
        {"data": data, "energy": SMALL_UNET, "scheme": "energy-matching", "training": optimizer},
        "matched",
    )
    noisy = {"data": data | {"smoothing": 0.05}, "energy": SMALL_NOISY, "training": optimizer}
    second = fitted(
        folder, noisy | {"scheme": "dual-score-matching", "init": str(first.path)}, "density"
    )
    dynamics = {"kind": "from-data", "life": 4, "settle": 5, "noisy": True, "steps": 3}
    dynamics["sampler"] = {"kind": "crank-nicolson", "width": 0.05, "step_size": 6.25e-4}
    balance = {"kind": "detailed-balance", "dynamics": dynamics}
    joint = {"kind": "joint", "transport": "dual-score-matching", "equilibrium": balance}
    third = fitted(folder, noisy | {"scheme": joint, "init": str(second.path)}, "equilibrium")
    for run in (first, second, third):
        name = run.path.name
        own = of_run(run) | {"sample": digest(run.sample(6, generator=seeded(1)))}
        errors = run.reconstruction_error(run.dataset.test[:6], generator=seeded(2))
        way = torch.stack(list(run.trajectory(2, generator=seeded(3), steps=5)))
        own |= {"reconstruction": digest(errors), "trajectory": digest(way)}
        found |= {f"{name}.{k}": v for k, v in own.items()}
        found |= {f"{name}.{k}": v for k, v in uses(run.path, folder).items()}
    inner, levels = second.energy.energy, second.config.energy.noise_levels
    z = log_z(inner, levels, torch.zeros(4, 1, 8, 8), steps=20, generator=seeded())
    return found | {"density.log_z": str(tuple(z))}


def uses(run: Path | str, folder: Path, *, labels: str = "3,5") -> Digests:
    """What the verbs write about a run."""
    common = ("--json",)
    verbs = {
        "sample": ("-n", "3", "--seed", "5"),
        "sample-stochastic": ("-n", "2", "--stochastic", "--steps", "6"),
        "inpaint": (
            "-n",
            "2",
            "--draws",
            "2",
            "--approach",
            "20",
            "--steps",
            "4",
            "--mask",
            "top",
        ),
        "inpaint-noise": ("-n", "1", "--draws", "2", "--start", "noise", "--steps", "4"),
        "denoise": ("-n", "2", "--noise", "0.1", "--steps", "5", "--burn-in", "2"),
        "interpolate": ("-n", "1", "--points", "4", "--steps", "4"),
        "sample-class": ("-n", "1", "--class", labels, "--steps", "6"),
        "sample-guided": ("-n", "2", "--class", "3", "--class-guidance", "2", "--steps", "6"),
    }
    found = {}
    for name, options in verbs.items():
        out = folder / f"{name}.npy"
        out.unlink(missing_ok=True)
        verb = name.split("-")[0]
        command = [verb, str(run), *options, "--out", str(out)]
        done = subprocess.run(
            [sys.executable, "-m", "wgflow", *command, *common], capture_output=True, text=True
        )
        found[name] = digest(np.load(out)) if out.exists() else f"refused {done.returncode}"
    command = ["ood", str(run), "digits" if isinstance(run, Path) else "mnist", "-n", "6"]
    done = subprocess.run(
        [sys.executable, "-m", "wgflow", *command, *common], capture_output=True, text=True
    )
    areas = json.loads(done.stdout)["auroc"]
    return found | {"ood": str([[v["value"] for v in row.values()] for row in areas.values()])}


def pretrained(folder: Path) -> Digests:
    """The energies that come along; of test images where the data were fetched."""
    found = {}
    for name in ("mnist", "fashion-mnist"):
        run = wgflow.load(name)
        x = run.sample(4, generator=seeded())
        test = run.dataset.test[:4]
        inner = run.energy.energy
        z = log_z(inner, run.flow.levels, 2 * x - 1, steps=6, generator=seeded())
        way = torch.stack(list(run.trajectory(1, generator=seeded(3), steps=3)))
        own = {
            "sample": digest(x),
            "energy": digest(run.energy(test)),
            "level": digest(At(inner, 1.0)(2 * test - 1)),
            "log_z": str(tuple(z)),
            "reconstruction": digest(run.reconstruction_error(test, generator=seeded(1))),
            "trajectory": digest(way),
        }
        found |= {f"{name}.{k}": v for k, v in (own | uses(name, folder)).items()}
    return found


def resumed(folder: Path) -> Digests:
    """A run that is killed once it has a checkpoint, and resumed, beside one that is not."""
    command = [sys.executable, "-m", "wgflow", "train", "moons", "--no-report", "--steps", "60"]
    command += ["--set", "training.checkpoint_every=20", "--json", "--out"]
    subprocess.run([*command, str(folder / "whole")], check=True, capture_output=True)
    killed = subprocess.Popen([*command, str(folder / "killed")], stdout=subprocess.DEVNULL)
    metrics = folder / "killed" / "metrics.jsonl"
    while killed.poll() is None and len(_lines(metrics)) < 30:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wgflow.resume(folder / "killed")
    found = {}
    for name in ("whole", "killed"):
        run = wgflow.load(folder / name)
        own = of_run(run) | {"sample": digest(run.sample(100, generator=seeded()))}
        found |= {f"{name}.{k}": v for k, v in own.items()}
    for name, value in list(found.items()):
        if name.startswith("whole."):
            found[name.replace("whole", "same")] = str(value == found["killed" + name[5:]])
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


CASES: dict[str, Callable[[Path], Digests]] = {
    "plane": plane,
    "schemes": schemes,
    "resumed": resumed,
    "digits": digits,
    "pretrained": pretrained,
}


def computed(only: list[str]) -> Iterator[tuple[str, str]]:
    for name, case in CASES.items():
        if only and not any(name.startswith(o) for o in only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = time.time()
            yield from ((f"{name}.{key}", value) for key, value in case(Path(folder)).items())
            print(f"{name}: {time.time() - began:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("record", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="*", default=[], choices=list(CASES))
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    before = json.loads(asked.file.read_text()) if asked.file.exists() else {}
    found = dict(computed(asked.only))
    if asked.verb == "record":
        asked.file.write_text(json.dumps(before | found, indent=1) + "\n")
        return
    changed = [name for name, value in found.items() if before.get(name) != value]
    for name in changed:
        print(f"{name}: was {before.get(name)}, is {found[name]}")
    print(f"{len(found) - len(changed)} of {len(found)} digests are the same.")
    raise SystemExit(bool(changed))


if __name__ == "__main__":
    main()
