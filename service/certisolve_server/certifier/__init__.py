"""Proven bounds of the graph that is served.

Pure: no server, no network, no clock, no randomness. Works in a notebook as in a worker.
"""
