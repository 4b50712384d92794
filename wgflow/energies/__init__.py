"""Energies: the one gradient in x, compositions, levels of noise, networks."""
