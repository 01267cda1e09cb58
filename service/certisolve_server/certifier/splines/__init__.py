"""Functions on the edges of Kolmogorov-Arnold networks, with their exact ranges."""

from .edges import SplineEdges as SplineEdges

__all__ = ["SplineEdges"]
