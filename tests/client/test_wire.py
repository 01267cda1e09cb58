"""Arrays survive the wire bit for bit, and bytes that lie about themselves are refused."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from certisolve.wire import (
    DTYPES,
    METADATA_KEY,
    WireError,
    decode_safetensors,
    dtype_name,
    encode_safetensors,
    from_bytes,
    to_bytes,
)

names = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda n: n != "__metadata__")
tensors = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


def same(left, right) -> bool:
    """Equal in type, shape and every bit, NaN included."""
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


def body(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


# --- There and back -------------------------------------------------------------------------------


@given(st.dictionaries(names, tensors, max_size=4), st.dictionaries(st.text(), json_values))
def test_tensors_and_metadata_survive(sent, metadata):
    got, rest = decode_safetensors(encode_safetensors(sent, metadata))
    assert list(got) == list(sent)
    assert all(same(got[name], sent[name]) for name in sent)
    assert rest == metadata


@given(st.dictionaries(names, tensors, max_size=4))
def test_the_safetensors_library_reads_what_we_write(sent):
    got = safetensors.numpy.load(encode_safetensors(sent, {}))
    assert got.keys() == sent.keys()
    assert all(same(got[name], sent[name]) for name in sent)


@given(st.dictionaries(names, tensors, max_size=4))
def test_we_read_what_the_safetensors_library_writes(sent):
    written = safetensors.numpy.save(sent, {METADATA_KEY: '{"t": [1.0]}'})
    got, metadata = decode_safetensors(written)
    assert got.keys() == sent.keys()
    assert all(same(got[name], sent[name]) for name in sent)
    assert metadata == {"t": [1.0]}


def test_metadata_may_come_as_json():
    assert decode_safetensors(encode_safetensors({}, '{"t":[1.0]}')) == ({}, {"t": [1.0]})


def test_metadata_of_others_is_left_alone():
    header = {"__metadata__": {"format": "pt"}}
    assert decode_safetensors(body(header)) == ({}, {})


@given(tensors)
def test_bytes_alone_survive(array):
    data = bytes(to_bytes(array))
    assert same(from_bytes("u", dtype_name(array), array.shape, data), array)


LAYOUTS = {
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "strided": np.arange(12, dtype=np.float32)[::2],
    "reversed": np.arange(6, dtype=np.float32)[::-1],
    "broadcast": np.broadcast_to(np.float32(1), (2, 3)),
    "big-endian": np.arange(6, dtype=">f4"),
    "rank-0": np.array(1.5, np.float32),
    "empty": np.empty((0, 3), np.float32),
}


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_in_memory_does_not_travel(array):
    (got,) = decode_safetensors(encode_safetensors({"u": array}, {}))[0].values()
    assert got.shape == array.shape
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, array)


def test_a_contiguous_array_is_not_copied_on_its_way_out():
    array = np.arange(6, dtype=np.float32)
    assert np.shares_memory(np.frombuffer(to_bytes(array), np.uint8), array)


@pytest.mark.parametrize("frame", [bytes, bytearray, memoryview])
def test_what_arrives_is_a_read_only_view_of_the_body(frame):
    whole = frame(encode_safetensors({"u": np.ones(4, np.float32)}, {}))
    (got,) = decode_safetensors(whole)[0].values()
    assert np.shares_memory(got, np.frombuffer(whole, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        got[0] = 2.0


def test_tensors_start_at_multiples_of_eight():
    for length in range(9):
        whole = encode_safetensors({"u" * length: np.ones(1)}, {})
        assert struct.unpack("<Q", whole[:8])[0] % 8 == 0


@pytest.mark.parametrize(
    "array",
    [np.ones(2, complex), np.array(["a"]), np.array([None]), np.array([1], "M8[s]")],
    ids=["complex", "text", "object", "time"],
)
def test_an_element_type_that_does_not_travel_is_named(array):
    with pytest.raises(WireError, match="does not travel"):
        encode_safetensors({"u": array}, {})


# --- Bodies that lie ------------------------------------------------------------------------------

DATA = np.arange(2, dtype=np.float32).tobytes()

FRAMINGS = {
    "empty": b"",
    "seven-bytes": b"\0" * 7,
    "no-header": struct.pack("<Q", 0),
    "header-cut-short": body({"u": entry()}, DATA)[:20],
    "header-longer-than-the-body": body({}, length=3),
    "header-of-2-to-the-63": body({}, length=1 << 63),
    "header-of-2-to-the-64-less-1": body({}, length=(1 << 64) - 1),
    "header-of-two-mebibytes": body(b" " * (2 << 20)),
    "header-not-json": body(b"{'u': 1}"),
    "header-not-utf-8": body(b'{"\xff": 1}'),
    "header-utf-16": body('{"u": 1}'.encode("utf-16")),
    "header-a-list": body([]),
    "header-a-number": body(1),
    "header-deep": body(b"[" * 200_000),
    "header-with-an-endless-integer": body(b'{"u": ' + b"1" * 5000 + b"}"),
    "name-half-a-surrogate-pair": body(b'{"\\ud800": 1}'),
    "metadata-a-list": body({"__metadata__": []}),
    "metadata-null": body({"__metadata__": None}),
    "metadata-not-text": body({"__metadata__": {METADATA_KEY: {"t": [1]}}}),
    "metadata-not-json": body({"__metadata__": {METADATA_KEY: "{"}}),
    "metadata-not-an-object": body({"__metadata__": {METADATA_KEY: "[]"}}),
    "metadata-deep": body({"__metadata__": {METADATA_KEY: "[" * 200_000}}),
    "metadata-half-a-surrogate-pair": body({"__metadata__": {METADATA_KEY: '{"\\udfff": 1}'}}),
    "data-cut-short": body({"u": entry(), "v": entry(offsets=(8, 16))}, DATA + DATA[:4]),
    "data-left-over": body({"u": entry()}, DATA + b"\0"),
    "data-without-tensors": body({}, DATA),
    "tensors-that-overlap": body({"u": entry(), "v": entry(offsets=(4, 12))}, DATA + b"\0" * 4),
    "tensors-in-the-same-place": body({"u": entry(), "v": entry()}, DATA),
    "gap-between-tensors": body({"u": entry(), "v": entry(offsets=(12, 20))}, DATA * 2 + b"\0" * 4),
    "gap-before-the-first": body({"u": entry(offsets=(4, 12))}, b"\0" * 4 + DATA),
}


@pytest.mark.parametrize("content", FRAMINGS.values(), ids=FRAMINGS)
def test_a_body_that_contradicts_itself_is_refused(content):
    with pytest.raises(WireError):
        decode_safetensors(content)


ENTRIES = {
    "null": None,
    "list": [],
    "nothing": {},
    "no-dtype": {"shape": [2], "data_offsets": [0, 8]},
    "dtype-number": entry(dtype=4),
    "dtype-unknown": entry(dtype="F33"),
    "dtype-lower-case": entry(dtype="f32"),
    "dtype-of-numpy": entry(dtype="<f4"),
    "dtype-too-wide": entry(dtype="F64"),
    "dtype-endless": entry(dtype="F" * 100_000),
    "shape-null": {"dtype": "F32", "shape": None, "data_offsets": [0, 8]},
    "shape-text": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]},
    "shape-object": {"dtype": "F32", "shape": {"0": 2}, "data_offsets": [0, 8]},
    "shape-of-text": entry(shape=["2"]),
    "shape-of-booleans": entry(shape=[True, 2]),
    "shape-of-fractions": entry(shape=[2.0]),
    "shape-of-lists": entry(shape=[[2]]),
    "shape-negative": entry(shape=[-2]),
    "shape-negative-twice": entry(shape=[-1, -2]),
    "shape-too-small": entry(shape=[1]),
    "shape-too-large": entry(shape=[3]),
    "shape-beyond-memory": entry(shape=[1 << 62]),
    "shape-that-wraps-around": entry(shape=[1 << 32, 1 << 32, 2]),
    "shape-beyond-integers": entry(shape=[10**30]),
    "shape-beyond-printing": entry(shape=[10**4000, 10**4000]),
    "shape-empty-and-beyond-integers": entry(shape=[0, 10**30], offsets=(0, 0)),
    "shape-empty-and-beyond-memory": entry(shape=[0, 1 << 62, 1 << 62], offsets=(0, 0)),
    "shape-of-rank-33": entry(shape=[1] * 32 + [2]),
    "shape-endless": entry(shape=[1] * 100_000),
    "offsets-one": entry(offsets=[0]),
    "offsets-three": entry(offsets=[0, 8, 8]),
    "offsets-text": entry(offsets=["0", "8"]),
    "offsets-fractions": entry(offsets=[0.0, 8.0]),
    "offsets-reversed": entry(offsets=[8, 0]),
    "offsets-negative": entry(offsets=[-8, 0]),
    "offsets-outside": entry(offsets=[0, 9]),
    "offsets-far-outside": entry(offsets=[1 << 70, (1 << 70) + 8]),
}


@pytest.mark.parametrize("value", ENTRIES.values(), ids=ENTRIES)
def test_a_tensor_that_is_misdescribed_is_named(value):
    with pytest.raises(WireError) as caught:
        decode_safetensors(body({"u": value}, DATA))
    # Where the offsets are in order, only together with the others can they be wrong.
    assert caught.value.field in ("u", "")
    assert caught.value.problem
    assert len(caught.value.problem) < 5000, "an error is no place to send the request back"


@pytest.mark.parametrize(
    "bad",
    [
        entry(shape=[-2], offsets=(8, 16)),
        entry(dtype="F33", offsets=(8, 16)),
        entry(shape=[3], offsets=(8, 16)),
        entry(offsets=(8, 17)),
        None,
    ],
    ids=["shape", "dtype", "size", "offsets", "null"],
)
def test_the_tensor_at_fault_is_the_one_named(bad):
    with pytest.raises(WireError) as caught:
        decode_safetensors(body({"good": entry(), "bad": bad}, DATA * 2))
    assert caught.value.field == "bad"


def test_a_truth_value_is_zero_or_one():
    with pytest.raises(WireError, match="0 or 1"):
        from_bytes("mask", "BOOL", (3,), b"\0\1\2")
    assert from_bytes("mask", "BOOL", (2,), b"\0\1").tolist() == [False, True]


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(content):
    _decode_or_refuse(content)


headers = st.dictionaries(
    st.sampled_from(["u", "v", "__metadata__", ""]),
    json_values
    | st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from([*DTYPES, "F8"]) | json_values,
            "shape": st.lists(st.integers(-1, 4) | json_values, max_size=3) | json_values,
            "data_offsets": st.lists(st.integers(-1, 20), max_size=3) | json_values,
            METADATA_KEY: st.text(max_size=5) | json_values,
        },
    ),
)


@given(headers, st.binary(max_size=16))
def test_any_header_is_decoded_or_refused(header, data):
    _decode_or_refuse(body(header, data))


@given(st.dictionaries(names, tensors, max_size=2), st.data())
def test_a_damaged_body_is_decoded_or_refused(sent, data):
    whole = bytearray(encode_safetensors(sent, {"t": [1.0]}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    _decode_or_refuse(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def _decode_or_refuse(content: bytes) -> None:
    try:
        got, _ = decode_safetensors(content)
    except WireError:
        return
    assert sum(array.nbytes for array in got.values()) <= len(content)
