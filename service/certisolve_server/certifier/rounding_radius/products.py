"""Matrix products, each entry a sum of products in any order, fused or not.

With both operands off, X'Y' - X Y = (X' - X) Y' + X (Y' - Y), so entries are off by at most
|X' - X| |Y| + |X| |Y' - Y|, and lengths by |X' - X|_F |Y|_2 + |X|_2 |Y' - Y|_F for each product of
a stack; rounding adds gamma_n |X| |Y| (Higham, Accuracy and Stability, section 3.5). That holds of
every order of summation, and so of every blocking and number of threads; it does not hold of
products of matrices by Strassen, nor of operands that are cut to fewer bits (TF32).
"""

import math

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.bilinear import enlarged
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up, sum_up
from certisolve_server.certifier.rules import Declined

from . import arithmetic
from .deviation import Deviation, Known, largest, number, widened
from .precision import Precision
from .rule import Operand, Rules


def product(precision: Precision, self: Known, mat2: Known) -> Deviation:
    """X Y of matrices or stacks of them."""
    if min(len(self.shape), len(mat2.shape)) < 2:
        raise Declined("multiplies a vector without axes of a matrix")
    x, y, terms = self, mat2, self.shape[-1]
    entries = sum_up(_matmul(x.deviation.entries, y.size), _matmul(x.size, y.deviation.entries))
    sizes = _matmul(x.size, y.size)
    stack = sizes.numel() // max(1, sizes.shape[-1] * sizes.shape[-2])
    length = sum_up(_lengthened(x.deviation, y, stack), _lengthened(y.deviation, x, stack))
    return Deviation.within(entries, length).plus(of_products(precision, x, y, sizes, terms))


def matrix_product(precision: Precision, self: Known, other: Known) -> Deviation:
    """As `product` (aten.matmul)."""
    return product(precision, self, other)


def linear(precision: Precision, input: Known, weight: Known, bias: Known | None) -> Deviation:
    """X W^T + b."""
    transposed = weight.transposed
    rows = math.prod(input.shape[:-1])
    flat = Known(
        input.hull.rearranged(lambda ends: ends.reshape(rows, -1)),
        Deviation(input.deviation.entries.reshape(rows, -1), input.deviation.length),
        input.varies,
    )
    image = product(precision, flat, transposed)
    shape = (*input.shape[:-1], weight.shape[0])
    shaped = Deviation(image.entries.reshape(shape), image.length)
    if bias is None:
        return shaped
    sizes = _matmul(flat.size, transposed.size).reshape(shape)
    return arithmetic.add(precision, _known(sizes, shaped, input), bias, 1.0)


def add_product(
    precision: Precision, self: Operand, mat1: Known, mat2: Known, beta: float, alpha: float
) -> Deviation:
    """Beta c + alpha X Y (aten.addmm)."""
    image = _known(_matmul(mat1.size, mat2.size), product(precision, mat1, mat2), mat1)
    if alpha != 1:
        scaled = arithmetic.multiply(precision, image, alpha)
        image = _known(product_up(image.size, number(abs(alpha))), scaled, mat1)
    return arithmetic.add(precision, image, self, float(beta))


#: By overload.
RULES: Rules = {
    "aten.addmm.default": add_product,
    "aten.bmm.default": product,
    "aten.linear.default": linear,
    "aten.matmul.default": matrix_product,
    "aten.mm.default": product,
}


def of_products(precision: Precision, x: Known, y: Known, sizes: Tensor, terms: int) -> Deviation:
    """What rounding adds to sums of products of entries of two tensors.

    Args:
        precision: of the sums.
        x: whose entries are factors.
        y: likewise.
        sizes: at least the sum of the sizes of the products, in the shape of the result.
        terms: at most so many in each sum.

    Raises:
        ValueError: a sum may overflow on its way.
    """
    precision.require_range(sizes)
    factor = sum_up(sum_up(largest(x.size), largest(y.size)), number(1.0))
    lost = product_up(factor, number(terms * precision.absolute))
    return Deviation.within(sum_up(product_up(sizes, number(precision.gamma(terms))), lost))


def _known(sizes: Tensor, deviation: Deviation, like: Known) -> Known:
    """A value of at most these sizes, and another one off by the deviation."""
    return Known(widened(Interval(-sizes, sizes), deviation), deviation, like.varies)


def _matmul(x: Tensor, y: Tensor) -> Tensor:
    """At least X Y, of what is not negative."""
    return enlarged(x @ y, x.shape[-1])


def _lengthened(deviation: Deviation, by: Known, stack: int) -> Tensor:
    """At least the length of all products of a deviation with matrices."""
    if deviation.is_none:
        return number(0.0)
    entries = deviation.entries
    matrices = max(1, entries.numel() // max(1, entries.shape[-1] * entries.shape[-2]))
    times = sqrt_up(number(float(stack // matrices)))
    return product_up(product_up(deviation.length, times), by.norm)
