"""Einstein's sums over two tensors: stacks of products of matrices, in any order of summation."""

import math
from collections.abc import Sequence

from certisolve_server.certifier.rules import Declined
from certisolve_server.certifier.rules.contractions import subscripts

from .deviation import Deviation, Known
from .precision import Precision
from .products import product
from .rule import Rules
from .steps import reshaped


def contract(
    precision: Precision, equation: str, tensors: Sequence[Known], path: object
) -> Deviation:
    """Each entry of the result is a sum over all axes that it does not have."""
    del path
    if len(tensors) != 2:
        raise Declined(f"contracts {len(tensors)} tensors, not two")
    x, y = tensors
    left, right, result = subscripts(equation, [len(x.shape), len(y.shape)])
    sizes = dict(zip(left, x.shape, strict=True)) | dict(zip(right, y.shape, strict=True))
    stack = [each for each in result if each in left and each in right]
    rows = [each for each in result if each not in right]
    columns = [each for each in result if each not in left]
    summed = [each for each in sizes if each not in result]
    one = _arranged(x, left, [*stack, *rows, *summed], sizes)
    other = _arranged(y, right, [*stack, *summed, *columns], sizes)
    counts = [math.prod(sizes[each] for each in part) for part in (stack, rows, summed, columns)]
    number, height, terms, width = counts
    found = product(
        precision, reshaped(one, number, height, terms), reshaped(other, number, terms, width)
    )
    order = [*stack, *rows, *columns]
    entries = found.entries.reshape([sizes[each] for each in order])
    return Deviation(entries.permute([order.index(each) for each in result]), found.length)


#: By overload.
RULES: Rules = {"aten.einsum.default": contract}


def _arranged(x: Known, names: str, order: Sequence[str], sizes: dict[str, int]) -> Known:
    """Axes in this order, repeated along those that are not there.

    Of axes that one operand alone is summed over, that is a sum of products with ones.
    """
    there = [names.index(each) for each in order if each in names]
    if any(x.shape[names.index(each)] != sizes[each] for each in order if each in names):
        raise Declined("contracts axes of different sizes")
    shape = [sizes[each] if each in names else 1 for each in order]
    hull = x.hull.rearranged(lambda ends: ends.permute(there).reshape(shape))
    entries = x.deviation.entries.permute(there).reshape(shape)
    moved = Known(hull, Deviation(entries, x.deviation.length), x.varies)
    return moved.broadcast(tuple(sizes[each] for each in order))
