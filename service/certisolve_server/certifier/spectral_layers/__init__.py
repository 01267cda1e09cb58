"""Layers of Fourier neural operators, found in graphs."""

from .network import Source as Source
from .network import SpectralNetwork as SpectralNetwork
from .recognise import recognise as recognise
from .recognise import recognising as recognising

__all__ = ["Source", "SpectralNetwork", "recognise", "recognising"]
