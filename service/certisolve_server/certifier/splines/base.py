"""w silu about points, with what is left out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .quadratics import ROUNDINGS

#: At least |silu'''|: |s'(x)| <= 1/4 times |-3 t - x/2 + 3 x t^2 / 2|, t = tanh(x / 2), which is
#: s' |x| |h| with h from -2 to 1 as in `functions.silu`, and |x| s'(x) <= 0.2240.
_THIRD_DERIVATIVE = 0.4480


class BaseJet:
    """w silu about a point: Taylor coefficients with their errors."""

    def __init__(self, jets: Sequence[tuple[Tensor, Tensor]], weight: Tensor) -> None:
        self._jets, self._weight = jets, weight

    def quadratic(self, order: int) -> tuple[Tensor, Tensor, Tensor]:
        """(a, b, c) of the derivative; what is left out is in `slack`."""
        parts = [center for center, _ in self._jets[order:]]
        zero = torch.zeros_like(parts[0])
        a, b, c = [*parts, zero, zero][:3]
        return a, b, 0.5 * c

    def slack(self, order: int, radius: Tensor) -> Tensor:
        """The errors of the coefficients, and the remainder by the third derivative."""
        errors = [error for _, error in self._jets[order:]]
        powers = [torch.ones_like(radius), radius, radius * radius]
        total = sum((e * p for e, p in zip(errors, powers, strict=False)), torch.zeros_like(radius))
        remainder = {0: radius**3 / 6.0, 1: radius * radius / 2.0, 2: radius}[order]
        return (total + _THIRD_DERIVATIVE * self._weight * remainder) * (1.0 + ROUNDINGS)
