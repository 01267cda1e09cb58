"""A step of any explicit Runge-Kutta method."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .integrator import Trial
from .rowwise import norm, weighted_sum
from .state import VectorField
from .tableau import Row, Tableau


@dataclass(frozen=True)
class ExplicitRungeKutta:
    """The method of a tableau, evaluated in float order by elementwise operations."""

    tableau: Tableau

    @property
    def evaluations(self) -> int:
        """Evaluations in a step: the first slope is known, the one at the end is not."""
        return len(self.tableau.b)

    def __call__(
        self,
        field: VectorField,
        t: Float[Tensor, " batch"],
        y: Float[Tensor, "batch state"],
        f: Float[Tensor, "batch state"],
        dt: Float[Tensor, " batch"],
    ) -> Trial:
        """Where a step of size dt leads."""
        tableau, step = self.tableau, dt.to(y.dtype)[:, None]
        slopes, stage = [f], y
        for c, row in zip(tableau.c[1:], tableau.a, strict=True):
            stage = y + step * _combine(row, slopes)
            slopes.append(field((t + float(c) * dt).to(y.dtype), stage))
        end = y + step * _combine(tableau.b, slopes)
        slopes.append(field((t + dt).to(y.dtype), end))
        return Trial(
            y=end,
            f=slopes[-1],
            bubble=_combine(tableau.bubble, slopes) if tableau.bubble else torch.zeros_like(y),
            error=step * _combine(tableau.error, slopes) if tableau.error else None,
            stiffness=_stiffness(tableau, dt, slopes, end - stage),
        )


def _combine(row: Row, slopes: Sequence[Tensor]) -> Tensor:
    return weighted_sum([float(weight) for weight in row], slopes)


def _stiffness(
    tableau: Tableau, dt: Tensor, slopes: Sequence[Tensor], apart: Tensor
) -> Float[Tensor, " batch"] | None:
    """Estimate dt |k' - k| / |y' - y| of the last two arguments, over its stable value."""
    if tableau.stable is None:
        return None
    change = (slopes[-1] - slopes[-2]).detach()
    ratio = dt * norm(change) / (norm(apart.detach()) * tableau.stable)
    return ratio.nan_to_num(nan=0.0, posinf=0.0)
