"""What users hold, as arrays that travel; no framework is imported to recognise its tensors."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .wire import WireError, dtype_name

Array = NDArray[Any]


@runtime_checkable
class TorchTensor(Protocol):
    """What the SDK uses of a torch.Tensor."""

    def detach(self) -> "TorchTensor":
        """Without its history of gradients."""

    def cpu(self) -> "TorchTensor":
        """In main memory."""

    def numpy(self) -> Array:
        """As an array over the same memory."""


#: numpy arrays, nested lists, torch tensors and xarray.DataArrays.
Tensor = ArrayLike | TorchTensor


def to_arrays(inputs: Mapping[str, Tensor]) -> dict[str, Array]:
    """Every input as an array that travels: see `to_array`.

    Raises:
        TypeError: naming the input.
    """
    return {name: to_array(f"inputs.{name}", value) for name, value in inputs.items()}


def to_array(field: str, value: Tensor) -> Array:
    """`value` as an array that travels; `value` itself when it already is one.

    Models compute in float32. Float64 arrays and tensors, and lists and scalars of any numbers, are
    therefore sent as float32; every other array is sent as it is.

    Args:
        field: path for the error message.
        value: an array, tensor or nested list.

    Raises:
        TypeError: not a rectangular array of numbers, or of a type that does not travel.
    """
    array = to_exact_array(field, value)
    # By kind and size: a big-endian float64 is not equal to np.float64.
    return _to_float32(array) if array.dtype.str[1:] == "f8" else array


def to_exact_array(field: str, value: Tensor) -> Array:
    """`value` as an array that travels, in its own precision; lists and scalars as float64.

    Args:
        field: path for the error message.
        value: an array, tensor or nested list.

    Raises:
        TypeError: not a rectangular array of numbers, or of a type that does not travel.
    """
    try:
        array = value if isinstance(value, np.ndarray) else _convert(value)
        dtype_name(array)
    except (TypeError, ValueError) as error:
        problem = error.problem if isinstance(error, WireError) else error
        raise TypeError(f"{field}: {problem}") from error
    return array


def _convert(value: Tensor) -> Array:
    if isinstance(value, TorchTensor):
        return value.detach().cpu().numpy()
    array = np.asarray(value)
    if isinstance(value, list | tuple | int | float) and array.dtype.kind in "iu":
        return array.astype(np.float64)
    return array


def _to_float32(array: Array) -> Array:
    # What overflows becomes infinite, which the server refuses with the name of the input.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
