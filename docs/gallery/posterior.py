"""Does a predictor matter? Two logistic regressions, with a column and without, by their evidence."""

from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer

import wgflow

PARTICLES = 4000
STEPS = 100

table = load_breast_cancer(as_frame=True)
malignant = 1 - table.target
candidates = ("mean concavity", "mean symmetry")
base = ["mean texture", "mean area"]


def posterior(columns):
    """Samples of the coefficients and log Z; the start is the prior, N(0, 4 I)."""
    target = wgflow.logistic_regression(table.data[columns], malignant, prior_scale=2.0)
    run = wgflow.fit_energy(
        target,
        out=f"run-{len(columns)}-{columns[-1].replace(' ', '-')}",
        method="annealed-smc",
        particles=PARTICLES,
        settings=[f"training.steps={STEPS}"],
    )
    log_z = run.target.normaliser
    evidence = [bound - target.start.log_z for bound in (log_z.value, log_z.lower, log_z.upper)]
    return run.target.samples.numpy(), evidence


_, (without, lower, upper) = posterior(base)
draws = {}
for column in candidates:
    draws[column], (value, low, high) = posterior([*base, column])
    factor = value - without
    print(
        f"Log Bayes factor of {column}: {factor:.2f}, from {low - upper:.2f} to {high - lower:.2f}"
    )
    w = draws[column][:, -1]
    print(f"Its coefficient: {w.mean():.2f}, deviation {w.std():.2f}")

figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots(1, 2, sharey=True)
for ax, (column, w) in zip(axes, draws.items(), strict=True):
    ax.hexbin(w[:, 2], w[:, 3], gridsize=40, mincnt=1, cmap="Blues")
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(title=f"with {column}", xlabel="coefficient of mean area")
axes[0].set_ylabel("coefficient of the column")
figure.savefig("posterior.png", dpi=110)
