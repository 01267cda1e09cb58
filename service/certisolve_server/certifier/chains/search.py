"""Better multipliers, by the gradient of the bound with respect to their logarithms.

The bound is smooth where the largest eigenvalue is simple, which at the best multipliers it is not;
so the logarithm of a sum of powers of eigenvalues is minimised, of ever higher powers. Descent gets
stuck close to multipliers that are not feasible; a barrier, - log det X_i, of ever less weight then
leads inside again (Boyd and Vandenberghe, Convex Optimization, section 11.3). Descent is by L-BFGS
with backtracking (Nocedal and Wright, Numerical Optimization, algorithm 7.4). Nothing here proves
anything.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .chain import Chain
from .recursion import Infeasible, gains

#: Of sums of powers of eigenvalues the power, and the weight of the barrier for each neuron.
_STAGES = ((4.0, 0.0), (64.0, 0.0), (1024.0, 0.1), (1024.0, 1e-3), (1024.0, 1e-5))
_MEMORY = 24
_SUFFICIENT = 1e-4
_MOST_BACKTRACKS = 25

# Iterations over which a stage has to gain so much, or it is over.
_PATIENCE = 10
_LEAST_GAIN = 1e-6


def search(
    chain: Chain, start: Sequence[Numbers], go_on: Callable[[], bool]
) -> Iterator[tuple[Numbers, ...]]:
    """Ever better multipliers, as far as floats can tell; the last are the best.

    Args:
        chain: what is bounded.
        start: feasible ones.
        go_on: asked before each step.
    """
    sizes = [weights.numel() for weights in start]
    point = torch.cat([weights.log() for weights in start])
    best = math.inf
    for power, share in _STAGES:
        objective = _Objective(chain, sizes, power, share / max(1, sum(sizes)))
        for reached, value in _descend(objective, point, go_on):
            point = reached
            if value < best:
                best = value
                yield torch.split(point.exp(), sizes)


@dataclass(frozen=True)
class _Step:
    """Where a step came out: the smooth objective, its gradient, and log L^2 itself."""

    point: Numbers
    smooth: float
    gradient: Numbers
    value: float


@dataclass(frozen=True)
class _Objective:
    chain: Chain
    sizes: list[int]
    power: float
    barrier: float

    def __call__(self, point: Numbers) -> _Step | None:
        """None where the point is infeasible, or so close that its gradient is not a number."""
        variable = point.detach().requires_grad_()
        with torch.enable_grad():
            found = gains(self.chain, torch.split(variable.exp(), self.sizes))
            if isinstance(found, Infeasible):
                return None
            logs = found.squared[found.squared > 0].log()
            if not logs.numel():
                return None
            smooth = torch.logsumexp(self.power * logs, 0) / self.power
            smooth = smooth - self.barrier * found.volume
            (gradient,) = torch.autograd.grad(smooth, variable)
        if not bool(smooth.isfinite() & gradient.isfinite().all()):
            return None
        return _Step(
            variable.detach(), float(smooth.detach()), gradient, float(logs.detach().max())
        )


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


def _descend(
    objective: _Objective, start: Numbers, go_on: Callable[[], bool]
) -> Iterator[tuple[Numbers, float]]:
    current, memory = objective(start), _Memory()
    recent: deque[float] = deque(maxlen=_PATIENCE)
    while current is not None:
        yield current.point, current.value
        stalled = len(recent) == _PATIENCE and recent[0] - current.smooth < _LEAST_GAIN
        if stalled or not go_on():
            return
        recent.append(current.smooth)
        following = _line_search(objective, current, memory.direction(current.gradient))
        if following is None and memory.pairs:
            memory.pairs.clear()
            following = _line_search(objective, current, memory.direction(current.gradient))
        if following is not None:
            memory.add(current, following)
        current = following


def _line_search(objective: _Objective, at: _Step, direction: Numbers) -> _Step | None:
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
    return None
