"""A first step for a sample of which nothing is known."""

import torch
from jaxtyping import Float
from torch import Tensor

from .rowwise import norm, power
from .state import State, VectorField

#: Below this, states and slopes say nothing about the scale of time.
_NOTHING = 1e-5


def initial_step(field: VectorField, state: State, k: int) -> Float[Tensor, " batch"]:
    """A step with an error of about a hundredth of the scale, from one explicit Euler step.

    Hairer, Norsett, Wanner, Solving ODEs I (1993), II.4, "Starting step size".

    Args:
        field: evaluated once.
        state: with t, y, f and tolerances.
        k: order of the local error.
    """
    y, f = state.y.detach(), state.f.detach()
    scale = state.atol[:, None] + state.rtol[:, None] * y.abs().double()
    size, slope = norm(y.double() / scale), norm(f.double() / scale)
    left = state.t_end - state.t
    small = (size < _NOTHING) | (slope < _NOTHING)
    first = torch.where(small, 1e-6, 0.01 * size / slope).clamp(max=left)
    ahead = y + first.to(y.dtype)[:, None] * f
    change = field((state.t + first).to(y.dtype), ahead).detach() - f
    curvature = norm(change.double() / scale) / first
    steepest = torch.maximum(slope, curvature)
    second = power(0.01 / steepest, 1 / k)
    second = torch.where(steepest <= 1e-15, (1e-3 * first).clamp(min=1e-6), second)
    found = torch.minimum(100 * first, second)
    # Where the Euler step led to nothing, the cautious first guess has to do.
    return torch.where(torch.isfinite(found) & (found > 0), found, first).clamp(max=left)
