"""Kolmogorov-Arnold networks: sums of learned splines on the edges of a network."""
