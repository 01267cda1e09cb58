"""Bounds of flows: of all of space from bounded slopes, of boxes from tubes."""

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.norms import Norms

from .fields import Field
from .growth import Weights, growth
from .tubes import Tube, tube

#: Numbers of a walk over the graph that fill a slice: boxes times steps.
_AT_A_TIME = 16384


def still(norms: Norms, size: int) -> float:
    """Of a flow of no duration, which is the identity."""
    return float(norms.bound(Interval.exact(torch.eye(size, dtype=torch.float64))))


def everywhere(field: Field, duration: float, norms: Norms, weights: Weights) -> float:
    """Of a flow between any two points, from slopes that hold everywhere.

    If they are bounded, trajectories exist for all times.

    Raises:
        NotCertified: slopes have no bound, or the flow none.
    """
    slopes = field.slopes_everywhere()
    if not bool((slopes.lower.isfinite() & slopes.upper.isfinite()).all()):
        raise NotCertified("the slopes of the field have no bound on all of space")
    once = slopes.rearranged(lambda ends: ends.unsqueeze(0))
    bound = float(growth(once, duration, norms, weights))
    if not bound < math.inf:
        raise NotCertified("differences may grow beyond all floats")
    return bound


def of_tube(found: Tube, dt: float, norms: Norms, weights: Weights) -> Tensor:
    """(boxes,): the least of what matrices and rates of growth prove; inf without a tube."""
    usable = torch.where(found.proven, 1.0, math.inf)
    finite = found.matrices.magnitude.isfinite().all(-1).all(-1)
    matrices = found.matrices.rearranged(lambda ends: torch.where(finite[:, None, None], ends, 0.0))
    by_matrices = torch.where(finite, norms.bound(matrices), math.inf)
    by_rates = growth(found.slopes, dt, norms, weights)
    # True only of numbers: where one is NaN, the other holds.
    by_matrices = by_matrices.nan_to_num(nan=math.inf, posinf=math.inf)
    by_rates = by_rates.nan_to_num(nan=math.inf, posinf=math.inf)
    return torch.minimum(by_matrices, by_rates) * usable


def on_boxes(
    field: Field,
    boxes: Sequence[tuple[Tensor, Tensor]],
    duration: float,
    steps: int,
    norms: Norms,
    weights: Weights,
) -> Generator[None, None, list[tuple[float, Tube, int]]]:
    """A bound for each box, with its tube and its place there; pauses where a slice is over.

    Raises:
        NotCertified: there is no bound of the field or of its slopes near a course.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    results: list[tuple[float, Tube, int]] = []
    most = max(1, _AT_A_TIME // steps)
    for start in range(0, len(boxes), most):
        some = boxes[start : start + most]
        sides = Interval(*(torch.stack(ends) for ends in zip(*some, strict=True)))
        found = yield from tube(field, sides, duration, steps)
        bounds = of_tube(found, duration / steps, norms, weights)
        results.extend((bound, found, place) for place, bound in enumerate(bounds.tolist()))
        yield
    return results
