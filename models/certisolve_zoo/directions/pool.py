"""Problems in the middle of being solved, on which directions are trained.

A network that has seen first residuals only is at a loss with those it leaves behind. Here every
batch is one step of the iteration of `loop` on a few problems of a pool: the loss is what the step
leaves of the energy |x - x*|_A², and the step is then taken, so that the next residuals are those
the network meets in use, at no cost beyond one product with A. After 600 batches the iteration
took 10 steps to 1e-8 with a network trained so, 18 with one trained on first residuals alone.

The pool holds errors e = x* - x, of norm 1, instead of right-hand sides: r = A e is then exact in
float32 at every stage.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from certisolve_zoo.data import Samples

from .loop import KEPT_DIRECTIONS

POOL_SIZE = 512
# An untrained share of the energy this small is rounding.
SMALLEST_SHARE = 1e-6


class ProblemPool:
    """Problems, each at some step of its iteration.

    Args:
        operator: A x of x and a.
        coefficients: a of each field.
        solutions: x* of several right-hand sides for each field; problems are random combinations.
        num_steps: after which a problem is replaced by a fresh one.
        generator: of the choices.
    """

    def __init__(
        self,
        operator: Callable[[Tensor, Tensor], Tensor],
        coefficients: Float[Tensor, "field y x"],
        solutions: Float[Tensor, "field solution y x"],
        num_steps: int,
        generator: torch.Generator,
    ) -> None:
        self._operator, self._num_steps, self._generator = operator, num_steps, generator
        self._coefficients, self._solutions = coefficients, solutions
        grid = coefficients.shape[1:]
        self._field = torch.zeros(POOL_SIZE, dtype=torch.int64)
        self._error = torch.zeros(POOL_SIZE, *grid)
        self._previous = torch.zeros(KEPT_DIRECTIONS, POOL_SIZE, *grid)
        self._age = torch.randint(num_steps, (POOL_SIZE,), generator=generator)
        self._chosen = torch.arange(POOL_SIZE)
        self._direction = torch.zeros(0, *grid)
        self._replace(self._chosen)

    def batches(self, num_batches: int, batch_size: int) -> Iterator[Samples]:
        """Residuals of norm 1 with their coefficients, and the errors.

        After each, the caller evaluates `loss` with the network's directions.
        """
        for _ in range(num_batches):
            order = torch.randperm(POOL_SIZE, generator=self._generator)
            self._chosen = order[:batch_size]
            a, error = self._coefficients[self._field[self._chosen]], self._error[self._chosen]
            r = self._operator(error, a)
            size = _column(_norm(r))
            yield Samples((r / size, a), error / size)
            self._advance(a, error / size, r / size)

    def loss(
        self, direction: Float[Tensor, "batch y x"], error: Float[Tensor, "batch y x"]
    ) -> Float[Tensor, ""]:
        """Mean logarithm of the share of the energy that a step along the direction leaves."""
        a = self._coefficients[self._field[self._chosen]]
        for p in self._previous[:, self._chosen]:
            image = self._operator(p, a)
            square = _dot(p, image)
            part = torch.where(square > 0, _dot(direction, image) / square.clamp(min=1e-30), 0.0)
            direction = direction - _column(part) * p
        self._direction = direction.detach()
        r = self._operator(error, a)
        gain = _dot(direction, r).square() / _dot(direction, self._operator(direction, a))
        share = 1 - gain / _dot(error, r)
        return share.clamp(min=SMALLEST_SHARE).log().mean()

    def _advance(self, a: Tensor, error: Tensor, r: Tensor) -> None:
        """Take the step whose loss was evaluated."""
        p, chosen = self._direction, self._chosen
        length = _dot(p, r) / _dot(p, self._operator(p, a))
        error = error - _column(length) * p
        self._error[chosen] = error / _column(_norm(error))
        self._previous[1:, chosen] = self._previous[:-1, chosen]
        self._previous[0, chosen] = p / _column(_norm(p))
        self._age[chosen] += 1
        done = chosen[self._age[chosen] >= self._num_steps]
        self._age[done] = 0
        self._replace(done)

    def _replace(self, index: Int[Tensor, " problem"]) -> None:
        count, generator = len(index), self._generator
        field = torch.randint(len(self._coefficients), (count,), generator=generator)
        weights = torch.randn(count, self._solutions.shape[1], generator=generator)
        error = torch.einsum("ps,psyx->pyx", weights, self._solutions[field])
        self._field[index] = field
        self._error[index] = error / _column(_norm(error))
        self._previous[:, index] = 0.0


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(dim=(1, 2))


def _norm(u: Tensor) -> Tensor:
    return torch.as_tensor(torch.linalg.vector_norm(u, dim=(1, 2)))


def _column(values: Tensor) -> Tensor:
    return values[:, None, None]
