"""Runs as estimators of scikit-learn: a density, and a detector of outliers."""
