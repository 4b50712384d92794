"""What does a density learned from points of the plane look like, and is it right?"""

import torch
from matplotlib.figure import Figure

import wgflow

STEPS = 200

config = wgflow.Config(
    data=wgflow.Data("eight-gaussians"), training=wgflow.Training(steps=STEPS, patience=None)
)
run = wgflow.fit(config, "plane")

# The density on a grid: with log Z it integrates to one.
side = torch.linspace(-6, 6, 200)
grid = torch.cartesian_prod(side, side)
density = run.log_prob(grid).exp().reshape(200, 200)
mass = float(density.sum()) * float(side[1] - side[0]) ** 2
print(f"Mass on the grid: {mass:.4f}")

# Samples, and how far they are from held-out points; the floor is what exact samples score.
x = run.sample(2000, generator=torch.Generator().manual_seed(0))
scores = wgflow.evaluate(run, samples=2000)
print(f"KL(data|model): {scores['kl']:.3f} nats")
print(f"Sliced W2: {scores['sliced_w2']:.3f}, floor {scores['sliced_w2_floor']:.3f}")

figure = Figure(figsize=(9, 3), layout="constrained")
axes = figure.subplots(1, 3, sharex=True, sharey=True)
axes[0].scatter(*run.dataset.test[:2000].numpy().T, s=1)
axes[1].pcolormesh(side.numpy(), side.numpy(), density.T.numpy())
axes[2].scatter(*x.numpy().T, s=1, color="tab:orange")
for ax, title in zip(axes, ("data", "learned density", "samples"), strict=True):
    ax.set(title=title, aspect="equal", xlim=(-6, 6), ylim=(-6, 6))
figure.savefig("plane.png", dpi=110)
