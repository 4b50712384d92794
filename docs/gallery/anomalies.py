"""Which rows of a table are unlike the others? Cells of tumours, from benign ones alone."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import wgflow

STEPS = 60

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
benign, malignant = X[y == 1], X[y == 0]
train, others = train_test_split(benign, test_size=0.4, random_state=0)
held_out, unseen = train_test_split(others, test_size=0.5, random_state=0)

# One class is all that an outlier detector sees.
energy = wgflow.EnergyOutlier(steps=STEPS, random_state=0).fit(train)
forest = IsolationForest(random_state=0).fit(train)

truth = [0] * len(unseen) + [1] * len(malignant)
for name, model in (("energy", energy), ("isolation forest", forest)):
    scores = [*-model.score_samples(unseen), *-model.score_samples(malignant)]
    print(f"AUROC of the {name}: {roc_auc_score(truth, scores):.3f}")

# A line that one benign row in twenty is beyond: drawn at rows that nothing was learned from.
line = np.quantile(energy.score_samples(held_out), 0.05)
print(f"Benign rows beyond it: {(energy.score_samples(unseen) < line).mean():.1%}")
print(f"Malignant rows beyond it: {(energy.score_samples(malignant) < line).mean():.1%}")
