"""Better multipliers of large chains, by the gradient of the bound in their logarithms.

The bound is smooth where the largest eigenvalue is simple, which at the best multipliers it is not;
so the logarithm of a sum of powers of eigenvalues is minimised, of ever higher powers. Descent gets
stuck close to multipliers that are not feasible; a barrier, - log det R, of ever less weight then
leads inside again (Boyd and Vandenberghe, Convex Optimization, section 11.3). Descent is by L-BFGS
with backtracking (Nocedal and Wright, Numerical Optimization, algorithm 7.4). Nothing here proves
anything.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .recursion import Passage, gains, passages
from .stages import Stage

#: Of sums of powers of eigenvalues the power, and the weight of the barrier for each neuron.
_STAGES = ((4.0, 0.0), (64.0, 0.0), (1024.0, 0.1), (1024.0, 1e-3), (1024.0, 1e-5))
_MEMORY = 24
_SUFFICIENT = 1e-4
_MOST_BACKTRACKS = 25

# Iterations over which a stage has to gain so much, or it is over.
_PATIENCE = 10
_LEAST_GAIN = 1e-6


def descend(
    stages: Sequence[Stage], last: Numbers, start: Sequence[Numbers]
) -> Iterator[tuple[Numbers, ...] | None]:
    """Ever better multipliers, as far as floats can tell; None where a step was not better.

    Args:
        stages: the layers of the chain.
        last: the map after them.
        start: feasible lambda of each.
    """
    sizes = [weights.numel() for weights in start]
    point = torch.cat([-weights.log() for weights in start])
    best = math.inf
    for power, share in _STAGES:
        objective = _Objective(stages, last, sizes, power, share / max(1, sum(sizes)))
        for reached in _descent(objective, point):
            if reached is None or not reached.value < best:
                yield None
                continue
            point, best = reached.point, reached.value
            yield torch.split((-point).exp(), sizes)


@dataclass(frozen=True)
class _Step:
    """Where a step came out: the smooth objective, its gradient, and log L^2 itself."""

    point: Numbers
    smooth: float
    gradient: Numbers
    value: float


@dataclass(frozen=True)
class _Objective:
    """Of the logarithms of mu."""

    stages: Sequence[Stage]
    last: Numbers
    sizes: list[int]
    power: float
    barrier: float

    def __call__(self, point: Numbers) -> _Step | None:
        """None where the point is infeasible, or so close that its gradient is not a number."""
        weights = torch.split(point.exp(), self.sizes)
        passed = passages(self.stages, weights)
        if passed is None:
            return None
        squared = gains(self.last, passed[-1].after)
        if not bool(squared.isfinite().all()):
            return None
        values, vectors = torch.linalg.eigh(squared)
        logs = values.clamp(min=0.0).log()
        value = float(logs.max())
        if not math.isfinite(value):
            return None
        shares = torch.softmax(self.power * logs.flatten(), 0).reshape(logs.shape)
        smooth = float(torch.logsumexp(self.power * logs.flatten(), 0)) / self.power
        ratios = torch.where(shares > _LEAST_PART, shares / values, 0.0)
        columns = self.last.mT @ (vectors * ratios.sqrt().unsqueeze(-2))
        gradient = torch.cat(_gradients(passed, columns, self.barrier)) * point.exp()
        if self.barrier:
            smooth -= self.barrier * _volume(passed)
        if not (math.isfinite(smooth) and bool(gradient.isfinite().all())):
            return None
        return _Step(point, smooth, gradient, value)


# Eigenvalues that count less than this are left out of the gradient.
_LEAST_PART = 1e-14


def _gradients(passed: Sequence[Passage], columns: Numbers, barrier: float) -> list[Numbers]:
    """With respect to mu of each layer, from the gradient C C^T at the last storage."""
    blocks = columns.shape[:-2].numel()
    gradient = columns @ columns.mT if barrier else columns
    found = []
    for through in reversed(passed):
        if barrier:
            gradient, own = through.before(gradient, barrier / blocks)
            own = own + barrier / blocks / through.weights
        else:
            gradient, own = through.column_before(gradient)
        stage = through.stage
        total = torch.zeros(stage.multipliers, dtype=torch.float64)
        own = own.reshape(own.shape[:-1].numel(), own.shape[-1]).sum(0)
        found.append(total.index_add_(0, stage.share, own))
    return found[::-1]


def _volume(passed: Sequence[Passage]) -> float:
    """Of all layers log det R / det diag(mu), the mean over blocks."""
    total = 0.0
    for through in passed:
        log_det = 2.0 * through.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1).mean()
        total += float(log_det - through.weights.log().sum())
    return total


@dataclass
class _Memory:
    """Of the last steps and changes of the gradient, for the two-loop recursion."""

    pairs: deque[tuple[Numbers, Numbers]] = field(default_factory=lambda: deque(maxlen=_MEMORY))

    def add(self, old: _Step, new: _Step) -> None:
        step, change = new.point - old.point, new.gradient - old.gradient
        if float(step @ change) > 1e-12 * float(change @ change):
            self.pairs.append((step, change))

    def direction(self, gradient: Numbers) -> Numbers:
        """Minus the inverse Hessian, as far as it is known, times the gradient."""
        result, shares = gradient.clone(), []
        for step, change in reversed(self.pairs):
            share = (step @ result) / (step @ change)
            shares.append(share)
            result -= share * change
        if self.pairs:
            step, change = self.pairs[-1]
            result *= (step @ change) / (change @ change)
        else:
            result /= gradient.abs().max().clamp(min=1e-12) * 4.0
        for (step, change), share in zip(self.pairs, reversed(shares), strict=True):
            result += step * (share - (change @ result) / (step @ change))
        return -result


def _descent(objective: _Objective, start: Numbers) -> Iterator[_Step | None]:
    current, memory = objective(start), _Memory()
    recent: deque[float] = deque(maxlen=_PATIENCE)
    while current is not None:
        yield current
        if len(recent) == _PATIENCE and recent[0] - current.smooth < _LEAST_GAIN:
            return
        recent.append(current.smooth)
        following = yield from _line_search(objective, current, memory.direction(current.gradient))
        if following is None and memory.pairs:
            memory.pairs.clear()
            direction = memory.direction(current.gradient)
            following = yield from _line_search(objective, current, direction)
        if following is not None:
            memory.add(current, following)
        current = following


def _line_search(
    objective: _Objective, at: _Step, direction: Numbers
) -> Generator[None, None, _Step | None]:
    """The first of ever shorter steps that gains enough; None if there is none."""
    slope = float(at.gradient @ direction)
    if not slope < 0:
        return None
    length = min(1.0, 2.0 / float(direction.abs().max()))
    for _ in range(_MOST_BACKTRACKS):
        found = objective(at.point + length * direction)
        if found is not None and found.smooth <= at.smooth + _SUFFICIENT * length * slope:
            return found
        length *= 0.5
        yield
    return None
