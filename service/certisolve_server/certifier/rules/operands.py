"""What a rule is called with: abstractions, numbers and lists, each checked for what it must be."""

import numpy as np

from certisolve_server.certifier.arithmetic import Interval

from .abstraction import Abstraction, constant

#: A tensor, or a number of Python that stands for the real it is.
Operand = Abstraction | bool | int | float


def as_abstraction(operand: Operand) -> Abstraction:
    """A tensor of the graph, or a number as a tensor without axes.

    Raises:
        NotABound: an integer that float64 does not hold, or an infinite number.
    """
    return operand if isinstance(operand, Abstraction) else constant(Interval.exact(operand))


def broadcast_shape(*operands: Abstraction) -> tuple[int, ...]:
    """The shape that operands of an entrywise operation have together."""
    return tuple(np.broadcast_shapes(*(each.shape for each in operands)))
