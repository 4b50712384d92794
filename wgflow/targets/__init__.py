"""Given energies: what to sample, and what is known about it."""
