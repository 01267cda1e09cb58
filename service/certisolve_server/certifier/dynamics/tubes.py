"""Tubes: where all trajectories from a box are, and matrices that map their differences.

Beside the course u(t) of a box, d(t) = x(t) - u(t) solves d' = M(t) d + (f(u) - u') with M(t) among
the slopes of f on any box that holds both. So a tube u +- b is assumed, slopes are enclosed on it,
and `lohner` says how far trajectories then get from u: where that is less than b at all times, no
trajectory is the first to leave, and the assumption was right. If it is not, a wider one is tried.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import product_up, sum_up
from certisolve_server.certifier.errors import NotCertified

from .courses import course
from .defects import Defects, defects
from .fields import Field
from .lohner import RAISED, Floats, Sets, Step
from .transitions import LARGEST, transitions

#: By how much a tube is wider than where trajectories got in the one before, attempt by attempt.
_WIDENED = (1.1, 1.1, 1.2, 1.3, 1.5, 1.5, 2.0)

#: Of the largest number in it: what a tube is wider than a point for.
_LEAST_WIDTH = 1e-12

#: Of the same: wider tubes are given up.
_WIDEST = 10.0

#: Trajectories that leave a tube by so much leave the next one as well.
_HOPELESS = 3.0

#: Of the uncertainty of slopes: a step that has more of it by itself is too long.
_COARSE = 0.5

#: Steps between pauses.
_PAUSE = 256


@dataclass(frozen=True, eq=False)
class Tube:
    """Of many boxes: where their trajectories are.

    Args:
        proven: (boxes,), whether the tube holds them; of the others nothing else is proven.
        matrices: (boxes, n, n), how differences are mapped from the beginning to the end.
        slopes: (boxes, N, n, n), of the field on each step of the tube.
        ends: (boxes, n), where trajectories end.
        coarse: (boxes,), whether slopes vary within a step as much as they do across the tube, or
            there is no bound of a step at all: then shorter steps help more than smaller boxes.
    """

    proven: Tensor
    matrices: Interval
    slopes: Interval
    ends: Interval
    coarse: Tensor


def tube(field: Field, boxes: Interval, duration: float, steps: int) -> Generator[None, None, Tube]:
    """A tube for each box; pauses where a slice of the work is over.

    Args:
        field: dx/dt.
        boxes: (boxes, n), where trajectories begin.
        duration: T.
        steps: N, a power of 2.

    Raises:
        NotCertified: there is no bound of the field or of its slopes near a course.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    centers = boxes.midpoint_radius()[0].clamp(boxes.lower, boxes.upper)
    radius = torch.maximum(sum_up(boxes.upper, -centers), sum_up(centers, -boxes.lower))
    path = course(field, centers, duration, steps)
    usable = (path.points.isfinite() & path.slopes.isfinite()).all(-1).all(-1)
    if not bool(usable.all()):
        raise NotCertified("a trajectory leaves all bounds in floats")
    yield
    missed = yield from defects(field, path)
    scale = 1.0 + float(path.points.abs().amax())
    least, widest = _LEAST_WIDTH * scale, _WIDEST * scale
    slopes, assumed, start = missed.slopes, torch.zeros_like(missed.largest), widest
    for widened in (*_WIDENED, None):
        walked = yield from _walk(radius, slopes, missed, path.dt)
        # False of NaN.
        held = (walked.reached < assumed).all(-1).all(-1)
        limit = torch.full_like(assumed, widest).minimum(_HOPELESS * assumed + start)
        open_ended = ~held & (walked.reached < limit).all(-1).all(-1)
        if widened is None or not bool(open_ended.any()):
            break
        wanted = torch.where(held[:, None, None], assumed, widened * walked.reached + least)
        assumed = torch.where(wanted < 2.0 * widest, wanted, least)
        slopes = yield from field.slopes(missed.around + Interval(-assumed, assumed))
        start = 0.0
    ends = Interval.exact(path.points[:, -1]) + _between(walked.reach)
    return Tube(held, walked.matrices, slopes, ends, _coarse(missed.slopes, slopes, path.dt))


@dataclass(frozen=True, eq=False)
class _Walked:
    """What came of a tube's assumption.

    Args:
        reached: (boxes, N, n), how far trajectories get from their course within each step.
        reach: (boxes, n), how far they are at the end.
        matrices: as in `Tube`.
    """

    reached: Tensor
    reach: Tensor
    matrices: Interval


def _walk(
    radius: Tensor, slopes: Interval, missed: Defects, dt: float
) -> Generator[None, None, _Walked]:
    parts = transitions(slopes, dt)
    within = product_up(missed.largest, torch.tensor(dt, dtype=torch.float64))
    defect, spread = missed.integral.midpoint_radius()
    # The integral of |P - I| |d| over a step.
    turned = (parts.excess @ within.unsqueeze(-1)).squeeze(-1) * RAISED
    arrays = [
        each.numpy()
        for each in (
            parts.center,
            parts.radius,
            parts.excess,
            defect,
            (spread + turned) * RAISED,
            within,
        )
    ]
    sets, reached = Sets(radius.numpy()), []
    for k in range(slopes.shape[1]):
        step = Step(*(array[:, k] for array in arrays))
        # Overflow and NaN prove nothing, and need no warning.
        with np.errstate(all="ignore"):
            reached.append(sets.reach_within(step))
            sets.advance(step)
        if k % _PAUSE == _PAUSE - 1:
            yield
    with np.errstate(all="ignore"):
        center, around = sets.matrices()
        reach = sets.reach()
    return _Walked(
        torch.from_numpy(np.stack(reached, 1)), torch.from_numpy(reach), _ball(center, around)
    )


def _coarse(within: Interval, across: Interval, dt: float) -> Tensor:
    """By the sums of what entries are uncertain by."""
    sums = [each.midpoint_radius()[1].sum((-3, -2, -1)) for each in (within, across)]
    too_long = dt * within.magnitude.sum(-1).amax((-2, -1)) > LARGEST
    # Where the tube is without bound, so may be the course; comparisons with NaN are false.
    return too_long | (sums[0] > _COARSE * sums[1])


def _ball(center: Floats, radius: Floats) -> Interval:
    """Everything where one of them is NaN or infinite."""
    c, r = torch.from_numpy(center.copy()), torch.from_numpy(radius)
    known = c.isfinite() & r.isfinite()
    return Interval.ball(torch.where(known, c, 0.0), torch.where(known, r, torch.inf))


def _between(radius: Tensor) -> Interval:
    known = torch.where(radius.isfinite(), radius, torch.inf)
    return Interval(-known, known)
