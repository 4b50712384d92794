"""Flows from noise to data and back."""
