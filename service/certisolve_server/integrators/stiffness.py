"""Whether stability, and no longer the error, holds the steps of an explicit method down."""

from dataclasses import replace

from jaxtyping import Bool, Float
from torch import Tensor

from .state import State

#: Steps at the border that make a problem stiff, and steps away from it that clear the suspicion
#: (Hairer and Wanner, Solving ODEs II, 1996, IV.2, and their code DOPRI5).
_STIFF_STEPS = 15
_CALM_STEPS = 6


def observe(state: State, ratio: Float[Tensor, " batch"], counted: Bool[Tensor, " batch"]) -> State:
    """The state with the accepted steps `counted` noted.

    Args:
        state: before or after the step.
        ratio: |dt lambda| over its largest stable value, lambda being the dominant eigenvalue as
            estimated from the last two stages.
        counted: which samples accepted the step.
    """
    border = counted & (ratio > 1)
    calm = counted & ~border
    calm_steps = (state.calm_steps + calm).where(~border, 0)
    stiff_steps = (state.stiff_steps + border).where(calm_steps < _CALM_STEPS, 0)
    return replace(state, stiff_steps=stiff_steps, calm_steps=calm_steps)


def is_stiff(state: State) -> Bool[Tensor, " batch"]:
    """Which samples an implicit method would take further with less work."""
    return state.stiff_steps >= _STIFF_STEPS
