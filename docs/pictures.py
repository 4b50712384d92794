"""The pictures of the documentation that are computed and not measured in a benchmark.

    python docs/pictures.py                     # flow.png, masses.png and multiplier.png
    python docs/pictures.py --run runs/DIR      # particles.png, from a run of eight-gaussians

The first three belong to the page on theory: a mixture of two Gaussians on the line, where the
generator of the Langevin diffusion is a symmetric matrix on a grid and its eigenvalues give the
Fokker-Planck equation at every time, exactly in time and to second order in the grid.
"""

import argparse
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from wgflow.data.dataset import load
from wgflow.plots.style import DATA, DENSITY, FAINT, INK, MODEL, PALETTE, STYLE, png

HERE = Path(__file__).parent
Array = np.ndarray


class Line(NamedTuple):
    """A density p on a grid, and the eigenpairs of -L_p in L²(p): λ ≥ 0, and functions f."""

    x: Array
    p: Array
    eigenvalues: Array
    functions: Array

    @property
    def dx(self) -> float:
        return float(self.x[1] - self.x[0])

    def expect(self, values: Array, density: Array) -> float:
        return float((values * density).sum() * self.dx)

    def flow(self, rho: Array, time: float) -> Array:
        """The Fokker-Planck equation from ρ for a time: Σ e^{-λt} <ρ/p, f> f, times p."""
        parts = self.functions.T @ (rho * self.dx)
        return self.p * (self.functions @ (np.exp(-self.eigenvalues * time) * parts))

    def entropy(self, rho: Array) -> float:
        """KL(ρ‖p), in nats."""
        return self.expect(np.log(rho / self.p), rho)

    def dissipation(self, rho: Array) -> float:
        """E_ρ|∇ log(ρ/p)|², the relative Fisher information."""
        slope = np.diff(np.log(rho / self.p)) / self.dx
        return float((slope**2 * (rho[1:] + rho[:-1]) / 2).sum() * self.dx)


def gaussian(x: Array, mean: float, deviation: float) -> Array:
    return np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))


def mixture(x: Array, left: float, *, apart: float = 2.0, deviation: float = 0.5) -> Array:
    """Two modes at ∓`apart`, with mass `left` in the first."""
    return left * gaussian(x, -apart, deviation) + (1 - left) * gaussian(x, apart, deviation)


def line(left: float = 0.25, *, size: int = 601, apart: float = 2.0) -> Line:
    """The mixture with its generator: nearest neighbours exchange √(p_i p_j)/dx²."""
    x = np.linspace(-apart - 3, apart + 3, size)
    p = mixture(x, left, apart=apart)
    p /= p.sum() * (x[1] - x[0])
    rates = np.diag(np.sqrt(p[1:] * p[:-1]), 1) / (x[1] - x[0]) ** 2
    rates = rates + rates.T
    generator = (np.diag(rates.sum(1)) - rates) / np.sqrt(np.outer(p, p))
    eigenvalues, vectors = np.linalg.eigh(generator)
    functions = vectors / np.sqrt(p * (x[1] - x[0]))[:, None]
    return Line(x, p, eigenvalues.clip(min=0), functions)


def panels(count: int, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9.6, height))
    return figure, list(figure.subplots(1, count))


@rc_context(STYLE)
def flow() -> Figure:
    """The flow from one wide Gaussian: fast inside the modes, slow between them."""
    chain = line()
    start = gaussian(chain.x, 0, 1.5)
    start /= start.sum() * chain.dx
    figure, (left, right) = panels(2)
    left.fill_between(chain.x, chain.p, color=DATA, alpha=0.2, lw=0, label="$p_d$")
    for time, color in zip((0, 0.03, 0.3, 3), ("#f1c4ac", "#e89a72", MODEL, INK), strict=True):
        left.plot(chain.x, chain.flow(start, time), color=color, label=f"t = {time}")
    left.set(title="density", xlabel="x", xlim=(-4.5, 4.5), ylim=(0, 0.7))
    left.legend()
    times = np.geomspace(1e-3, 2e4, 120)
    flows = [chain.flow(start, t) for t in times]
    right.loglog(times, [chain.entropy(rho) for rho in flows], color=MODEL)
    right.loglog(times, [chain.dissipation(rho) for rho in flows], color=DATA)
    right.text(2e-3, 0.4, "entropy F", color=MODEL)
    right.text(0.3, 8, "dissipation -dF/dt", color=DATA)
    right.set(title="the same over time, in nats", xlabel="t", ylim=(1e-7, 1e2))
    return figure


