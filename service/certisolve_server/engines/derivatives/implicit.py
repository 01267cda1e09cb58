"""Derivatives of the solution of a linear system, from the system itself.

The solution x(θ, b) of A(θ) x = b, with A symmetric, has

    forward:  A x' = b' - (∂A/∂θ θ') x
    reverse:  A λ = v,   b* = λ,   θ* = -∂/∂θ <λ, A(θ) x>

so that each direction is one more system with the same operator, solved like the first. What the
iterations did, and what the network proposed to them, does not matter (Griewank and Walther,
Evaluating Derivatives, 2008, chapter 15).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.engines.families.iterative_solver import IterativeSolverEngine
from certisolve_server.jobs import Kind, Work

from .modes import copies, pullback, pushforward
from .solution_map import AbstractSolutionMap


class LinearSystem(AbstractSolutionMap):
    """A system as it was solved.

    Arguments:
        engine: solves it.
        at: inputs and parameters, each of shape (...).
        x: the solution.
        work: how exactly derivatives are solved for: as the solution itself.
    """

    def __init__(
        self, engine: IterativeSolverEngine, at: Sequence[Tensor], x: Tensor, work: Work
    ) -> None:
        self._engine, self._at, self._x, self._work = engine, at, x.double(), work
        self._b = engine.right_hand_side
        self._rest = [tensor.double() for tensor in self._without_b(at)]

    def jvp(self, tangents: Sequence[Tensor]) -> list[Tensor]:
        right = tangents[self._b].double()
        if self._rest:
            moved = [tangent.double() for tangent in self._without_b(tangents)]
            right = right - pushforward(self._image, self._rest, moved)[0]
        return [self._solve(right)]

    def vjp(self, cotangents: Sequence[Tensor]) -> list[Tensor]:
        adjoint = self._solve(cotangents[0])
        found = pullback(self._image, self._rest, [-adjoint]) if self._rest else []
        found.insert(self._b, adjoint)
        return [each.to(tensor.dtype) for each, tensor in zip(found, self._at, strict=True)]

    def batch_size(self, kind: Kind) -> int:
        del kind  # no way back is longer than one product with A
        return self._engine.artifact.manifest.max_batch_size

    def _image(self, rest: Sequence[Tensor]) -> Sequence[Tensor]:
        """A(θ) x for rows of θ."""
        return [self._engine.multiply(self._x.expand(len(rest[0]), *self._x.shape), rest)]

    def _solve(self, right: Tensor) -> Tensor:
        rows = copies(self._at, len(right))
        rows[self._b] = right
        with torch.no_grad():
            answer = self._engine.solve(rows, [self._work] * len(right))
        self.converged = self.converged and bool(answer.findings["converged"].all())
        return answer.outputs[0]

    def _without_b(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor for index, tensor in enumerate(tensors) if index != self._b]
