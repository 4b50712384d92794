"""What could the hidden half of an image be? New digits, and completions of their halves."""

import torch
from matplotlib.figure import Figure

import wgflow
from wgflow.runs.uses import mask

STEPS = 20

run = wgflow.from_pretrained("mnist")
generator = torch.Generator().manual_seed(0)
x = run.sample(4, steps=STEPS, generator=generator)

hidden = mask(run, "right")
chains = wgflow.Chains(draws=4, burn_in=STEPS, steps=STEPS)
filled = wgflow.inpaint(run, x, hidden, chains=chains, generator=generator)
print("Completions:", tuple(filled.shape))
kept = (filled - x[:, None])[..., ~hidden[0]].abs().max()
print(f"Largest change of what is known: {float(kept):.1g}")
spread = filled.std(1)[..., hidden[0]].mean()
print(f"Mean deviation of what is not: {float(spread):.2f}")

figure = Figure(figsize=(6, 6), layout="constrained")
for ax, image in zip(
    figure.subplots(4, 6).flat,
    torch.cat([x[:, None], x[:, None] * ~hidden, filled], 1).flatten(0, 1),
    strict=True,
):
    ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
    ax.set_axis_off()
figure.savefig("images.png", dpi=110)
