"""Graphs that look at answers and say how far they are off, exported beside the models."""
