"""One rule for each ATen overload, from what is known of its operands to what is of its result.

A rule is a function that takes the arguments of the overload's schema by name, references replaced
by abstractions, and gives the abstraction of the result. It keeps the promise of `abstraction`, or
raises `Declined`. What is not listed is refused.
"""

from types import MappingProxyType

from . import (
    arithmetic,
    composed,
    contractions,
    convolution,
    creation,
    linear,
    normalization,
    order,
    padding,
    pointwise,
    pooling,
    reductions,
    resampling,
    shapes,
    softmax,
    splines,
)
from .abstraction import Abstraction as Abstraction
from .abstraction import Jacobian as Jacobian
from .abstraction import constant as constant
from .gates import may_jump as may_jump
from .rule import Declined as Declined
from .rule import Rule as Rule
from .rule import Rules as Rules

_FAMILIES: tuple[Rules, ...] = (
    arithmetic.RULES,
    composed.RULES,
    contractions.RULES,
    convolution.RULES,
    creation.RULES,
    linear.RULES,
    normalization.RULES,
    order.RULES,
    padding.RULES,
    pointwise.RULES,
    pooling.RULES,
    reductions.RULES,
    resampling.RULES,
    shapes.RULES,
    softmax.RULES,
    splines.RULES,
)

#: By overload.
RULES: Rules = MappingProxyType(
    {operator: rule for family in _FAMILIES for operator, rule in family.items()}
)

__all__ = ["RULES", "Abstraction", "Declined", "Jacobian", "Rule", "Rules", "constant", "may_jump"]
