"""Complex numbers as pairs of real ones."""

import torch
from torch import Tensor


def as_pairs(tensor: Tensor) -> Tensor:
    """A complex tensor as a real one of real and imaginary parts, (*shape, 2)."""
    return torch.view_as_real(tensor.resolve_conj())
