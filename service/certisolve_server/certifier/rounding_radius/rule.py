"""What a rule of rounding is."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from .deviation import Deviation, Known
from .precision import Precision

#: Takes the precision and the arguments of an overload by name, references replaced by `Known`, and
#: gives how far its computed result may be from the exact one: what the operands' deviations come
#: to, and its own roundings. A tuple of deviations for an operator of several results.
Rule: TypeAlias = Callable[..., Deviation | tuple[Deviation, ...]]

#: By ATen overload, or name of a recognised pattern.
Rules: TypeAlias = Mapping[str, Rule]

#: A tensor, or a number of Python.
Operand: TypeAlias = Known | bool | int | float

__all__ = ["Operand", "Precision", "Rule", "Rules"]
