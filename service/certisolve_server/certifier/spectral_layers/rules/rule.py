"""What a rule is: what an operator does to forms, up to constants."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.spectral_layers.form import Form

#: A tensor that varies, one that does not, or a number.
Operand: TypeAlias = "Form | Interval | float | int"

#: Takes the fields so far and the arguments of an overload by name. Raises `NotCertified` for what
#: would leave the structure.
Rule: TypeAlias = Callable[..., Form]

#: By overload.
Rules: TypeAlias = Mapping[str, Rule]
