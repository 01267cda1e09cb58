"""What a rule is, and how it says no."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

#: Takes the arguments of an overload by name, and gives an abstraction, or a tuple of them for an
#: operator of several results.
Rule: TypeAlias = Callable[..., Any]

#: By ATen overload, or name of a recognised pattern.
Rules: TypeAlias = Mapping[str, Rule]


class Declined(Exception):
    """A rule does not hold for these arguments; the interpreter adds the operator and the node."""
