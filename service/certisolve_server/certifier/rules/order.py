"""The largest, the smallest and the sorted entries of groups.

The k-th largest of a group is piecewise an entry of it, and continuous; so along the segment from
y to x its change is that of a mixture: sort_k(x) - sort_k(y) = sum_i w_i (x_i - y_i), w_i >= 0,
sum_i w_i = 1, with w_i = 0 for entries that are the k-th nowhere on the set (Lebourg's mean value
theorem: Clarke, Optimization and Nonsmooth Analysis, theorem 2.3.7). A mixture of matrices within
intervals is within the hull of those.
"""

from collections.abc import Sequence
from types import MappingProxyType

import torch

from certisolve_server.certifier.arithmetic import Interval, stack

from .abstraction import Abstraction
from .rule import Declined, Rules
from .shapes import move


def largest(self: Abstraction, dim: Sequence[int], keepdim: bool) -> Abstraction:
    """Along one axis (aten.amax)."""
    return _kept(ranked(_grouped(self, _one(dim)), 0), _one(dim), keepdim)


def smallest(self: Abstraction, dim: Sequence[int], keepdim: bool) -> Abstraction:
    """Along one axis (aten.amin)."""
    return _kept(ranked(_grouped(self, _one(dim)), -1), _one(dim), keepdim)


def largest_and_place(self: Abstraction, dim: int, keepdim: bool) -> tuple[Abstraction]:
    """Without the place, which jumps, so that who takes it is refused (aten.max.dim)."""
    return (largest(self, [dim], keepdim),)


def smallest_and_place(self: Abstraction, dim: int, keepdim: bool) -> tuple[Abstraction]:
    """As `largest_and_place`."""
    return (smallest(self, [dim], keepdim),)


def sort(self: Abstraction, dim: int, descending: bool) -> tuple[Abstraction]:
    """Without the places (aten.sort)."""
    groups = _grouped(self, dim)
    ranks = [ranked(groups, rank) for rank in range(groups.shape[-1])]
    sorted_groups = _stacked(ranks if descending else ranks[::-1])
    return (move(sorted_groups, lambda x: x.movedim(-1, dim)),)


def ranked(groups: Abstraction, rank: int) -> Abstraction:
    """The entry of each group, along the last axis, that so many others are above."""
    value = groups.value
    ends = (
        torch.sort(end, -1, descending=True).values[..., rank] for end in (value.lower, value.upper)
    )
    place = Interval(*ends)
    # Only who can be where the ranked one is can be the ranked one.
    can_be = (value.lower <= place.upper.unsqueeze(-1)) & (value.upper >= place.lower.unsqueeze(-1))
    jacobian = {name: _hull(block, can_be) for name, block in groups.jacobian.items()}
    return Abstraction(place, MappingProxyType(jacobian))


#: By overload.
RULES: Rules = {
    "aten.amax.default": largest,
    "aten.amin.default": smallest,
    "aten.max.dim": largest_and_place,
    "aten.min.dim": smallest_and_place,
    "aten.sort.default": sort,
}


def _one(dim: Sequence[int]) -> int:
    if len(dim) != 1:
        raise Declined("takes the largest along several axes")
    return dim[0]


def _grouped(x: Abstraction, dim: int) -> Abstraction:
    if not x.shape:
        raise Declined("sorts one number")
    return move(x, lambda entries: entries.movedim(dim, -1))


def _kept(x: Abstraction, dim: int, keepdim: bool) -> Abstraction:
    if not keepdim:
        return x
    axis = dim if dim >= 0 else dim + len(x.shape) + 1
    return move(x, lambda entries: entries.unsqueeze(axis))


def _hull(block: Interval, of: torch.Tensor) -> Interval:
    """The hull of the entries of each group that count, at least one each."""
    counts = of.unsqueeze(1)
    lower = torch.where(counts, block.lower, torch.inf).amin(-1)
    return Interval(lower, torch.where(counts, block.upper, -torch.inf).amax(-1))


def _stacked(parts: Sequence[Abstraction]) -> Abstraction:
    jacobian = {
        name: stack([part.jacobian[name] for part in parts], -1) for name in parts[0].jacobian
    }
    return Abstraction(stack([part.value for part in parts], -1), MappingProxyType(jacobian))
