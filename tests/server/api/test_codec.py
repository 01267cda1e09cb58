"""Bytes become a request or a refusal that names the field; replies are JSON that all can read."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from certisolve import wire
from certisolve_server.answers import Diagnostics, Solution
from certisolve_server.api import codec
from certisolve_server.errors import (
    InvalidOption,
    InvalidRequest,
    MalformedBody,
    UnsupportedMediaType,
    WrongShape,
)
from certisolve_server.jobs import Artifact, SolveContext, Terms, Timings
from helpers import field_manifest

FIELD = np.arange(4, dtype=np.float32)
TYPES = {"json": codec.JSON, "safetensors": wire.SAFETENSORS}


def decode(body, media_type=codec.JSON):
    return codec.decode_solve("model", media_type, body, Terms())


def decode_json(document):
    return decode(json.dumps(document).encode())


def encode(inputs, rest, media_type):
    if media_type == wire.SAFETENSORS:
        return wire.encode_safetensors(inputs, rest)
    typed = {name: as_base64(array) for name, array in inputs.items()}
    return json.dumps({"inputs": typed, **rest}).encode()


def as_base64(array):
    return {
        "dtype": wire.dtype_name(array),
        "shape": list(array.shape),
        "data": base64.b64encode(array.tobytes()).decode(),
    }


# --- Requests that are well formed ----------------------------------------------------------------


@pytest.mark.parametrize("media_type", TYPES.values(), ids=TYPES)
def test_both_media_types_say_the_same(media_type):
    rest = {
        "version": "2",
        "parameters": {"nu": 0.01},
        "t": [0.5, 1],
        "steps": 9,
        "options": {
            "diagnostics": False,
            "tolerance": 1e-6,
            "rtol": 1e-4,
            "atol": 1e-7,
            "save_every": 2,
            "resume_from": 4,
        },
    }
    body = encode({"u0": FIELD}, rest, media_type)
    terms = Terms(deadline=12.5, tenant="lab")
    request = codec.decode_solve("model", media_type, body, terms)
    assert (request.model, request.version, request.terms) == ("model", "2", terms)
    assert request.parameters == {"nu": 0.01}
    assert request.t == (0.5, 1.0)
    assert not request.diagnostics
    assert (request.tolerance, request.rtol, request.atol) == (1e-6, 1e-4, 1e-7)
    assert (request.steps, request.save_every, request.resume_from) == (9, 2, 4)
    assert request.untyped == frozenset()
    assert request.inputs["u0"].dtype == np.float32
    np.testing.assert_array_equal(request.inputs["u0"], FIELD)


@pytest.mark.parametrize("media_type", TYPES.values(), ids=TYPES)
def test_everything_but_the_inputs_may_be_left_out(media_type):
    request = decode(encode({"u0": FIELD}, {}, media_type), media_type)
    assert (request.version, request.parameters, request.t) == (None, {}, None)
    assert request.diagnostics


def test_nested_lists_are_numbers_without_an_element_type():
    request = decode_json({"inputs": {"w": [[1, 2], [3, 4.5]], "v": as_base64(FIELD)}})
    assert request.untyped == {"w"}
    np.testing.assert_array_equal(request.inputs["w"], [[1, 2], [3, 4.5]])


@given(
    st.sampled_from(list(wire.DTYPES.values())).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0))
    ),
    st.sampled_from(list(TYPES.values())),
)
def test_arrays_arrive_bit_for_bit(array, media_type):
    got = decode(encode({"u0": array}, {}, media_type), media_type).inputs["u0"]
    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_safetensors_are_views_of_the_body():
    body = encode({"u0": FIELD, "v0": FIELD}, {}, wire.SAFETENSORS)
    for array in decode(body, wire.SAFETENSORS).inputs.values():
        assert np.shares_memory(array, np.frombuffer(body, np.uint8))
        assert not array.flags.writeable


@pytest.mark.parametrize("media_type", ["", "application/x-www-form-urlencoded", "text/plain"])
def test_what_starts_like_json_is_read_as_json_whatever_curl_calls_it(media_type):
    assert decode(b' \n{"inputs": {"u0": [1.0]}}', media_type).inputs["u0"] == [1.0]


@pytest.mark.parametrize("body", [b"", b"u0=1", b"[1]", b"\x80\x04"])
def test_another_media_type_is_refused_with_those_spoken(body):
    with pytest.raises(UnsupportedMediaType, match="application/json"):
        decode(body, "text/plain")


def test_safetensors_are_not_guessed():
    with pytest.raises(UnsupportedMediaType):
        decode(encode({"u0": FIELD}, {}, wire.SAFETENSORS), "application/octet-stream")


# --- Requests that are not ------------------------------------------------------------------------

GOOD = as_base64(FIELD)
NOT_JSON = {
    "empty": b"",
    "cut": b'{"inputs": {"u0": [1.0',
    "text": b"hello",
    "nan": b'{"inputs": {"u0": [NaN]}}',
    "infinity": b'{"inputs": {"u0": [Infinity]}}',
    "not-utf-8": b'{"inputs": {"\xff": 1}}',
    "half-a-surrogate-pair": b'{"inputs": {"\\ud800": [1.0]}}',
    "two-documents": b"{}{}",
    "deep": b'{"inputs": {"u0": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}",
    "deep-objects": b'{"a": ' * 100_000,
    "list": b"[]",
    "number": b"1",
    "null": b"null",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_a_body_that_is_no_json_object_is_malformed(body):
    with pytest.raises(MalformedBody) as caught:
        decode(body)
    assert caught.value.field == ""


ARRAYS = {
    "text": ("1.0", MalformedBody),
    "null": (None, MalformedBody),
    "list-of-text": (["1.0"], MalformedBody),
    "number-among-text": ([1.0, "a"], MalformedBody),
    "null-among-numbers": ([1.0, None], MalformedBody),
    "object-among-numbers": ([1.0, {}], MalformedBody),
    "rows-that-differ": ([[1.0], [1.0, 2.0]], WrongShape),
    "number-among-rows": ([1.0, [1.0]], WrongShape),
    "rank-beyond-arrays": (json.loads("[" * 100 + "1" + "]" * 100), WrongShape),
    "object-empty": ({}, MalformedBody),
    "object-without-data": ({"dtype": "F32", "shape": [4]}, MalformedBody),
    "dtype-number": (GOOD | {"dtype": 4}, MalformedBody),
    "dtype-unknown": (GOOD | {"dtype": "float32"}, MalformedBody),
    "shape-missing": (GOOD | {"shape": None}, MalformedBody),
    "shape-negative": (GOOD | {"shape": [-4]}, MalformedBody),
    "shape-fraction": (GOOD | {"shape": [4.0]}, MalformedBody),
    "shape-boolean": (GOOD | {"shape": [True]}, MalformedBody),
    "shape-nested": (GOOD | {"shape": [[4]]}, MalformedBody),
    "shape-of-objects": (GOOD | {"shape": [{}]}, MalformedBody),
    "shape-too-large": (GOOD | {"shape": [5]}, MalformedBody),
    "shape-that-wraps": (GOOD | {"shape": [1 << 62, 4]}, MalformedBody),
    "shape-empty-and-huge": (GOOD | {"shape": [0, 1 << 62, 1 << 62], "data": ""}, MalformedBody),
    "data-number": (GOOD | {"data": 1}, MalformedBody),
    "data-not-base64": (GOOD | {"data": "?"}, MalformedBody),
    "data-with-blanks": (GOOD | {"data": GOOD["data"] + "\n"}, MalformedBody),
    "data-badly-padded": (GOOD | {"data": GOOD["data"][:-1]}, MalformedBody),
    "data-beyond-ascii": (GOOD | {"data": "é" * 4}, MalformedBody),
    "data-empty": (GOOD | {"data": ""}, MalformedBody),
}


@pytest.mark.parametrize(("value", "error"), ARRAYS.values(), ids=ARRAYS)
def test_an_input_that_is_no_array_is_named(value, error):
    with pytest.raises(error) as caught:
        decode_json({"inputs": {"good": GOOD, "u0": value}})
    assert caught.value.field == "inputs.u0"


@pytest.mark.parametrize("inputs", [[], "u0", 1, None, True])
def test_inputs_are_an_object(inputs):
    with pytest.raises(MalformedBody) as caught:
        decode_json({"inputs": inputs})
    assert caught.value.field == "inputs"


OPTIONS = {
    "unknown-key": ({"input": {}}, "input"),
    "unknown-option": ({"options": {"diagnostic": True}}, "options.diagnostic"),
    "option-of-another-type": ({"options": {"diagnostics": "perhaps"}}, "options.diagnostics"),
    "options-null": ({"options": None}, "options"),
    "options-a-list": ({"options": []}, "options"),
    "version-a-number": ({"version": 2}, "version"),
    "parameters-a-list": ({"parameters": [0.1]}, "parameters"),
    "parameter-text": ({"parameters": {"nu": "thin"}}, "parameters.nu"),
    "parameter-null": ({"parameters": {"nu": None}}, "parameters.nu"),
    "parameter-list": ({"parameters": {"nu": [1]}}, "parameters.nu"),
    "t-a-number": ({"t": 1.0}, "t"),
    "t-of-text": ({"t": [0.5, "soon"]}, "t.1"),
    "t-of-lists": ({"t": [[0.5]]}, "t.0"),
}


@pytest.mark.parametrize("media_type", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize(("rest", "field"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_that_is_unknown_or_malformed_is_named(rest, field, media_type):
    with pytest.raises(InvalidOption) as caught:
        decode(encode({"u0": FIELD}, rest, media_type), media_type)
    assert caught.value.field == field


NUMBERS = ["NaN", "Infinity", "1e999", "1" * 400, "1" * 4300]


@pytest.mark.parametrize(
    "number", NUMBERS, ids=["nan", "inf", "1e999", "400-digits", "4300-digits"]
)
@pytest.mark.parametrize("document", ['{"parameters": {"nu": %s}}', '{"t": [%s]}'], ids=["nu", "t"])
def test_a_number_without_bounds_is_refused(document, number):
    # Python's JSON, in the safetensors metadata, reads more than JSON allows.
    body = wire.encode_safetensors({"u0": FIELD}, document % number)
    with pytest.raises(InvalidRequest):
        decode(body, wire.SAFETENSORS)


def test_the_tensor_at_fault_is_named():
    body = encode({"u0": FIELD}, {}, wire.SAFETENSORS).replace(b'"F32"', b'"F64"')
    with pytest.raises(MalformedBody) as caught:
        decode(body, wire.SAFETENSORS)
    assert caught.value.field == "inputs.u0"


def test_of_keys_that_occur_twice_the_last_counts():
    request = decode(b'{"inputs": {"u0": [1]}, "inputs": {"u0": [2]}}')
    assert request.inputs["u0"] == [2]


# --- Whatever comes -------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(["F32", "AAAA", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data", "u0"]), inner, max_size=4)
    ),
    max_leaves=12,
)
documents = st.dictionaries(
    st.sampled_from(["inputs", "parameters", "t", "options", "version", "x"]),
    values | st.dictionaries(st.text(max_size=3), values, max_size=3),
)


def _request_or_refusal(body, media_type):
    """The refusal, which has to fit into a reply; None for a request."""
    try:
        request = decode(body, media_type)
    except InvalidRequest as error:
        return codec.encode_json({"field": error.field, "detail": error.detail})
    for array in request.inputs.values():
        assert isinstance(array, np.ndarray)
        assert array.size == 0 or array.dtype.kind in "biuf"
    return None


@given(st.binary(max_size=100), st.sampled_from([*TYPES.values(), "", "text/plain"]))
def test_any_bytes_are_a_request_or_a_refusal(body, media_type):
    _request_or_refusal(body, media_type)


@given(documents)
def test_any_json_is_a_request_or_a_refusal(document):
    _request_or_refusal(json.dumps(document).encode(), codec.JSON)


@given(documents, st.dictionaries(st.text(max_size=3), values, max_size=2))
def test_any_safetensors_metadata_is_a_request_or_a_refusal(rest, header):
    metadata = {"__metadata__": {wire.METADATA_KEY: json.dumps(rest)}}
    text = json.dumps(header | metadata).encode()
    _request_or_refusal(len(text).to_bytes(8, "little") + text, wire.SAFETENSORS)


# --- Replies --------------------------------------------------------------------------------------


def solution(field, **changes):
    made = Solution(
        fields={"u": field},
        axes={"u": ("x",)},
        coords={"x": np.linspace(0, 1, len(field))},
        status="ok",
        t=(1.0,),
        context=SolveContext(
            t=(1.0,),
            sizes={"x": len(field)},
            resampled_from=None,
            expected_error=0.01,
            diagnostics=True,
        ),
        timings=Timings(1.0, 2.0, 3.0),
        batch_size=4,
        artifact=Artifact(field_manifest("model"), "ab" * 32, "/models"),
        diagnostics=Diagnostics((), None, 0.01, residual=0.5, nfe=3),
    )
    return replace(made, **changes)


def strict_json(body):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(body, parse_constant=refuse)


def test_both_media_types_reply_the_same():
    answer = solution(FIELD)
    as_json = strict_json(codec.encode_solution(answer, codec.JSON).body)
    encoded = codec.encode_solution(answer, wire.SAFETENSORS)
    tensors, rest = wire.decode_safetensors(encoded.body)
    assert encoded.media_type == wire.SAFETENSORS
    assert as_json.pop("fields") == {"u": FIELD.tolist()}
    assert as_json.pop("coords") == {"x": answer.coords["x"].tolist()}
    np.testing.assert_array_equal(tensors["u"], FIELD)
    np.testing.assert_array_equal(tensors["coords.x"], answer.coords["x"])
    assert rest == as_json
    assert rest["model"] == {"name": "model", "version": "1", "digest": "ab" * 32}
    assert rest["timings_ms"] == {"queue": 1.0, "batch": 2.0, "compute": 3.0}
    assert rest["diagnostics"] == {
        "in_validated_range": True,
        "out_of_range": [],
        "resampled_from": None,
        "expected_error": 0.01,
        "residual": 0.5,
        "conservation_defect": None,
        "knot_excess": None,
        "noise_gain": None,
        "nfe": 3,
        "rejected_steps": None,
    }


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_are_null_in_json_and_themselves_in_safetensors(dtype):
    field = np.array([1.0, np.nan, np.inf, -np.inf], dtype)
    answer = solution(field, status="not_finite")
    document = strict_json(codec.encode_solution(answer, codec.JSON).body)
    assert document["fields"]["u"] == [1.0, None, None, None]
    assert document["status"] == "not_finite"
    tensors, _ = wire.decode_safetensors(codec.encode_solution(answer, wire.SAFETENSORS).body)
    np.testing.assert_array_equal(tensors["u"], field)


@pytest.mark.parametrize("media_type", TYPES.values(), ids=TYPES)
def test_nan_among_the_diagnostics_is_null(media_type):
    diagnostics = Diagnostics((), None, expected_error=float("nan"))
    body = codec.encode_solution(solution(FIELD, diagnostics=diagnostics), media_type).body
    if media_type == wire.SAFETENSORS:
        header = body[8 : 8 + int.from_bytes(body[:8], "little")]
        body = strict_json(header)["__metadata__"][wire.METADATA_KEY]
    assert strict_json(body)["diagnostics"]["expected_error"] is None


def test_diagnostics_that_were_not_wanted_are_left_out():
    document = codec.solution_metadata(solution(FIELD, diagnostics=None))
    assert document["diagnostics"] is None


def test_a_resampled_answer_says_from_where():
    diagnostics = Diagnostics(("resolution",), {"x": 4}, None)
    told = codec.solution_metadata(solution(FIELD, diagnostics=diagnostics))["diagnostics"]
    assert not told["in_validated_range"]
    assert told["out_of_range"] == ("resolution",)
    assert told["resampled_from"] == {"x": 4}


@pytest.mark.parametrize("media_type", TYPES.values(), ids=TYPES)
def test_a_field_need_not_be_contiguous(media_type):
    field = np.arange(12, dtype=np.float32).reshape(4, 3).T
    body = codec.encode_solution(solution(field), media_type).body
    if media_type == codec.JSON:
        assert strict_json(body)["fields"]["u"] == field.tolist()
    else:
        np.testing.assert_array_equal(wire.decode_safetensors(body)[0]["u"], field)


@pytest.mark.parametrize("media_type", TYPES.values(), ids=TYPES)
def test_a_field_that_is_one_number_is_one_number(media_type):
    answer = solution(FIELD, fields={"u": np.array(1.5, np.float32)}, axes={"u": ()})
    body = codec.encode_solution(answer, media_type).body
    if media_type == codec.JSON:
        assert strict_json(body)["fields"]["u"] == 1.5
    else:
        assert wire.decode_safetensors(body)[0]["u"].shape == ()


@pytest.mark.parametrize("media_type", TYPES.values(), ids=TYPES)
def test_the_result_of_a_job_is_the_solution_under_the_jobs_id(media_type):
    job = {"id": "job-1", "status": "succeeded", "progress": 1.0}
    encoded = codec.encode_job_result(job, solution(FIELD), media_type)
    assert encoded.media_type == media_type
    if media_type == codec.JSON:
        document = strict_json(encoded.body)
        assert document["result"].pop("fields") == {"u": FIELD.tolist()}
        document["result"].pop("coords")
    else:
        tensors, document = wire.decode_safetensors(encoded.body)
        np.testing.assert_array_equal(tensors["u"], FIELD)
    assert {name: document[name] for name in job} == job
    assert document["result"] == json.loads(
        codec.encode_json(codec.solution_metadata(solution(FIELD)))
    )


ACCEPT = {
    "nothing-json": (None, codec.JSON, codec.JSON),
    "nothing-safetensors": (None, wire.SAFETENSORS, wire.SAFETENSORS),
    "empty": ("", wire.SAFETENSORS, wire.SAFETENSORS),
    "anything": ("*/*", wire.SAFETENSORS, wire.SAFETENSORS),
    "a-form-is-answered-in-json": ("*/*", "application/x-www-form-urlencoded", codec.JSON),
    "json": (codec.JSON, wire.SAFETENSORS, codec.JSON),
    "safetensors": (wire.SAFETENSORS, codec.JSON, wire.SAFETENSORS),
    "first-that-is-spoken": (f"text/html, {codec.JSON}, */*", wire.SAFETENSORS, codec.JSON),
    "with-parameters": (f"{codec.JSON}; charset=utf-8", wire.SAFETENSORS, codec.JSON),
    "unknown": ("image/png", wire.SAFETENSORS, wire.SAFETENSORS),
    "garbage": (",;,;=", codec.JSON, codec.JSON),
}


@pytest.mark.parametrize(("accept", "sent", "expected"), ACCEPT.values(), ids=ACCEPT)
def test_the_reply_has_the_type_asked_for_or_that_of_the_request(accept, sent, expected):
    assert codec.preferred_type(accept, sent) == expected
