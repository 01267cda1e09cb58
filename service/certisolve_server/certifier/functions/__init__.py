"""Nonlinearities, one per file, each with proven enclosures of its values and of its slopes."""

from .function import BinaryFunction as BinaryFunction
from .function import Function as Function
from .function import JointFunction as JointFunction
from .registry import all_binary_functions as all_binary_functions
from .registry import all_functions as all_functions
from .registry import find as find
from .registry import find_binary as find_binary

__all__ = [
    "BinaryFunction",
    "Function",
    "JointFunction",
    "all_binary_functions",
    "all_functions",
    "find",
    "find_binary",
]
