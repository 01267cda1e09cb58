"""`iterative-solver`: a linear system along learned directions, to a residual that is measured.

The deep conjugate direction method (Kaneda et al., "DCDM", 2023) for A x = b with A symmetric and
positive definite, from x = 0 and r = b, until |r| <= tolerance |b|:

    1. d = network(r / |r|), made conjugate to the last two directions
    2. s = r, made conjugate to the same two
    3. p = that of d and s whose line search lowers the energy more, which is (p·r)²/(p·Ap)
    4. x <- x + (p·r)/(p·Ap) p,   r <- b - A x

Step 3 is ours: whatever the network returns, NaN included, the error in the norm of A falls at
least as it would by steepest descent. All but the network is computed in float64.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from certisolve_server.engines.base import AbstractEngine, Answer
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import Programs
from certisolve_server.jobs import Artifact, Work

_KEPT_DIRECTIONS = 2


class _Direction(NamedTuple):
    """A direction p and A p."""

    p: Tensor
    image: Tensor


class IterativeSolverEngine(AbstractEngine):
    """Iterates a batch until its last request has converged; the others stay as they are.

    Attributes:
        right_hand_side: which of the inputs is b.
    """

    def __init__(self, artifact: Artifact, device: AbstractDevice, programs: Programs) -> None:
        super().__init__(artifact, device, programs.checks)
        assert artifact.manifest.iteration is not None
        assert programs.operator is not None
        self._iteration = artifact.manifest.iteration
        names = [spec.name for spec in artifact.manifest.inputs]
        self.right_hand_side = names.index(self._iteration.right_hand_side)
        self._network, self._operator = programs.network, programs.operator

    def solve(self, inputs: Sequence[Tensor], work: Sequence[Work]) -> Answer:
        b = inputs[self.right_hand_side].double()
        # Squares of what is very small or very large would vanish or overflow.
        scale = _column(_largest(b), b)
        b = b / scale
        rest = [tensor for index, tensor in enumerate(inputs) if index != self.right_hand_side]
        coarse, fine = [each.float() for each in rest], [each.double() for each in rest]

        def propose(residual: Tensor) -> Tensor:
            return self._network(residual.float(), *coarse)[0].double()

        def multiply(x: Tensor) -> Tensor:
            return self.multiply(x, fine)

        tolerance = [each.tolerance or self._iteration.tolerance for each in work]
        limit = torch.tensor(tolerance, dtype=torch.float64, device=b.device) * _norm(b)
        x, residual, nfe = self._iterate(multiply, propose, b, limit)
        relative = _ratio(residual, _norm(b))
        converged = (residual <= limit).double()
        return Answer([scale * x], {"residual": relative, "converged": converged, "nfe": nfe})

    def multiply(self, x: Tensor, rest: Sequence[Tensor]) -> Tensor:
        """A x, in float64.

        Args:
            x: of the shape of the unknown, with a batch dimension.
            rest: inputs without b, and parameters, which decide A.
        """
        return self._operator(x, *rest)[0]

    def _iterate(
        self,
        multiply: Callable[[Tensor], Tensor],
        propose: Callable[[Tensor], Tensor],
        b: Tensor,
        limit: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The unknown, the norm of its residual and the number of steps, per row."""
        x, r, nfe = torch.zeros_like(b), b, torch.zeros_like(limit)
        previous: list[_Direction] = []
        for _ in range(self._iteration.max_iterations):
            active = _norm(r) > limit
            if not active.any():
                break
            proposed = propose(r / _column(_norm(r), r))
            direction = _better(
                _conjugate(multiply, proposed, previous), _conjugate(multiply, r, previous), r
            )
            length = _ratio(_dot(direction.p, r), _dot(direction.p, direction.image))
            x = torch.where(_column(active, x), x + _column(length, x) * direction.p, x)
            r = b - multiply(x)
            nfe += active
            previous = [direction, *previous][:_KEPT_DIRECTIONS]
        return x, _norm(r), nfe


def _conjugate(
    multiply: Callable[[Tensor], Tensor], d: Tensor, previous: Sequence[_Direction]
) -> _Direction:
    """The part of d that is conjugate to the previous directions."""
    for p, image in previous:
        d = d - _column(_ratio(_dot(d, image), _dot(p, image)), d) * p
    return _Direction(d, multiply(d))


def _better(first: _Direction, second: _Direction, r: Tensor) -> _Direction:
    """Of each row, the direction along which the energy falls more; the second if in doubt."""
    gains = [_ratio(_dot(p, r).square(), _dot(p, image)) for p, image in (first, second)]
    # False for NaN.
    chosen = _column(gains[0] > gains[1], r)
    return _Direction(*(torch.where(chosen, *pair) for pair in zip(first, second, strict=True)))


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).flatten(1).sum(dim=1)


def _norm(u: Tensor) -> Tensor:
    return torch.as_tensor(torch.linalg.vector_norm(u.flatten(1), dim=1))


def _largest(u: Tensor) -> Tensor:
    """Of the absolute values in each row; 1 for a row of zeros."""
    largest = u.flatten(1).abs().amax(dim=1)
    return torch.where(largest == 0, 1.0, largest)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (like.dim() - 1))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """0 where the denominator is: of a zero right-hand side, and of what is left of zero."""
    return torch.where(denominator == 0, 0.0, numerator / denominator)
