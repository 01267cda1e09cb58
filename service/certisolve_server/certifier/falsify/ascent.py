"""The search for a point and a direction in which the map changes most.

|J(x)|_{p->q} is the largest w.J(x)v of |v|_p <= 1 and |w|_q* <= 1. For a fixed x, v and w follow
each other: v is where w.J is steepest, w where Jv is (Boyd, The power method for l^p norms, Linear
Algebra Appl. 9, 1974), with one product with J and one with its transpose per step. In between, x
climbs |J(x)^T w|, with kinks softened and then hardened again (see `gates`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.execution import Executable
from certisolve_server.certifier.norms import Norms

from .dual import dual_norm, length, steepest
from .space import Space

_DECAY = 0.97
_STEP = 0.05


@dataclass(frozen=True)
class Slopes:
    """A map with its norms, differentiated in products with vectors.

    Args:
        norms: of the problem.
        input_weights: in plain floats, (entries,).
        output_weights: likewise.
        free: which entries vary.
    """

    norms: Norms
    input_weights: Tensor
    output_weights: Tensor
    free: Tensor

    def pulled_back(self, function: Executable, points: Tensor, w: Tensor) -> Tensor:
        """J^T w of each row, in units of the weights, differentiable with respect to the points."""
        x = points if points.requires_grad else points.detach().requires_grad_()
        total = (function(x) * (self.output_weights * w)).sum()
        if not total.requires_grad:
            return torch.zeros_like(points)
        (slope,) = torch.autograd.grad(total, x, create_graph=True, allow_unused=True)
        if slope is None:
            return torch.zeros_like(points)
        return torch.where(self.free, slope / self.input_weights, 0.0)

    def pushed_forward(self, function: Executable, points: Tensor, v: Tensor) -> Tensor:
        """J v of each row, in units of the weights."""
        tangent = torch.where(self.free, v / self.input_weights, 0.0)
        change: Tensor = torch.func.jvp(function, (points.detach(),), (tangent,))[1]
        moved = change * self.output_weights
        return moved.nan_to_num(0.0, 0.0, 0.0)

    def step(self, function: Executable, state: "State") -> "State":
        """V from w, then w from v."""
        pulled = self.pulled_back(function, state.points, state.w).detach()
        v = torch.where(self.free, steepest(pulled.nan_to_num(0.0, 0.0, 0.0), self.norms.inputs), 0)
        moved = self.pushed_forward(function, state.points, v)
        size = length(moved, self.norms.outputs)
        return State(state.points, v, steepest(moved, dual_norm(self.norms.outputs)), size)


@dataclass(frozen=True)
class State:
    """Where a search is: rows of points, directions v, functionals w, and the sizes |J v|."""

    points: Tensor
    v: Tensor
    w: Tensor
    size: Tensor

    def best(self, count: int) -> "State":
        """The rows of largest size."""
        keep = self.size.argsort(descending=True)[:count]
        return State(self.points[keep], self.v[keep], self.w[keep], self.size[keep])

    def repeated(self, times: int) -> "State":
        """All rows one after another, so many times."""
        return State(
            self.points.repeat(times, 1),
            self.v.repeat(times, 1),
            self.w.repeat(times, 1),
            self.size.repeat(times),
        )


def merged(one: State, other: State) -> State:
    """The rows of both."""
    return State(
        torch.cat([one.points, other.points]),
        torch.cat([one.v, other.v]),
        torch.cat([one.w, other.w]),
        torch.cat([one.size, other.size]),
    )


def start(
    slopes: Slopes, function: Executable, points: Tensor, iterations: int, rng: torch.Generator
) -> State:
    """Directions at given points, from random functionals."""
    outputs = slopes.output_weights.numel()
    w = torch.randn(points.shape[0], outputs, generator=rng, dtype=torch.float64)
    w = steepest(w, dual_norm(slopes.norms.outputs))
    state = State(points, torch.zeros_like(points), w, points.new_zeros(points.shape[0]))
    for _ in range(iterations):
        state = slopes.step(function, state)
    return state


def climb(
    slopes: Slopes, soft: Iterator[Executable], space: Space, state: State, step: float = _STEP
) -> Iterator[State]:
    """One step of Adam per function of `soft`, in units of the size of the region."""
    scale = torch.where(space.free, space.halfwidth, 0.0)
    if not space.is_bounded:
        scale = scale * (1.0 + state.points.abs().mean(1, keepdim=True))
    first, second = torch.zeros_like(state.points), torch.zeros_like(state.points)
    for i, function in enumerate(soft, start=1):
        gradient = _gradient(slopes, function, state) * scale
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.square()
        direction = (first / (1 - 0.9**i)) / ((second / (1 - 0.999**i)).sqrt() + 1e-300)
        points = space.project(state.points + step * _DECAY**i * scale * direction)
        state = slopes.step(function, State(points, state.v, state.w, state.size))
        yield state


def _gradient(slopes: Slopes, function: Executable, state: State) -> Tensor:
    """Of |J(x)^T w| in the dual norm of the inputs, with respect to each x."""
    x = state.points.detach().requires_grad_()
    size = length(slopes.pulled_back(function, x, state.w), dual_norm(slopes.norms.inputs)).sum()
    if not size.requires_grad:
        return torch.zeros_like(state.points)
    (gradient,) = torch.autograd.grad(size, x, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0).detach()
