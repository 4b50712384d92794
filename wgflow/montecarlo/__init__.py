"""Monte Carlo methods: from a given energy to samples and ``log Z``."""
