"""What is known of a tensor on a set of inputs: where its values lie, and how they change.

Sets are boxes, and many are looked at together: every tensor here has a leading axis of boxes, of
size 1 where a value is the same on all of them.

The promise about Jacobians is one about differences, and needs no calculus of generalised
gradients. For a value z of shape (*shape) and a box X, the blocks J_k (one for each varying input
x_k) hold, for any x and y in X, real matrices M_k within J_k such that

    z(x) - z(y) = sum_k M_k (x_k - y_k).

It holds for the inputs (M = I), for sums, for products, as a(x)b(x) - a(y)b(y) =
a(x) (b(x) - b(y)) + b(y) (a(x) - a(y)), and for s(z) with any function s whose difference
quotients on the interval of z lie in the given interval (for an absolutely continuous s: where its
derivative does). So it holds for every graph by induction over its nodes. Each rule has to keep it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

#: Of each varying input that a value depends on: (boxes, entries of the input, *shape).
Jacobian: TypeAlias = Mapping[str, Interval]

NO_JACOBIAN: Jacobian = MappingProxyType({})


@dataclass(frozen=True)
class Abstraction:
    """Enclosures of a tensor of shape (*shape) and of its slopes, on each of several boxes.

    Args:
        value: (boxes, *shape).
        jacobian: see the module; an input that is not a key has no influence. Empty where no
            Jacobian was asked for.
    """

    value: Interval
    jacobian: Jacobian = field(default_factory=lambda: NO_JACOBIAN)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape[1:])

    @property
    def is_exact(self) -> bool:
        """Whether it is a constant known to the last bit, the same on every box."""
        return self.value.shape[0] == 1 and not self.jacobian and self.value.is_exact


def constant(value: Interval) -> Abstraction:
    """A tensor that is the same on all boxes; `value` has no axis of boxes yet."""
    return Abstraction(value.rearranged(lambda bound: bound.unsqueeze(0)))


def mapped_linearly(x: Abstraction, apply: Callable[[Interval], Interval]) -> Abstraction:
    """The image of a linear map that encloses what it is applied to, (batch, *shape) at a time."""
    jacobian = {name: unbatched(apply(batched(block)), block) for name, block in x.jacobian.items()}
    return Abstraction(apply(x.value), MappingProxyType(jacobian))


def batched(block: Interval) -> Interval:
    """Boxes and input entries as one axis."""
    return block.rearranged(lambda bound: bound.flatten(0, 1))


def unbatched(flat: Interval, block: Interval) -> Interval:
    """The axes that `batched` joined, apart again."""
    sizes = tuple(block.shape[:2])
    return flat.rearranged(lambda bound: bound.reshape(*sizes, *bound.shape[1:]))


def aligned(interval: Interval, leading: int, rank: int) -> Interval:
    """With ones put in after the leading axes, so that the rest has `rank` axes to broadcast."""
    missing = rank - (interval.ndim - leading)
    if missing == 0:
        return interval
    ones = (1,) * missing

    def pad(bound: Tensor) -> Tensor:
        return bound.reshape(*bound.shape[:leading], *ones, *bound.shape[leading:])

    return interval.rearranged(pad)


def widened(interval: Interval, leading: int, shape: tuple[int, ...]) -> Interval:
    """Broadcast to `shape` behind the leading axes."""
    padded = aligned(interval, leading, len(shape))
    return padded.rearranged(lambda bound: bound.expand(*bound.shape[:leading], *shape))


def per_entry(value: Interval) -> Interval:
    """With an axis for the entries of an input, so that a value meets a block of a Jacobian."""
    return value.rearranged(lambda bound: bound.unsqueeze(1))


def scaled(slope: Interval, jacobian: Jacobian, shape: tuple[int, ...]) -> Jacobian:
    """`slope`, (boxes, *shape), times each block: the chain rule of what acts entry by entry."""
    factor = per_entry(aligned(slope, 1, len(shape)))
    return MappingProxyType(
        {name: factor * widened(block, 2, shape) for name, block in jacobian.items()}
    )


def chained(x: Abstraction, value: Interval, slope: Callable[[], Interval]) -> Abstraction:
    """What a function does to x entry by entry, from its values and its slopes on x.

    `slope` is only called for where there is a Jacobian to multiply with it.
    """
    if not x.jacobian:
        return Abstraction(value)
    return Abstraction(value, scaled(slope(), x.jacobian, x.shape))


def spread(jacobian: Jacobian, shape: tuple[int, ...]) -> Jacobian:
    """Each block broadcast to a value of this shape."""
    return MappingProxyType({name: widened(block, 2, shape) for name, block in jacobian.items()})


def total(jacobians: Iterable[Jacobian]) -> Jacobian:
    """The sum, input by input, of Jacobians of equal shape."""
    blocks: dict[str, Interval] = {}
    for jacobian in jacobians:
        for name, block in jacobian.items():
            blocks[name] = blocks[name] + block if name in blocks else block
    return MappingProxyType(blocks)
