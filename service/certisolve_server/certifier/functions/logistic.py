"""s(x) = 1 / (1 + e^-x) at floats."""

import torch
from torch import Tensor

#: For |x| up to this, neither s(x) nor s(-x) underflows.
NEAR = 700.0

#: Of s(x), of s(-x) and of a product of both, relative: the library's exponential is off by at
#: most 8 ulps (see `arithmetic.rounding`), or 2^-49, and the few operations after it by 2^-53 each.
ERROR = 2.0**-46


def logistic(x: Tensor) -> tuple[Tensor, Tensor]:
    """s(x) and s(-x), each with its own small relative error, for |x| up to `NEAR`."""
    decay = torch.exp(-x.abs())
    large = 1.0 / (1.0 + decay)
    small = decay * large
    is_positive = x >= 0
    return torch.where(is_positive, large, small), torch.where(is_positive, small, large)
