"""Graphs as affine maps with nonlinearities between them, each affine run fused into one."""

from .chained import chained as chained
from .fuse import fuse as fuse
from .known import TooLarge as TooLarge
from .layered import Layer as Layer
from .layered import Layered as Layered
from .problem import layers_of as layers_of
from .problem import operators_of_problem as operators_of_problem

__all__ = ["Layer", "Layered", "TooLarge", "chained", "fuse", "layers_of", "operators_of_problem"]
