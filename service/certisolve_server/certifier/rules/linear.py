"""Matrix products: with constants, and of two tensors that both vary."""

from types import MappingProxyType

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, matmul

from .abstraction import Abstraction, Jacobian, aligned, per_entry, total
from .arithmetic import add, multiply
from .operands import Operand
from .rule import Declined, Rules


def product(self: Abstraction, mat2: Abstraction) -> Abstraction:
    """X y, as matrices, with x(p)y(p) - x(q)y(q) = x(p) (y(p) - y(q)) + (x(p) - x(q)) y(q).

    A matrix that is constant has no slopes, and exact bounds where nothing has rounded it.
    """
    rank = max(len(self.shape), len(mat2.shape))
    if min(len(self.shape), len(mat2.shape)) < 2:
        raise Declined("multiplies a vector without axes of a matrix")
    left, right = aligned(self.value, 1, rank), aligned(mat2.value, 1, rank)
    by_left = {
        name: _times(aligned(block, 2, rank), per_entry(right))
        for name, block in self.jacobian.items()
    }
    by_right = {
        name: _times(per_entry(left), aligned(block, 2, rank))
        for name, block in mat2.jacobian.items()
    }
    return Abstraction(_times(left, right), total((by_left, by_right)))


def matrix_product(self: Abstraction, other: Abstraction) -> Abstraction:
    """As `product`, of operands with broadcast leading axes (aten.matmul)."""
    return product(self, other)


def linear(input: Abstraction, weight: Abstraction, bias: Abstraction | None) -> Abstraction:
    """X W^T + b, over the last axis."""
    image = product(_as_matrix(input), _transposed(weight))
    shaped = _reshaped(image, (*input.shape[:-1], weight.shape[0]))
    return shaped if bias is None else add(shaped, bias, 1.0)


def add_product(
    self: Operand, mat1: Abstraction, mat2: Abstraction, beta: float, alpha: float
) -> Abstraction:
    """Beta c + alpha x y (aten.addmm)."""
    image = product(mat1, mat2)
    scaled_image = image if alpha == 1 else multiply(image, alpha)
    term = self if beta == 1 else multiply(self, beta)
    return add(scaled_image, term, 1.0)


#: By overload.
RULES: Rules = {
    "aten.addmm.default": add_product,
    "aten.bmm.default": product,
    "aten.linear.default": linear,
    "aten.matmul.default": matrix_product,
    "aten.mm.default": product,
}


def _times(left: Interval, right: Interval) -> Interval:
    """The product of stacks of matrices; one matrix for all of a stack is not repeated."""
    if _is_one_matrix(right):
        return matmul(left, right.rearranged(_matrix_of))
    if _is_one_matrix(left):
        return matmul(left.rearranged(_matrix_of), right)
    return matmul(left, right)


def _is_one_matrix(stack: Interval) -> bool:
    return all(size == 1 for size in stack.shape[:-2])


def _matrix_of(stack: Tensor) -> Tensor:
    return stack.reshape(stack.shape[-2:])


def _as_matrix(x: Abstraction) -> Abstraction:
    """All axes but the last as one, which makes one product of many."""
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    return _reshaped(x, (rows, x.shape[-1]))


def _reshaped(x: Abstraction, shape: tuple[int, ...]) -> Abstraction:
    value = x.value.rearranged(lambda bound: bound.reshape(-1, *shape))
    return Abstraction(value, _reshaped_blocks(x.jacobian, shape))


def _reshaped_blocks(jacobian: Jacobian, shape: tuple[int, ...]) -> Jacobian:
    return MappingProxyType(
        {
            name: block.rearranged(lambda bound: bound.reshape(*bound.shape[:2], *shape))
            for name, block in jacobian.items()
        }
    )


def _transposed(x: Abstraction) -> Abstraction:
    jacobian = {name: _swapped(block) for name, block in x.jacobian.items()}
    return Abstraction(_swapped(x.value), MappingProxyType(jacobian))


def _swapped(interval: Interval) -> Interval:
    return interval.rearranged(lambda bound: bound.transpose(-1, -2))
