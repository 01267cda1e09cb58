"""The largest value of an affine function on a region."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, gamma
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball

#: More roundings than there are in any sum here, beside its own terms.
MORE_TERMS = 64


@dataclass(frozen=True, eq=False)
class Inputs:
    """A box, or what it has in common with a ball; all inputs flattened.

    Args:
        box: (entries,).
        ball_center: (entries,), exact; None where the box is all.
        ball_radius: in `ball_norm`.
        ball_norm: without weights.
    """

    box: Interval
    ball_center: Tensor | None = None
    ball_radius: float = 0.0
    ball_norm: Norm = "linf"

    @cached_property
    def midpoint_radius(self) -> tuple[Tensor, Tensor]:
        return self.box.midpoint_radius()

    def largest(self, coefficients: Tensor) -> Tensor:
        """Of coefficients (..., entries) times x, nearly: see `error`."""
        center, radius = self.midpoint_radius
        on_box = coefficients @ center + coefficients.abs() @ radius
        if self.ball_center is None:
            return on_box
        length = torch.linalg.vector_norm(coefficients, _DUALS[self.ball_norm], dim=-1)
        return torch.minimum(on_box, coefficients @ self.ball_center + self.ball_radius * length)

    def error(self, sizes: Tensor) -> Tensor:
        """By how much `largest` may be too small, for coefficients of these sizes.

        A norm of vectors is a sum of sizes, or at most that with a square root of rounded squares.
        """
        terms = gamma(sizes.shape[-1] + MORE_TERMS)
        center, radius = self.midpoint_radius
        error = terms * (sizes @ (center.abs() + radius))
        if self.ball_center is None:
            return error
        reach = self.ball_center.abs() + self.ball_radius
        return torch.maximum(error, terms * (sizes @ reach))


_DUALS: dict[Norm, float] = {"l1": float("inf"), "l2": 2.0, "linf": 1.0}


def inputs_of(problem: Problem) -> Inputs:
    """The region of a problem.

    Raises:
        NotCertified: it is everything.
    """
    boxes = problem.require_boxes()
    box = boxes.flat().rearranged(lambda ends: ends[0])
    region = problem.region
    if not isinstance(region, Ball) or region.norm == "linf":
        return Inputs(box)
    parts = [region.center[each.name] for each in problem.graph.inputs]
    center = torch.cat([torch.as_tensor(part, dtype=torch.float64).flatten() for part in parts])
    return Inputs(box, center, region.radius, region.norm)
