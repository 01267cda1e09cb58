"""Operators that jump, or whose result is no number that could be differentiated.

Refused by name, so that the message says what is wrong. Continuous pieces of a graph that are made
of gates are recognised as a whole (see `graph.splines`) before anything is refused.
"""

_JUMPING = """
    argmax argmin argsort bitwise_and bitwise_not bitwise_or bitwise_xor bucketize ceil copysign
    count_nonzero eq equal fix floor floor_divide fmod frac ge greater greater_equal gt hardshrink
    heaviside histc isclose isfinite isinf isnan le less less_equal logical_and logical_not
    logical_or logical_xor lt masked_fill masked_scatter mode ne nextafter nonzero not_equal
    one_hot remainder round searchsorted sgn sign signbit sort threshold topk trunc unique where
    __and__ __or__ __xor__
    """
_NAMES = frozenset(_JUMPING.split())


def may_jump(operator: str) -> bool:
    """Whether an operator without a rule is one that is known to be discontinuous."""
    parts = operator.split(".")
    return (
        parts[0] == "aten" and parts[1].removesuffix("_") in _NAMES
    ) or operator == "python.where"
