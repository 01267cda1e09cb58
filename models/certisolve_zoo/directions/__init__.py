"""Learned search directions for linear systems: operator, network, iteration, training data."""
