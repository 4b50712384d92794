"""Does a predictor matter? Evidences of logistic regressions with errors, and coefficients."""

import math

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer

import wgflow

STEPS = 40

table = load_breast_cancer(as_frame=True)
known = ["mean texture", "mean area", "mean concavity"]
candidates = ["mean smoothness", "mean fractal dimension"]


def posterior(columns):
    """Samples of the coefficients, and the log evidence of the labels with its error."""
    target = wgflow.logistic_regression(table.data[columns], table.target, prior_scale=2.0)
    settings = [f"training.steps={STEPS}"]
    run = wgflow.fit_energy(target, method="annealed-smc", particles=2000, settings=settings)
    log_z = run.target.normaliser
    return run.target.samples, log_z.value - target.start.log_z, log_z.error


_, without, error = posterior(known)
print(f"Log evidence without: {without:.2f} ± {error:.2f}")

figure = Figure(figsize=(9, 3.2), layout="constrained")
grid = torch.linspace(-4, 4, 200)
prior = torch.distributions.Normal(0.0, 2.0).log_prob(grid).exp()
for ax, name in zip(figure.subplots(1, 2, sharex=True, sharey=True), candidates, strict=True):
    w, having, other = posterior([*known, name])
    factor = having - without
    print(f"Log Bayes factor of {name}: {factor:.2f} ± {math.hypot(error, other):.2f}")
    low, high = w.quantile(w.new_tensor([0.05, 0.95]), 0)
    for row, label in enumerate(["intercept", *known, name]):
        print(f"  {label}: {w[:, row].mean():.2f}, 90% in [{low[row]:.2f}, {high[row]:.2f}]")

    ax.hist(w[:, -1].numpy(), bins=30, density=True, alpha=0.6, label="posterior")
    ax.plot(grid.numpy(), prior.numpy(), label="prior")
    ax.axvline(0, color="k", lw=0.8)
    ax.set(title=f"{name}: log Bayes factor {factor:.1f}", xlabel="coefficient")
figure.axes[0].set_ylabel("density")
figure.axes[1].legend()
figure.savefig("posterior.png", dpi=110)
