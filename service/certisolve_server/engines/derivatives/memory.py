"""How much a computation keeps for its way back."""

from collections.abc import Callable

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

#: What a derivative in reverse mode keeps at once, where the caller names no other bound.
DEFAULT_MEMORY_BYTES = 1 << 30


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
