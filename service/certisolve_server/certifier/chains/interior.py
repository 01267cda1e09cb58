"""The best multipliers of a chain, by a primal-dual interior point method.

Over all weights w with F(w) > 0 the cost is least where X F = 0 for an X >= 0 with <F_k, X> =
cost_k, F_k = e_k e_k^T - v_k v_k^T. Newton's method for X F = t I, t falling to 0, in the direction
of Helmberg, Rendl, Vanderbei and Wolkowicz (SIAM J. Optim. 6, 1996), with Mehrotra's predictor and
corrector: the system of weights has the elements <F_k, X F_l F^{-1}>, which are those of X and
F^{-1} times each other in the coordinates of e and v; a few products of matrices, whatever the
number of weights. Nothing here proves anything.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .program import Block, Program

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
class _Place:
    """A block of F at some weights, its inverse, and that of X."""

    block: Block
    primal: Numbers
    inverse: Numbers
    dual: Numbers

    def dual_step(self, change: Numbers, more: Numbers) -> Numbers:
        """Of X, for that of F: more - X - (X dF F^{-1}), symmetric."""
        return more - self.dual - _symmetric((self.dual @ change) @ self.inverse)


@dataclass(frozen=True, eq=False)
class _Iterate:
    """Weights, what F and X are there, and how many steps it took.

    The gap is that of the cost and of what X lacks, relative to the cost.
    """

    weights: Numbers
    places: tuple[_Place, ...]
    step: int
    gap: float


@dataclass(frozen=True, eq=False)
class _Form:
    """A symmetric matrix in the coordinates of e and v: e^T M e, v^T M e, v^T M v."""

    own: Numbers
    mixed: Numbers
    inner: Numbers

    @classmethod
    def of(cls, block: Block, matrix: Numbers) -> "_Form":
        mixed = block.reach @ matrix[..., : block.linked, :]
        return cls(matrix, mixed, mixed[..., : block.linked] @ block.reach.mT)

    def add_products(self, block: Block, total: Numbers) -> None:
        """<F_k, M> of each weight."""
        _add(total, block.own, self.own.diagonal(dim1=-2, dim2=-1))
        _add(total, block.reached, -self.inner.diagonal(dim1=-2, dim2=-1))

    def add_system(
        self, other: "_Form", pairs: tuple[torch.Tensor, torch.Tensor, torch.Tensor], total: Numbers
    ) -> None:
        """<F_k, M F_l N> of all pairs of weights, those of v_k and e_l doubled."""
        of_own, of_mixed, of_inner = pairs
        _add(total, of_own, self.own * other.own)
        _add(total, of_mixed, self.mixed * other.mixed * -2.0)
        _add(total, of_inner, self.inner * other.inner)


def _add(total: Numbers, places: torch.Tensor, values: Numbers) -> None:
    total.index_add_(0, places.flatten(), values.flatten())


def _products(program: Program, matrices: Sequence[Numbers]) -> Numbers:
    """<F_k, M> of each weight."""
    total = torch.zeros_like(program.cost)
    for block, matrix in zip(program.blocks, matrices, strict=True):
        reached = (block.reach @ matrix[..., : block.linked, : block.linked]) * block.reach
        _add(total, block.own, matrix.diagonal(dim1=-2, dim2=-1))
        _add(total, block.reached, -reached.sum(-1))
    return total


def _iterate(
    program: Program,
    weights: Numbers,
    duals: Sequence[Numbers] | None,
    step: int = 0,
    lacking: float = 1.0,
) -> _Iterate | None:
    """None where F is not positive definite."""
    cost = float(program.cost @ weights)
    places, product = [], 0.0
    for index, block in enumerate(program.blocks):
        primal = block.inequality(weights)
        factor, failed = torch.linalg.cholesky_ex(primal)
        if bool(failed.any()) or not bool(factor.isfinite().all()):
            return None
        inverse = torch.cholesky_inverse(factor)
        start = _DUAL_START * cost / program.size
        dual = start * inverse if duals is None else duals[index]
        product += float((dual * primal).sum())
        places.append(_Place(block, primal, inverse, dual))
    return _Iterate(weights, tuple(places), step, max(product / cost, lacking))


def _following(program: Program, at: _Iterate) -> Generator[None, None, _Iterate | None]:
    """One step of predictor and corrector; None where numbers are at their end."""
    count = program.cost.numel()
    system = torch.zeros(count * count, dtype=torch.float64)
    push, reached = torch.zeros_like(program.cost), torch.zeros_like(program.cost)
    for place, pairs in zip(at.places, program.pairs, strict=True):
        form, dual = _Form.of(place.block, place.inverse), _Form.of(place.block, place.dual)
        yield
        dual.add_system(form, pairs, system)
        form.add_products(place.block, push)
        dual.add_products(place.block, reached)
    yield
    factor = _factor(_symmetric(system.reshape(count, count)), at.weights)
    if factor is None:
        return None
    yield
    center = sum(float((place.dual * place.primal).sum()) for place in at.places) / program.size
    share, bends = yield from _predicted(program, at, factor, center)
    target = share * center * push - program.cost - _products(program, bends)
    step = _solved(factor, at.weights, target)
    changes, dual_steps = [], []
    for place, bend in zip(at.places, bends, strict=True):
        changes.append(place.block.change(step))
        more = share * center * place.inverse - bend
        dual_steps.append(place.dual_step(changes[-1], more))
        yield
    duals = [place.dual for place in at.places]
    dual_length = min(1.0, _KEPT_LENGTH * _length(duals, dual_steps))
    yield
    length = min(1.0, _KEPT_LENGTH * _length([place.primal for place in at.places], changes))
    yield
    lacking = float(((program.cost - reached) * at.weights).abs().sum())
    lacking *= (1.0 - dual_length) / float(program.cost @ at.weights)
    moved = [dual + dual_length * change for dual, change in zip(duals, dual_steps, strict=True)]
    return _iterate(program, at.weights + length * step, moved, at.step + 1, lacking)


def _predicted(
    program: Program, at: _Iterate, factor: Numbers, center: float
) -> Generator[None, None, tuple[float, list[Numbers]]]:
    """At which share of the center to aim, and the bend of the way there, (dX dF F^{-1})."""
    ahead = _solved(factor, at.weights, -program.cost)
    changes = [place.block.change(ahead) for place in at.places]
    yield
    dual_changes = []
    for place, change in zip(at.places, changes, strict=True):
        dual_changes.append(place.dual_step(change, torch.zeros_like(change)))
        yield
    dual_length = _length([place.dual for place in at.places], dual_changes)
    yield
    length = _length([place.primal for place in at.places], changes)
    kept, bends = 0.0, []
    for place, change, dual_change in zip(at.places, changes, dual_changes, strict=True):
        primal, dual = place.primal + length * change, place.dual + dual_length * dual_change
        kept += float((primal * dual).sum()) / program.size / center
        bends.append(_symmetric((dual_change @ change) @ place.inverse))
        yield
    return _share(kept, dual_length, length), bends


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


def _length(matrices: Sequence[Numbers], steps: Sequence[Numbers]) -> float:
    """About the longest of 1 and powers of `_SHRINK` that leaves all positive definite."""
    length = 1.0
    for matrix, step in zip(matrices, steps, strict=True):
        while bool(torch.linalg.cholesky_ex(matrix + length * step)[1].any()):
            length *= _SHRINK
            if length < _LEAST_LENGTH:
                return 0.0
    return length
