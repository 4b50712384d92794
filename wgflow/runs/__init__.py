"""A run: learn it, load it, evaluate it, combine it with others."""
