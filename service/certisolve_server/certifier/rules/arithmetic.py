"""Sums, differences, products and quotients of two tensors, or of a tensor and a number."""

from certisolve_server.certifier.arithmetic import Interval

from .abstraction import Abstraction, aligned, chained, mapped_linearly, scaled, spread, total
from .operands import Operand, as_abstraction, broadcast_shape
from .rule import Rules


def add(self: Operand, other: Operand, alpha: float) -> Abstraction:
    """The sum x + alpha y; its slopes are the same sum."""
    x, y = as_abstraction(self), _times_number(as_abstraction(other), alpha)
    shape = broadcast_shape(x, y)
    value = _aligned(x, shape) + _aligned(y, shape)
    return Abstraction(value, total((spread(x.jacobian, shape), spread(y.jacobian, shape))))


def subtract(self: Operand, other: Operand, alpha: float) -> Abstraction:
    """The difference x - alpha y."""
    return add(self, other, -alpha)


def subtract_from(self: Operand, other: Operand, alpha: float) -> Abstraction:
    """The difference y - alpha x (aten.rsub)."""
    return add(other, self, -alpha)


def multiply(self: Operand, other: Operand) -> Abstraction:
    """The product x y: differences are x(p) (y(p) - y(q)) + y(q) (x(p) - x(q)).

    Of a tensor with itself, the square, which is never negative.
    """
    x, y = as_abstraction(self), as_abstraction(other)
    if x is y:
        return chained(x, x.value.square(), lambda: 2.0 * x.value)
    shape = broadcast_shape(x, y)
    left, right = _aligned(x, shape), _aligned(y, shape)
    parts = (scaled(left, y.jacobian, shape), scaled(right, x.jacobian, shape))
    return Abstraction(left * right, total(parts))


def divide(self: Operand, other: Operand) -> Abstraction:
    """The quotient x / y.

    Differences are (x(p) - x(q)) / y(p) - x(q) / (y(p) y(q)) (y(p) - y(q)).

    Raises:
        OutsideDomain: y may be zero.
    """
    x, y = as_abstraction(self), as_abstraction(other)
    shape = broadcast_shape(x, y)
    above, below = _aligned(x, shape), _aligned(y, shape)
    quotient = above / below
    inverse = 1.0 / below
    parts = (
        scaled(inverse, x.jacobian, shape),
        scaled(-(quotient * inverse), y.jacobian, shape),
    )
    return Abstraction(quotient, total(parts))


def negate(self: Abstraction) -> Abstraction:
    """-x, which is exact."""
    return mapped_linearly(self, lambda part: -part)


#: By overload.
RULES: Rules = {
    "aten.add.Tensor": add,
    "aten.add.Scalar": add,
    "aten.sub.Tensor": subtract,
    "aten.sub.Scalar": subtract,
    "aten.rsub.Scalar": subtract_from,
    "aten.rsub.Tensor": subtract_from,
    "aten.mul.Tensor": multiply,
    "aten.mul.Scalar": multiply,
    "aten.div.Tensor": divide,
    "aten.div.Scalar": divide,
    "aten.neg.default": negate,
}


def _aligned(x: Abstraction, shape: tuple[int, ...]) -> Interval:
    return aligned(x.value, 1, len(shape))


def _times_number(x: Abstraction, number: float) -> Abstraction:
    """Without rounding where the number is a sign."""
    if number == 1:
        return x
    return negate(x) if number == -1 else multiply(x, number)
