"""Arrays to bytes and back: the dtype table and the safetensors framing of HTTP bodies.

Decoded arrays are read-only views of the body, not copies. The framing is the public safetensors
format; it is written out here because the library copies every tensor and hides `__metadata__`.
"""

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Media type of a safetensors body.
SAFETENSORS = "application/x-safetensors"
#: Key under `__metadata__` that holds the rest of a request or reply as JSON.
METADATA_KEY = "certisolve"

#: Element types on the wire, little-endian.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 1 << 20
_MAX_RANK = 32
#: More than any body holds, and few enough for every size and stride to be a machine integer.
_MAX_ELEMENTS = 1 << 48


class WireError(ValueError):
    """Bytes that are not what they claim to be.

    Attributes:
        field: the tensor at fault, or empty when the framing itself is broken.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def dtype_name(array: NDArray[Any]) -> str:
    """The wire name of an array's element type, `F32`.

    Raises:
        WireError: the type does not travel (complex, object, text).
    """
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise WireError("", f"dtype {array.dtype} does not travel; use one of {sorted(DTYPES)}")
    return name


def to_bytes(array: NDArray[Any]) -> bytes | memoryview:
    """The little-endian C-order bytes of an array; a view where its layout allows one."""
    if array.size == 0:
        return b""
    return (
        np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
    )


def from_bytes(
    field: str, dtype: str, shape: Sequence[int], data: bytes | memoryview
) -> NDArray[Any]:
    """A read-only array over `data`.

    Args:
        field: name for the error message.
        dtype: wire name of the element type.
        shape: non-negative sizes.
        data: exactly prod(shape) elements.

    Raises:
        WireError: unknown dtype, bad shape, or a byte count that does not match.
    """
    element = DTYPES.get(dtype)
    if element is None:
        raise WireError(field, f"unknown dtype {reprlib.repr(dtype)}; use one of {sorted(DTYPES)}")
    if not _is_shape(shape):
        raise WireError(field, f"bad shape {reprlib.repr(list(shape))}")
    expected = math.prod(shape) * element.itemsize
    if len(data) != expected:
        raise WireError(field, f"{dtype} {list(shape)} takes {expected} bytes, got {len(data)}")
    if dtype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise WireError(field, "a BOOL is 0 or 1")
    array = np.frombuffer(data, element).reshape(shape)
    array.flags.writeable = False
    return array


def encode_safetensors(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any] | str
) -> bytes:
    """A safetensors body holding `tensors` and, as JSON, `metadata`.

    Args:
        tensors: by name.
        metadata: an object to be written as JSON, or such JSON.

    Raises:
        WireError: an element type that does not travel.
    """
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    entries = [f'"__metadata__":{{"{METADATA_KEY}":{json.dumps(text)}}}']
    chunks: list[bytes | memoryview] = []
    end = 0
    for name, array in tensors.items():
        dtype = dtype_name(array)
        begin, chunk = end, to_bytes(array)
        end = begin + len(chunk)
        # By hand: the header is most of the time that a small field spends here.
        entries.append(
            f'{json.dumps(name)}:{{"dtype":"{dtype}","shape":{[*array.shape]},'
            f'"data_offsets":[{begin},{end}]}}'
        )
        chunks.append(chunk)
    return b"".join((*_frame(f"{{{','.join(entries)}}}".encode()), *chunks))


def decode_safetensors(body: bytes | memoryview) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors of a body, as views of it, and the JSON under `__metadata__.certisolve`.

    Raises:
        WireError: the body is cut short, is not safetensors, or contradicts itself.
    """
    header, start = _read_header(body)
    metadata = _read_metadata(header.pop("__metadata__", {}))
    data = memoryview(body)[start:]
    spans = {name: _read_span(name, entry, len(data)) for name, entry in header.items()}
    _check_spans(list(spans.values()), len(data))
    tensors = {
        name: from_bytes(name, header[name]["dtype"], header[name]["shape"], data[begin:end])
        for name, (begin, end) in spans.items()
    }
    return tensors, metadata


def _frame(header: bytes) -> tuple[bytes, bytes]:
    # Spaces up to a multiple of 8 keep the tensors aligned, as the format asks.
    padded = header.ljust(-(-len(header) // 8) * 8)
    return len(padded).to_bytes(_LENGTH_BYTES, "little"), padded


def _read_header(body: bytes | memoryview) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(body[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(body) < _LENGTH_BYTES or start > len(body) or length > _MAX_HEADER_BYTES:
        raise WireError("", "not a safetensors body: the header is cut short or too long")
    return _read_object(bytes(body[_LENGTH_BYTES:start]), "the safetensors header"), start


def _read_metadata(entry: object) -> dict[str, Any]:
    text = entry.get(METADATA_KEY, "{}") if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise WireError("", f"__metadata__.{METADATA_KEY} must be JSON in a string")
    return _read_object(text, f"__metadata__.{METADATA_KEY}")


def _read_object(raw: bytes | str, what: str) -> dict[str, Any]:
    try:
        text = raw if isinstance(raw, str) else raw.decode()
        value = json.loads(text)
        if "\\u" in text:
            # Half a surrogate pair is JSON, but no reply could say which name it stood in.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise WireError("", f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WireError("", f"{what} must be a JSON object")
    return value


def _read_span(name: str, entry: object, num_bytes: int) -> tuple[int, int]:
    match entry:
        case {"dtype": str(), "shape": [*_], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise WireError(name, "needs dtype, shape and data_offsets")
    if not 0 <= begin <= end <= num_bytes:
        raise WireError(name, f"data_offsets {begin}, {end} lie outside the {num_bytes} data bytes")
    return begin, end


def _check_spans(spans: list[tuple[int, int]], num_bytes: int) -> None:
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise WireError("", "data_offsets overlap or leave a gap")
        position = end
    if position != num_bytes:
        raise WireError("", f"{num_bytes - position} data bytes belong to no tensor")


def _is_shape(shape: Sequence[object]) -> bool:
    # A size of 0 makes the count 0, but the strides are those of the other sizes.
    sizes = [size for size in shape if type(size) is int and size >= 0]
    plain = len(sizes) == len(shape) <= _MAX_RANK
    return plain and math.prod(size or 1 for size in sizes) <= _MAX_ELEMENTS
