"""How much a computation keeps for its way back."""

from collections.abc import Callable

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

#: What a derivative in reverse mode keeps at once, where the caller names no other bound.
DEFAULT_MEMORY_BYTES = 1 << 30


def kept_bytes(compute: Callable[[], object]) -> int:
    """Bytes that autograd keeps of a computation; at least 1.

    Weights, which are kept anyway, are counted too: an upper bound.
    """
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        result = compute()
    # Kept until here, so that no two tensors had one address.
    del result
    return max(1, sum(sizes.values()))
