"""Settings of estimators that learn for a moment."""

SMALL = (
    'energy={kind="mlp", width=8, depth=1, features=4}',
    'scheme={kind="near-proximal", dynamics={kind="population", size=32, held_out=32}}',
    'dtype="float64"',
    "training.batch_size=16",
)
