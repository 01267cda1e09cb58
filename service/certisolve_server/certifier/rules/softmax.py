"""Exponentials by their sum, and the logarithm of the sum.

With y = softmax(x), dy_i / dx_j = y_i (d_ij - y_j), and the gradient of log sum exp is y: both are
smooth, so each result changes along a segment as by its gradient at a point of it. On a box,

    1 / (1 + sum_{j != i} e^(u_j - l_i)) <= y_i <= 1 / (1 + sum_{j != i} e^(l_j - u_i)).
"""

from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, matmul, total
from certisolve_server.certifier.functions import find

from .abstraction import Abstraction
from .arithmetic import subtract
from .reductions import from_the_end
from .rule import Declined, Rules
from .shapes import move, stacked


def softmax(self: Abstraction, dim: int, dtype: str | None) -> Abstraction:
    """e^x_i / sum_j e^x_j along an axis."""
    del dtype
    _require_axes(self)
    x = move(self, lambda each: each.movedim(dim, -1))
    shares = _shares(x.value)
    result = Abstraction(shares)
    if x.jacobian:
        slopes = _slopes(shares)
        blocks = {name: _contracted(slopes, block) for name, block in x.jacobian.items()}
        result = Abstraction(shares, MappingProxyType(blocks))
    return move(result, lambda each: each.movedim(-1, dim))


def log_sum_exp(self: Abstraction, dim: Sequence[int], keepdim: bool) -> Abstraction:
    """Log sum_j e^x_j along one axis: m + log sum e^(x - m), with any number m near the x."""
    if len(dim) != 1:
        raise Declined("sums along several axes")
    _require_axes(self)
    [axis] = from_the_end(dim, len(self.shape))
    x = move(self, lambda each: each.movedim(axis, -1))
    largest = Interval.exact(x.value.upper.nan_to_num(0.0, 0.0, 0.0).amax(-1, keepdim=True))
    value = find("log").value(total(find("exp").value(x.value - largest), -1))
    value = value + largest.rearranged(lambda end: end.squeeze(-1))
    blocks = {}
    for name, block in x.jacobian.items():
        weights = _shares(x.value).rearranged(lambda end: end.unsqueeze(1).unsqueeze(-2))
        products = matmul(weights, _column(block))
        blocks[name] = products.rearranged(lambda end: end.squeeze(-1).squeeze(-1))
    result = Abstraction(value, MappingProxyType(blocks))
    return move(result, lambda each: each.unsqueeze(axis)) if keepdim else result


def log_softmax(self: Abstraction, dim: int, dtype: str | None) -> Abstraction:
    """X less the logarithm of the sum of its exponentials."""
    del dtype
    return subtract(self, log_sum_exp(self, [dim], True), 1.0)


def log_add_exp(self: Abstraction, other: Abstraction) -> Abstraction:
    """log(e^x + e^y) of tensors of one shape."""
    if self.shape != other.shape:
        raise Declined("adds tensors of different shapes")
    return log_sum_exp(stacked([self, other], -1), [-1], False)


#: By overload.
RULES: Rules = {
    "aten.log_softmax.int": log_softmax,
    "aten.logaddexp.default": log_add_exp,
    "aten.logsumexp.default": log_sum_exp,
    "aten.softmax.int": softmax,
}


def _require_axes(x: Abstraction) -> None:
    if not x.shape:
        raise Declined("sums over one number")


def _shares(x: Interval) -> Interval:
    """The softmax along the last axis."""
    least = _share(x.lower, x.upper)
    most = _share(x.upper, x.lower)
    return Interval(least.lower.clamp(0.0, 1.0), most.upper.clamp(0.0, 1.0))


def _share(own: Tensor, others: Tensor) -> Interval:
    """1 / (1 + sum_{j != i} e^(others_j - own_i))."""
    difference = Interval.exact(_finite(others).unsqueeze(-2)) - Interval.exact(
        _finite(own).unsqueeze(-1)
    )
    powers = find("exp").value(difference)
    is_other = ~torch.eye(own.shape[-1], dtype=torch.bool)
    kept = Interval(
        torch.where(is_other, powers.lower, 0.0), torch.where(is_other, powers.upper, 0.0)
    )
    summed = total(kept, -1)
    # What overflows has no lower bound of its own.
    return 1.0 / (1.0 + Interval(summed.lower.clamp(min=0.0), summed.upper))


def _finite(ends: Tensor) -> Tensor:
    """Sides without end as the largest floats: differences of those are as good as endless."""
    return ends.nan_to_num(0.0)


def _slopes(shares: Interval) -> Interval:
    """(..., i, j): y_i (d_ij - y_j)."""
    rows = shares.rearranged(lambda end: end.unsqueeze(-1))
    columns = shares.rearranged(lambda end: end.unsqueeze(-2))
    identity = torch.eye(shares.shape[-1], dtype=torch.float64)
    return rows * (identity - columns)


def _contracted(slopes: Interval, block: Interval) -> Interval:
    """Slopes (boxes, ..., i, j) times a block (boxes, entries, ..., j)."""
    product = matmul(slopes.rearranged(lambda end: end.unsqueeze(1)), _column(block))
    return product.rearranged(lambda end: end.squeeze(-1))


def _column(block: Interval) -> Interval:
    return block.rearranged(lambda end: end.unsqueeze(-1))
