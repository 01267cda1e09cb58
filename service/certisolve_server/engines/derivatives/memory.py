"""How much a computation keeps for its way back, and how it is divided to keep no more."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

#: What a derivative in reverse mode keeps at once, where the caller names no other bound.
DEFAULT_MEMORY_BYTES = 1 << 30


class Shares(NamedTuple):
    """How reverse mode divides its work.

    Attributes:
        num_rows: directions at once.
        segment: steps whose way back is kept at once; they are made anew for it, unless these are
            all there are.
    """

    num_rows: int
    segment: int


def shares(
    num_steps: int, *, step_bytes: int, state_bytes: int, max_rows: int, memory_bytes: int
) -> Shares:
    """As many rows as fit when segments are as short as is of use, and no segments if all fits.

    N steps in segments of s keep s ways back and N/s states: fewest bytes for s = sqrt(N state/way)
    (Griewank and Walther, Evaluating Derivatives, 2008, chapter 12, with one level of checkpoints).

    Args:
        num_steps: N.
        step_bytes: that the way back of one row through one step takes.
        state_bytes: that one row takes.
        max_rows: of a step.
        memory_bytes: to keep within, if one row can.
    """
    best = round(math.sqrt(num_steps * state_bytes / step_bytes))
    segment = max(1, min(num_steps, best))
    row_bytes = segment * step_bytes + math.ceil(num_steps / segment) * state_bytes
    num_rows = max(1, min(max_rows, memory_bytes // row_bytes))
    whole = num_rows * num_steps * step_bytes <= memory_bytes
    return Shares(num_rows, num_steps if whole else segment)


def kept_row_bytes(compute: Callable[[int], object]) -> int:
    """Bytes that autograd keeps of each row; at least 1.

    Args:
        compute: something that derivatives can be taken of, with so many rows.
    """
    # The difference is without weights, which are there anyway.
    return max(1, _kept_bytes(lambda: compute(2)) - _kept_bytes(lambda: compute(1)))


def _kept_bytes(compute: Callable[[], object]) -> int:
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        result = compute()
    # Until here, so that no two tensors had one address.
    del result
    return sum(sizes.values())
