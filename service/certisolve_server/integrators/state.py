"""Where a batch of integrations stands: a value, one row per sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: The right-hand side of dy/dt = f(t, y): (batch,) and (batch, state) to (batch, state), each row
#: by itself; both in the dtype of y.
VectorField = Callable[[Tensor, Tensor], Tensor]


class Status(IntEnum):
    """How the integration of a sample stands."""

    RUNNING = 0
    #: `t` is `t_end`.
    FINISHED = 1
    #: The next state would not be finite; `t` and `y` are the last good ones.
    DIVERGED = 2
    #: The tolerance asks for a step that the time cannot resolve.
    DT_UNDERFLOW = 3
    #: `max_steps` were tried, accepted or not.
    MAX_STEPS = 4


@dataclass(frozen=True)
class State:
    """Time, state and step control of every sample, and its last accepted step.

    Nothing is shared between rows: rows join, leave and change places between any two steps.
    Times and control are float64, whatever the dtype of the states.
    """

    t: Float[Tensor, " batch"]
    y: Float[Tensor, "batch state"]
    #: f(t, y), which the last step ended with and the next begins with.
    f: Float[Tensor, "batch state"]
    #: Size of the next step to try.
    dt: Float[Tensor, " batch"]
    t_end: Float[Tensor, " batch"]
    #: An error of `atol + rtol |y|`, root mean square over the components, is accepted.
    rtol: Float[Tensor, " batch"]
    atol: Float[Tensor, " batch"]
    max_steps: Int[Tensor, " batch"]
    status: Int[Tensor, " batch"]
    #: Errors of the last two accepted steps in units of the tolerance, the last one first.
    errors: Float[Tensor, "batch 2"]
    #: Whether the last step that was tried was rejected.
    retrying: Bool[Tensor, " batch"]
    #: Where the last accepted step began, for values in between.
    t_before: Float[Tensor, " batch"]
    y_before: Float[Tensor, "batch state"]
    f_before: Float[Tensor, "batch state"]
    #: What the method's interpolant adds to the cubic one (see `dense`).
    bubble: Float[Tensor, "batch state"]
    accepted: Int[Tensor, " batch"]
    rejected: Int[Tensor, " batch"]
    #: Evaluations of the vector field; Jacobians are counted apart.
    nfe: Int[Tensor, " batch"]
    jacobians: Int[Tensor, " batch"]
    #: Steps in a row at the border of stability, and away from it (see `stiffness`).
    stiff_steps: Int[Tensor, " batch"]
    calm_steps: Int[Tensor, " batch"]

    @property
    def running(self) -> Bool[Tensor, " batch"]:
        """Which samples the next step advances."""
        return self.status == Status.RUNNING

    def take(self, rows: Int[Tensor, " taken"]) -> Self:
        """The state of these rows alone, in this order."""
        return self._each(lambda name: getattr(self, name)[rows])

    def put(self, rows: Int[Tensor, " put"], other: Self) -> Self:
        """The state with `other`'s rows in the places `rows`: slots that are given anew."""
        return self._each(
            lambda name: getattr(self, name).index_copy(0, rows, getattr(other, name))
        )

    def join(self, others: Sequence[Self]) -> Self:
        """The state followed by the rows of others."""
        parts = (self, *others)
        return self._each(lambda name: torch.cat([getattr(part, name) for part in parts]))

    def _each(self, value: Callable[[str], Tensor]) -> Self:
        return replace(self, **{field.name: value(field.name) for field in fields(self)})


def at_rest(
    field: VectorField,
    y: Float[Tensor, "batch state"],
    t: Float[Tensor, " batch"],
    t_end: Float[Tensor, " batch"],
    rtol: Float[Tensor, " batch"] | float,
    atol: Float[Tensor, " batch"] | float,
    max_steps: int,
) -> State:
    """The state before the first step, whose size is yet to be found.

    Samples that are at their end, or not finite, do not run.
    """
    f = field(t.to(y.dtype), y)
    zero = torch.zeros_like(t, dtype=torch.long)
    finite = (torch.isfinite(y) & torch.isfinite(f)).all(dim=1)
    status = zero.where(t < t_end, int(Status.FINISHED)).where(finite, int(Status.DIVERGED))
    return State(
        t=t,
        y=y,
        f=f,
        dt=torch.zeros_like(t),
        t_end=t_end,
        rtol=torch.zeros_like(t) + rtol,
        atol=torch.zeros_like(t) + atol,
        max_steps=zero + max_steps,
        status=status,
        errors=torch.ones_like(t)[:, None].repeat(1, 2),
        retrying=torch.zeros_like(t, dtype=torch.bool),
        t_before=t,
        y_before=y,
        f_before=f,
        bubble=torch.zeros_like(y),
        accepted=zero,
        rejected=zero,
        nfe=zero + 1,
        jacobians=zero,
        stiff_steps=zero,
        calm_steps=zero,
    )
