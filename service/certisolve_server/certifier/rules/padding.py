"""Operators that put numbers around a tensor, or turn it around itself."""

from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from certisolve_server.certifier.arithmetic import Interval

from .abstraction import Abstraction
from .rule import Declined, Rules
from .shapes import move


def pad(self: Abstraction, pad: Sequence[int], mode: str, value: float | None) -> Abstraction:
    """One number around, or entries of the tensor itself (circular, reflect, replicate)."""
    if mode == "constant":
        return pad_with_number(self, pad, 0.0 if value is None else value)
    if mode not in ("circular", "reflect", "replicate"):
        raise Declined(f"pads by the unknown mode {mode!r}")
    return move(self, lambda x: functional.pad(x, list(pad), mode))


def pad_with_number(self: Abstraction, pad: Sequence[int], value: float) -> Abstraction:
    """One number around, which has no slopes (aten.constant_pad_nd)."""
    sides = list(pad)
    number = float(Interval.exact(value).lower)

    def around(fill: float, x: Tensor) -> Tensor:
        return functional.pad(x, sides, "constant", fill)

    jacobian = {
        name: block.rearranged(lambda ends: around(0.0, ends))
        for name, block in self.jacobian.items()
    }
    bounds = self.value.rearranged(lambda ends: around(number, ends))
    return Abstraction(bounds, MappingProxyType(jacobian))


def roll(self: Abstraction, shifts: Sequence[int], dims: Sequence[int]) -> Abstraction:
    """Turned around along axes."""
    return move(self, lambda x: torch.ops.aten.roll.default(x, list(shifts), list(dims)))


#: By overload.
RULES: Rules = {
    "aten.constant_pad_nd.default": pad_with_number,
    "aten.pad.default": pad,
    "aten.roll.default": roll,
}
