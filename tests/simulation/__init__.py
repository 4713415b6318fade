"""Randomised histories over the real layer and a real PostgreSQL, with faults from a seed: `make faults N=1000 SEED=7`."""
