"""What is likely, given what is known? Some columns of a table of wines, given others."""

import torch
from sklearn.datasets import load_wine

import wgflow

STEPS = 60

wines = load_wine(as_frame=True).data[["alcohol", "color_intensity", "hue", "proline"]]
wines.to_csv("wines.csv", index=False)
config = wgflow.configure("wines.csv", None, f"training.steps={STEPS}")
run = wgflow.fit(config, "wines")

generator = torch.Generator().manual_seed(0)
for alcohol in (12.0, 14.0):
    p = run.conditional({"alcohol": alcohol})
    draws = p.sample(500, generator=generator)
    told = [f"{n} {m:.3g} ± {s:.2g}" for n, m, s in zip(p.columns, draws.mean(0), draws.std(0))]
    print(f"Given alcohol {alcohol}: {', '.join(told)}")

# With two columns left the density is normalised by quadrature.
p = run.conditional({"alcohol": 14.0, "hue": 1.0})
typical, odd = torch.tensor([[5.5, 1100.0]]), torch.tensor([[5.5, 400.0]])
ratio = float((p.log_prob(typical) - p.log_prob(odd)).exp())
print(f"A proline of 1100 is {ratio:.3g} times as likely as one of 400.")
