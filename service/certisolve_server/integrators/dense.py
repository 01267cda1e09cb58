"""States between the ends of a step."""

from jaxtyping import Float
from torch import Tensor

from .state import State


def interpolate(
    state: State, t: Float[Tensor, "batch points"]
) -> Float[Tensor, "batch points state"]:
    """y(t) within the last accepted step, at times of its own for every sample.

    The cubic Hermite polynomial of both ends plus `dt s^2 (1 - s)^2 bubble`, s = (t - t_before)/dt.
    Every continuously differentiable quartic interpolant has this form, so those of Dormand-Prince
    and Tsitouras are kept as one vector; without a bubble the values are of third order (Hairer,
    Norsett, Wanner, Solving ODEs I, II.6). After a step of size 0 all values are y.

    Args:
        state: after any step; a change of method in between does no harm.
        t: in [t_before, t]. Outside the polynomial extrapolates.
    """
    size = state.t - state.t_before
    # A step of size 0 has no inside; any s will do, as y_before is y.
    s = (t - state.t_before[:, None]) / size.where(size > 0, 1.0)[:, None]
    s = s.to(state.y.dtype)[:, :, None]
    dt = size.to(state.y.dtype)[:, None, None]
    y0, y1 = state.y_before[:, None], state.y[:, None]
    f0, f1 = state.f_before[:, None], state.f[:, None]
    rest = 1 - s
    chord = y1 - y0
    return (
        y0
        + s * chord
        + s * rest * (rest * (dt * f0 - chord) + s * (chord - dt * f1))
        + dt * (s * rest) * (s * rest) * state.bubble[:, None]
    )
