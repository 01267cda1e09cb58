"""Arrays as messages."""

from collections.abc import Mapping

from certisolve._arrays import Array
from certisolve.v1.tensor_pb2 import Tensor
from certisolve.wire import dtype_name, to_bytes


def encode_tensor(array: Array) -> Tensor:
    """An array as a message."""
    return Tensor(dtype=dtype_name(array), shape=array.shape, data=bytes(to_bytes(array)))


def encode_tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Arrays by name as messages."""
    return {name: encode_tensor(array) for name, array in arrays.items()}
