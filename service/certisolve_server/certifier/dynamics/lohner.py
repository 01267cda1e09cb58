"""How sets of differences move through many steps, without being wrapped into boxes each time.

A trajectory from c + xi, |xi| <= rho, stands at u(t) + C xi + c_0 + Q e with |e| <= E (|xi|, 1),
where C, c_0 and the orthogonal Q are floats and E is a matrix of sizes (Lohner, 1987, section 3;
Zgliczynski, "C1-Lohner algorithm", 2002). A step with the transition matrix A + D, |D| <= R, and
the defect g + r gives

    C' = A C,   Q' from the QR decomposition of A Q,
    E' = |Q'^-1 A Q| E + |Q'^-1| (R (|C| + |Q| E) + r + roundings).

Columns do not depend on each other, so C +- |Q| E holds the matrix that maps the difference of any
two points of the set to that of where their trajectories are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certisolve_server.certifier.arithmetic import gamma

Floats = NDArray[np.float64]

#: What the roundings of a sum of products of sizes are paid by, up to 2^20 of them.
RAISED = 1.0 + 2.0**-30

#: More than what underflows.
_UNDERFLOW = 2.0**-800

#: Of Q^T Q - I: more is no orthogonal matrix.
_LARGEST_DEFECT = 1e-8


@dataclass(frozen=True, eq=False)
class Step:
    """One step of many sets.

    Args:
        center: (sets, n, n), A.
        radius: (sets, n, n), R.
        excess: (sets, n, n), at least |P - I| of every part of the step.
        defect: (sets, n), g.
        defect_radius: (sets, n), r, and the integral of |P - I| |d| with it.
        defect_within: (sets, n), at least |d| h.
    """

    center: Floats
    radius: Floats
    excess: Floats
    defect: Floats
    defect_radius: Floats
    defect_within: Floats


class Sets:
    """Sets of trajectories beside their courses, at a time.

    Arguments:
        radius: (sets, n), rho: of the boxes that they begin in.

    Attributes:
        centers: (sets, n, n + 1), C and c_0.
        basis: (sets, n, n), Q.
        sizes: (sets, n, n + 1), E.
    """

    def __init__(self, radius: Floats) -> None:
        count, size = radius.shape
        self.centers = np.broadcast_to(np.eye(size, size + 1), (count, size, size + 1)).copy()
        self.basis = np.broadcast_to(np.eye(size), (count, size, size)).copy()
        self.sizes = np.zeros((count, size, size + 1))
        #: |xi|, and 1 for what does not depend on it.
        self._extent = np.concatenate([radius, np.ones((count, 1))], 1)[..., None]

    def reach(self) -> Floats:
        """(sets, n): at least how far a trajectory is from its course."""
        reach: Floats = (np.abs(self.centers) + self._spread()) @ self._extent
        return reach[..., 0] * RAISED

    def reach_within(self, step: Step) -> Floats:
        """(sets, n): as `reach`, until the step is over.

        |d(t)| <= |d| + integral of N |d| + |defect| gives |d(t)| <= exp(h N) (|d| + h |defect|),
        as long as N holds, which is where the tube is; so a tube that is wider is never left.
        """
        start = self.reach() + step.defect_within
        return (start + (step.excess @ start[..., None])[..., 0]) * RAISED

    def advance(self, step: Step) -> None:
        """To the end of a step."""
        size = self.basis.shape[-1]
        unit = gamma(3 * size + 8)
        magnitude = np.abs(step.center)
        sources = np.abs(self.centers) + self._spread()
        added = step.radius @ sources + unit * (magnitude @ np.abs(self.centers))
        added[..., -1] += step.defect_radius
        self.centers = step.center @ self.centers
        self.centers[..., -1] += step.defect
        # The sum is rounded once more.
        added[..., -1] += unit * np.abs(self.centers[..., -1])
        moved = step.center @ self.basis
        basis = _orthogonal(moved, (self.sizes @ self._extent)[..., 0])
        inverse, slack = _inverse(basis)
        mixed = magnitude @ np.abs(self.basis)
        through = np.abs(basis.mT @ moved) + (unit * np.abs(basis.mT) + slack) @ mixed
        sizes = through @ self.sizes + inverse @ added
        self.sizes, self.basis = sizes * RAISED + _UNDERFLOW, basis

    def matrices(self) -> tuple[Floats, Floats]:
        """Center and radius, (sets, n, n) each, of the matrices that differences are mapped by."""
        return self.centers[..., :-1], self._spread()[..., :-1]

    def _spread(self) -> Floats:
        spread: Floats = np.abs(self.basis) @ self.sizes * RAISED
        return spread


def _orthogonal(moved: Floats, sizes: Floats) -> Floats:
    """Q of the columns, the longest sides of the parallelepiped first; I where that fails."""
    lengths = np.linalg.norm(moved, axis=-2) * sizes
    order = np.argsort(-lengths, axis=-1)
    sides = np.take_along_axis(moved, order[:, None, :], axis=-1)
    usable = np.isfinite(sides).all((-2, -1), keepdims=True)
    identity = np.eye(moved.shape[-1])
    basis: Floats = np.linalg.qr(np.where(usable, sides, identity))[0]
    defect = np.abs(basis.mT @ basis - identity).sum(-1).max(-1)[:, None, None]
    return np.where(defect <= 0.5 * _LARGEST_DEFECT, basis, identity)


def _inverse(basis: Floats) -> tuple[Floats, Floats]:
    """(at least |Q^-1|, at least |Q^-1 - Q^T|), of matrices that `_orthogonal` gave.

    Q^-1 = (I + D)^-1 Q^T with D = Q^T Q - I, and (I + D)^-1 - I has rows of sums up to d / (1 - d)
    where those of D are up to d < 1.
    """
    size = basis.shape[-1]
    sizes = np.abs(basis)
    defect = np.abs(basis.mT @ basis - np.eye(size)) + gamma(size + 2) * (sizes.mT @ sizes + 1.0)
    row = defect.sum(-1).max(-1)[:, None, None] * RAISED
    # At most _LARGEST_DEFECT plus roundings, so 1 / (1 - d) is less than 1.001.
    apart = row * 1.001 * sizes.max((-2, -1), keepdims=True) * RAISED
    slack = np.broadcast_to(apart, basis.shape)
    return sizes.mT + slack, slack
