"""Architectures, reference solvers, training and export of the bundled models."""
