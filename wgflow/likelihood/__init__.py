"""Log normalisers by annealing and quadrature, and exact answers."""
