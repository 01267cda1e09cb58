"""What operators do to forms, up to constants: one function for each overload.

Each takes the arguments of the schema by name, forms where a tensor varies and intervals where it
does not, and refuses what would leave the structure.
"""

from types import MappingProxyType

from . import arithmetic, contractions, moves
from .rule import Rules as Rules

#: By overload.
RULES: Rules = MappingProxyType({**arithmetic.RULES, **contractions.RULES, **moves.RULES})

__all__ = ["RULES", "Rules"]