@rc_context(STYLE)
def masses() -> Figure:
    """What global and local measures say about a wrong mass of the left mode."""
    chain = line()
    shares = np.linspace(0.02, 0.98, 97)
    figure, (left, right) = panels(2)
    densities = [mixture(chain.x, m) for m in shares]
    densities = [rho / (rho.sum() * chain.dx) for rho in densities]
    entropy = np.array([chain.entropy(rho) for rho in densities])
    after = np.array([chain.entropy(chain.flow(rho, 0.1)) for rho in densities])
    left.plot(shares, entropy, color=MODEL, label="KL")
    left.plot(shares, entropy - after, color=DATA, label="its change in a Langevin time of 0.1")
    left.set(title="two modes at ∓2, in nats", xlabel="mass of the left mode")
    left.legend()
    gaps = np.linspace(0.5, 3, 26)
    for share, color in zip((0.1, 0.5, 0.75), PALETTE, strict=False):
        ratios = []
        for apart in gaps:
            other = line(size=201, apart=apart)
            rho = mixture(other.x, share, apart=apart)
            rho /= rho.sum() * other.dx
            ratios.append(other.dissipation(rho) / other.entropy(rho))
        right.semilogy(2 * gaps, ratios, color=color, label=f"mass {share} instead of 0.25")
    right.set(title="dissipation / entropy", xlabel="distance of the modes")
    right.legend()
    return figure


def proximal_step(chain: Line, rho: Array, h: float) -> Array:
    """The density after one exact step: Newton's method on the forward form, ψ on the grid."""
    psi, dx = np.zeros_like(rho), chain.dx
    edges = (rho[1:] + rho[:-1]) / 2 / dx
    cost = np.diag(np.r_[edges, 0] + np.r_[0, edges]) - np.diag(edges, 1) - np.diag(edges, -1)
    for _ in range(8):
        tilted = rho * np.exp(-psi)
        q = tilted / tilted.sum()
        slope = chain.p * dx - q + h * cost @ psi
        curvature = np.diag(q) - np.outer(q, q) + h * cost
        psi = psi - np.linalg.lstsq(curvature, slope, rcond=1e-14)[0]
    tilted = rho * np.exp(-psi)
    return tilted / (tilted.sum() * dx)


@rc_context(STYLE)
def multiplier() -> Figure:
    """What one step leaves of an error, by its eigenvalue: formula, and steps on the grid."""
    chain = line(size=241, apart=1.5)
    figure, (left, right) = panels(2)
    eigenvalues = np.geomspace(1e-3, 1e3, 200)
    for h, color in zip((0.01, 0.1, 1.0), PALETTE, strict=False):
        factor = h * eigenvalues / (1 + h * eigenvalues)
        left.semilogx(eigenvalues, factor, color=color, label=f"h = {h}")
        for k in (1, 2, 3, 5, 8, 12):
            f = chain.functions[:, k]
            u = np.clip(0.02 * f / np.abs(f * np.sqrt(chain.p)).max(), -0.9, 0.9)
            rest = proximal_step(chain, chain.p * (1 + u), h) / chain.p - 1
            kept = chain.expect(rest * f, chain.p) / chain.expect(u * f, chain.p)
            left.plot(chain.eigenvalues[k], kept, "o", ms=4, color=color)
    left.set(title="error left by one step", xlabel="eigenvalue λ", ylim=(-0.03, 1.03))
    left.legend()
    for k, color in zip((1, 2, 8), PALETTE[2:], strict=False):
        f = chain.functions[:, k] * np.sign(chain.functions[-1, k])
        label = f"λ = {chain.eigenvalues[k]:.2g}"
        right.plot(chain.x, f * np.sqrt(chain.p), color=color, label=label)
    right.fill_between(chain.x, chain.p, color=FAINT, alpha=0.25, lw=0)
    right.set(title="eigenfunctions × √p, and p", xlabel="x", xlim=(-3.5, 3.5))
    right.legend()
    return figure


@rc_context({**STYLE, "axes.titleweight": "normal"})
def particles(run: Path) -> Figure:
    """Particles of a run of eight Gaussians on their way, over the density of the data."""
    stored = np.load(run / "frames.npz")
    steps, x = stored["step"], stored["x"]
    target = load("eight-gaussians", seed=0).target
    assert target is not None
    extent = (-6.2, 6.2, -6.2, 6.2)
    side = np.linspace(*extent[:2], 200)
    nodes = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    density = target.log_prob(torch.from_numpy(nodes)).exp().reshape(200, 200)
    figure = Figure(figsize=(10, 2.0))
    for axes, step in zip(figure.subplots(1, 6), (0, 9, 37, 105, 249, 700), strict=True):
        k = int(np.abs(steps - step).argmin())
        axes.imshow(density, cmap=DENSITY, vmax=3 * density.max(), extent=extent, origin="lower")
        axes.plot(*x[k].T, ".", ms=1.6, color=MODEL, alpha=0.7)
        axes.set(title=f"step {steps[k]}", xticks=[], yticks=[], xlim=extent[:2], ylim=extent[:2])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of a run of eight-gaussians")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    if options.run:
        (options.out / "particles.png").write_bytes(png(particles(options.run)))
        return
    for draw in (flow, masses, multiplier):
        picture = Image.open(io.BytesIO(png(draw())))
        picture.quantize(64).save(options.out / f"{draw.__name__}.png", optimize=True)


if __name__ == "__main__":
    main()
