"""Real members of intervals as exact rationals, and floats of the kinds that break arithmetic."""

from fractions import Fraction

import torch
from hypothesis import strategies as st
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

LARGEST = torch.finfo(torch.float64).max

#: Zeros of both signs, subnormal, tiny, ordinary, cancelling and overflowing numbers.
adversarial_floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-8.0, 8.0),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, 1e-160, 1.0, -1.0, 1e16, LARGEST]),
)


@st.composite
def intervals(draw, size: int = 6, floats=adversarial_floats, bounded: bool = False) -> Interval:
    """Intervals of some elements: points, narrow and wide ones, and some without an end."""
    first = torch.tensor(draw(st.lists(floats, min_size=size, max_size=size)), dtype=torch.float64)
    if draw(st.booleans()):
        return Interval.exact(first)
    other = torch.tensor(draw(st.lists(floats, min_size=size, max_size=size)), dtype=torch.float64)
    lower, upper = torch.minimum(first, other), torch.maximum(first, other)
    if not bounded and draw(st.booleans()):
        lower[draw(st.integers(0, size - 1))] = -torch.inf
        upper[draw(st.integers(0, size - 1))] = torch.inf
    return Interval(lower, upper)


def members(lower: float, upper: float) -> list[Fraction]:
    """Some real numbers from `lower` to `upper`, both included where they are numbers."""
    low = Fraction(max(lower, -LARGEST))
    high = Fraction(min(upper, LARGEST))
    inside = [low, high, low + (high - low) / 3, low + (high - low) * Fraction(99, 100)]
    beyond = [Fraction(2) ** 2000] if upper == torch.inf else []
    below = [-(Fraction(2) ** 2000)] if lower == -torch.inf else []
    zero = [Fraction(0)] if low <= 0 <= high else []
    return inside + beyond + below + zero


def elements(x: Interval) -> list[tuple[float, float]]:
    """The ends of each element, in the order of memory."""
    return list(zip(x.lower.flatten().tolist(), x.upper.flatten().tolist(), strict=True))


def is_inside(value: Fraction, ends: tuple[float, float]) -> bool:
    """Whether a real number lies between two floats; no rounding."""
    return ends[0] <= value <= ends[1]


def fractions(values: Tensor) -> list[Fraction]:
    """Finite floats as the rationals they are."""
    return [Fraction(value) for value in values.flatten().tolist()]
