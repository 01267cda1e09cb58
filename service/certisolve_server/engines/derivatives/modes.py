"""Both modes of differentiation, along several directions in one batch.

A direction is a row: the function runs on as many copies of its inputs as there are directions, as
it would on as many requests. What is no floating-point number is held fixed and has derivative 0.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: From rows of inputs, each of shape (batch, ...), to rows of outputs; no row knows another.
RowFunction = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def pushforward(
    function: RowFunction, at: Sequence[Tensor], tangents: Sequence[Tensor]
) -> list[Tensor]:
    """J u, by forward mode: how outputs change along directions of the inputs.

    Args:
        function: with derivatives in forward mode.
        at: the inputs, each of shape (...).
        tangents: u, one per input, each of shape (direction, ...).

    Returns:
        One per output, of shape (direction, ...).

    Raises:
        NotImplementedError: an operator has no derivative in forward mode.
    """
    rows = copies(at, len(tangents[0]))
    free = [index for index, row in enumerate(rows) if row.is_floating_point()]

    def of_free(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(_filled(rows, free, values)))

    # Not torch.autograd.forward_ad: implicit integrators differentiate inside, and that one mode
    # cannot be nested.
    values, directions = (tuple(each[i] for i in free) for each in (rows, tangents))
    return list(torch.func.jvp(of_free, values, directions)[1])


def pullback(
    function: RowFunction, at: Sequence[Tensor], cotangents: Sequence[Tensor]
) -> list[Tensor]:
    """J^T v, by reverse mode: the gradients of v · outputs.

    Args:
        function: with derivatives in reverse mode.
        at: the inputs, each of shape (...).
        cotangents: v, one per output, each of shape (direction, ...).

    Returns:
        One per input, of shape (direction, ...).

    Raises:
        NotImplementedError: an operator has no derivative in reverse mode.
    """
    rows = differentiable_copies(at, len(cotangents[0]))
    pairs = zip(function(rows), cotangents, strict=True)
    # An output that no input reaches has no history to go back through.
    reached = [(output, cotangent) for output, cotangent in pairs if output.requires_grad]
    found = [torch.zeros_like(row) for row in rows]
    free = [index for index, row in enumerate(rows) if row.requires_grad]
    if not reached:
        return found
    outputs, seeds = zip(*reached, strict=True)
    gradients = torch.autograd.grad(
        outputs, [rows[index] for index in free], seeds, materialize_grads=True
    )
    return _filled(found, free, gradients)


def copies(at: Sequence[Tensor], count: int) -> list[Tensor]:
    """As many rows of each input."""
    return [tensor.expand(count, *tensor.shape).contiguous() for tensor in at]


def differentiable_copies(at: Sequence[Tensor], count: int) -> list[Tensor]:
    """As many rows of each input, those of floating-point numbers with a gradient each."""
    return [
        row.detach().clone().requires_grad_(row.is_floating_point()) for row in copies(at, count)
    ]


def _filled(
    values: Sequence[Tensor], places: Sequence[int], others: Sequence[Tensor]
) -> list[Tensor]:
    filled = list(values)
    for place, other in zip(places, others, strict=True):
        filled[place] = other
    return filled
