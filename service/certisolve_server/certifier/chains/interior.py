"""The best multipliers of a chain, by a primal-dual interior point method.

Over all weights w with F(w) > 0 the cost is least where X F = 0 for an X >= 0 with <F_k, X> =
cost_k, F_k = e_k e_k^T - v_k v_k^T. Newton's method for X F = t I, t falling to 0, in the direction
of Helmberg, Rendl, Vanderbei and Wolkowicz (SIAM J. Optim. 6, 1996), with Mehrotra's predictor and
corrector: the system of weights has the elements <F_k, X F_l F^{-1}>, which are those of X and
F^{-1} times each other in the coordinates of e and v; a few products of matrices, whatever the
number of weights. Nothing here proves anything.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .program import Program

# How far X is from t F^{-1} at the start: too small an X blocks the first steps.
_DUAL_START = 30.0

_MOST_STEPS = 60
_SHRINK = 0.8
_LEAST_LENGTH = 1e-6
_KEPT_LENGTH = 0.95


def solve(program: Program, start: Numbers, gap: float) -> Iterator[Numbers | None]:
    """Better weights after each step, and None in between, until they are best but for the gap.

    Args:
        program: the semidefinite program.
        start: weights with F > 0.
        gap: of the cost, relative to it, at which to stop.
    """
    at = _iterate(program, start, None)
    while at is not None and at.step < _MOST_STEPS:
        at = yield from _following(program, at)
        if at is None:
            return
        yield at.weights
        if at.gap < gap:
            return


@dataclass(frozen=True, eq=False)
class _Iterate:
    """Weights, F and F^{-1}, X, and how many steps it took.

    The gap is that of the cost and of what X lacks, relative to the cost.
    """

    weights: Numbers
    primal: Numbers
    inverse: Numbers
    dual: Numbers
    step: int
    gap: float


@dataclass(frozen=True, eq=False)
class _Form:
    """A symmetric matrix in the coordinates of e and v: e^T M e, v^T M e, v^T M v."""

    own: Numbers
    mixed: Numbers
    inner: Numbers

    @classmethod
    def of(cls, program: Program, matrix: Numbers) -> "_Form":
        mixed = program.reach @ matrix[..., : program.linked, :]
        return cls(matrix, mixed, mixed[..., : program.linked] @ program.reach.mT)

    def products(self, program: Program) -> Numbers:
        """<F_k, M> of each weight."""
        rows = self.own.diagonal(dim1=-2, dim2=-1).clone()
        rows[..., program.bent] -= self.inner.diagonal(dim1=-2, dim2=-1)
        return program.summed(rows.reshape(-1, program.size).sum(0))

    def system(self, program: Program, other: "_Form") -> Numbers:
        """<F_k, M F_l N> of all pairs of weights."""
        rows, mixed = self.own * other.own, self.mixed * other.mixed
        rows[..., program.bent, :] -= mixed
        rows[..., :, program.bent] -= mixed.mT
        rows[..., program.bent, program.bent] += self.inner * other.inner
        summed = rows.reshape(-1, program.size, program.size).sum(0)
        return program.summed(program.summed(summed).mT)


def _iterate(
    program: Program, weights: Numbers, dual: Numbers | None, step: int = 0, lacking: float = 1.0
) -> _Iterate | None:
    """None where F is not positive definite."""
    primal = program.inequality(weights)
    factor, failed = torch.linalg.cholesky_ex(primal)
    if bool(failed.any()) or not bool(factor.isfinite().all()):
        return None
    inverse = torch.cholesky_inverse(factor)
    cost = float(program.cost @ weights)
    if dual is None:
        dual = (_DUAL_START * cost / (program.size * program.blocks)) * inverse
    gap = float((dual * primal).sum()) / cost
    return _Iterate(weights, primal, inverse, dual, step, max(gap, lacking))


def _following(program: Program, at: _Iterate) -> Generator[None, None, _Iterate | None]:
    """One step of predictor and corrector; None where numbers are at their end."""
    form, dual = _Form.of(program, at.inverse), _Form.of(program, at.dual)
    yield
    factor = _factor(dual.system(program, form), at.weights)
    if factor is None:
        return None
    center = float((at.dual * at.primal).sum()) / (program.size * program.blocks)
    push = form.products(program)
    yield
    ahead = _solved(factor, at.weights, -program.cost)
    change = program.change(ahead)
    slope = at.dual @ change
    dual_ahead = -at.dual - _symmetric(slope @ at.inverse)
    yield
    dual_length, length = _length(at.dual, dual_ahead), _length(at.primal, change)
    moved = ((at.dual + dual_length * dual_ahead) * (at.primal + length * change)).sum()
    share = _share(float(moved) / (program.size * program.blocks) / center, dual_length, length)
    yield
    bend = _symmetric((dual_ahead @ change) @ at.inverse)
    target = share * center * push - program.cost - _Form.of(program, bend).products(program)
    step = _solved(factor, at.weights, target)
    change = program.change(step)
    yield
    dual_step = share * center * at.inverse - at.dual - bend
    dual_step = dual_step - _symmetric((at.dual @ change) @ at.inverse)
    yield
    dual_length = min(1.0, _KEPT_LENGTH * _length(at.dual, dual_step))
    length = min(1.0, _KEPT_LENGTH * _length(at.primal, change))
    lacking = program.cost - dual.products(program)
    rest = float((lacking * at.weights).abs().sum() / (program.cost @ at.weights))
    moved_dual = at.dual + dual_length * dual_step
    weights = at.weights + length * step
    return _iterate(program, weights, moved_dual, at.step + 1, (1.0 - dual_length) * rest)


def _share(kept: float, dual_length: float, length: float) -> float:
    """Of the center at which to aim, from what the predictor kept of it (Mehrotra, 1992)."""
    share = min(1.0, max(1e-6, kept**3)) if kept > 0 else 1e-6
    return max(share, 0.3) if min(dual_length, length) < 0.1 else share


def _factor(system: Numbers, weights: Numbers) -> Numbers | None:
    """Of Cholesky, scaled by the weights; those that no row has stay as they are."""
    scaled = weights[:, None] * system * weights
    diagonal = scaled.diagonal()
    diagonal.add_(torch.where(diagonal > 0, 1e-14 * diagonal, 1.0))
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if bool(failed):
        diagonal.mul_(1.0 + 1e-10)
        factor, failed = torch.linalg.cholesky_ex(scaled)
    return None if bool(failed) or not bool(factor.isfinite().all()) else factor


def _solved(factor: Numbers, weights: Numbers, right: Numbers) -> Numbers:
    """The step of the weights."""
    solved: Numbers = torch.cholesky_solve((weights * right)[:, None], factor)[:, 0]
    return weights * solved


def _symmetric(matrix: Numbers) -> Numbers:
    return 0.5 * (matrix + matrix.mT)


def _length(matrix: Numbers, step: Numbers) -> float:
    """About the longest of 1 and powers of `_SHRINK` that leaves the matrix positive definite."""
    length = 1.0
    while length > _LEAST_LENGTH:
        if not bool(torch.linalg.cholesky_ex(matrix + length * step)[1].any()):
            return length
        length *= _SHRINK
    return 0.0
