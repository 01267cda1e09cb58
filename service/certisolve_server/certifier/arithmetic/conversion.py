"""Numbers and tensors as float64 on the CPU: exactly, or not at all."""

import torch
from torch import Tensor

from .errors import NotABound
from .rounding import Numbers

_EXACT_INTEGERS = 1 << 53


def exactly(values: Tensor | float) -> Numbers:
    """Finite numbers as float64, or NotABound."""
    numbers = in_float64(values)
    if not bool(numbers.isfinite().all()):
        raise NotABound("exact numbers are finite, and one is infinite or NaN")
    return numbers


def in_float64(values: Tensor | float) -> Numbers:
    """Numbers as float64, or NotABound where that would round."""
    if isinstance(values, int) and abs(values) > _EXACT_INTEGERS:
        raise NotABound(f"float64 does not hold {values}")
    if isinstance(values, int | float):
        return torch.tensor(values, dtype=torch.float64)
    if not isinstance(values, Tensor):
        # Of a list or a fraction torch would round what it cannot hold, without a word.
        raise TypeError(f"exact operands are tensors, floats and integers, not {type(values)}")
    if values.is_complex():
        raise NotABound("bounds are of real numbers; bound both parts of complex ones")
    is_small = values.is_floating_point() or values.numel() == 0
    if not is_small and max(int(values.max()), -int(values.min())) > _EXACT_INTEGERS:
        raise NotABound("float64 does not hold every integer above 2^53")
    return values.detach().to(device="cpu", dtype=torch.float64)
