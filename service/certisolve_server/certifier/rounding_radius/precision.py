"""The floats that a program is executed in, and how well its functions are computed in them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

#: Errors of library functions in ulps, the largest of those documented for float32 by SLEEF (its
#: versions u10 and u35, which torch calls on vectors), by the GNU C library and by CUDA (C++
#: Programming Guide, section on mathematical functions). Twice as many are counted.
ULPS: Mapping[str, float] = MappingProxyType(
    {
        "cos": 4.0,
        "exp": 2.0,
        # A quicker one of torch, on vectors.
        "exponential of a sum": 20.0,
        "expm1": 2.0,
        "log": 2.0,
        "log1p": 2.0,
        "power": 9.0,
        "rsqrt": 2.0,
        "sin": 4.0,
        "sqrt": 1.0,
        "tanh": 2.0,
    }
)

#: Results below the normal numbers may be taken for 0, as may what they are computed from.
_FLUSHES = 1024.0


@dataclass(frozen=True)
class Precision:
    """Binary floats rounded to nearest.

    Args:
        dtype: in torch.
        unit_roundoff: u.
        smallest: the least normal number.
        largest: the largest finite one.
    """

    dtype: torch.dtype
    unit_roundoff: float
    smallest: float
    largest: float

    @property
    def absolute(self) -> float:
        """What an operation on single numbers may lose to underflow, with factors below 2^10."""
        return _FLUSHES * self.smallest

    def gamma(self, roundings: int) -> float:
        """At least n u / (1 - n u) (Higham, Accuracy and Stability, lemma 3.1).

        Raises:
            ValueError: there are so many that nothing is known of the result.
        """
        share = roundings * self.unit_roundoff
        if not share < 0.5:
            raise ValueError(f"{roundings} roundings leave nothing of {self.dtype}")
        return math.nextafter(share / math.nextafter(1.0 - share, 0.0), math.inf)

    def of_library(self, name: str) -> float:
        """The relative error of a function: twice its ulps, each of at most 2 u."""
        return 4.0 * ULPS[name] * self.unit_roundoff

    def holds(self, value: float) -> bool:
        """Whether the number is one of these floats."""
        return math.isfinite(value) and bool(
            torch.tensor(value, dtype=torch.float64).to(self.dtype).double() == value
        )

    def of_number(self, value: float) -> float:
        """How far a number of Python is from the float that it becomes.

        Raises:
            ValueError: it becomes none that is finite.
        """
        if not abs(value) <= self.largest:
            raise ValueError(f"{value} is no float of {self.dtype}")
        if self.holds(value) and not 0.0 < abs(value) < self.smallest:
            return 0.0
        return abs(value) * 2.0 * self.unit_roundoff + self.smallest

    def of_constants(self, values: Tensor) -> Tensor:
        """How far each number is from the float that it becomes."""
        held = values.to(self.dtype).double() == values
        return torch.where(held, 0.0, values.abs() * (2.0 * self.unit_roundoff) + self.smallest)

    def require_range(self, sizes: Tensor) -> None:
        """Returns if no partial sum of terms overflows whose sizes add up to these.

        Raises:
            ValueError: one may. What it was rounded by, gamma times the size, is below the half.
        """
        # False of NaN.
        if not bool((sizes <= self.largest / 2.0).all()):
            raise ValueError("a sum may overflow on its way")


def _precision(dtype: torch.dtype) -> Precision:
    limits = torch.finfo(dtype)
    return Precision(dtype, limits.eps / 2.0, limits.tiny, limits.max)


FLOAT32 = _precision(torch.float32)
FLOAT64 = _precision(torch.float64)
