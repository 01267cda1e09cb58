"""Graphs executed in plain floats: what searches work with, and what rounding is measured from."""

from .plain import Executable as Executable
from .plain import Execution as Execution
from .plain import Replacements as Replacements

__all__ = ["Executable", "Execution", "Replacements"]
