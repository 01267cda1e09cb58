"""What users may pass in, and what becomes of it before any protocol."""

import numpy as np
import pytest
import torch
import xarray

from certisolve import Client, InvalidReply, MockTransport, Reply

METADATA = {
    "axes": {"u": ["x"]},
    "t": [],
    "status": "ok",
    "diagnostics": None,
    "timings_ms": {"queue": 0, "batch": 0, "compute": 0},
    "batch_size": 1,
    "model": {"name": "m", "version": "1", "digest": "d"},
}


class Recorder:
    """Answers every call with the reply given; keeps the last call."""

    def __init__(self, reply=None):
        self._reply = reply or Reply({"u": np.zeros(1)}, METADATA)
        self.call = None

    def __call__(self, call):
        self.call = call
        return self._reply


def solve(inputs, reply=None, **options):
    recorder = Recorder(reply)
    client = Client("http://unused", transport=MockTransport(recorder))
    client.solve("m", inputs, **options)
    return recorder.call


VALUES = [
    pytest.param([1, 2], id="list-of-int"),
    pytest.param([1.0, 2.0], id="list-of-float"),
    pytest.param((1.0, 2.0), id="tuple"),
    pytest.param(np.array([1.0, 2.0]), id="float64"),
    pytest.param(np.array([1.0, 2.0], np.float32), id="float32"),
    pytest.param(np.array([1.0, 2.0], ">f8"), id="big-endian"),
    pytest.param(torch.tensor([1.0, 2.0]), id="torch-float32"),
    pytest.param(torch.tensor([1.0, 2.0], dtype=torch.float64), id="torch-float64"),
    pytest.param(torch.tensor([1.0, 2.0], requires_grad=True), id="torch-with-gradient"),
    pytest.param(xarray.DataArray([1.0, 2.0], dims="x"), id="xarray"),
]


@pytest.mark.parametrize("value", VALUES)
def test_real_numbers_are_sent_as_float32(value):
    sent = solve({"u0": value}).tensors["u0"]
    assert isinstance(sent, np.ndarray)
    assert sent.dtype == np.float32
    assert sent.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.uint8, np.bool_])
def test_other_arrays_are_sent_as_they_are(dtype):
    assert solve({"u0": np.ones(2, dtype)}).tensors["u0"].dtype == dtype


def test_a_float32_array_is_not_copied():
    u0 = np.ones(4, np.float32)
    assert solve({"u0": u0}).tensors["u0"] is u0


def test_what_overflows_float32_is_left_to_the_server_to_refuse():
    assert np.isinf(solve({"u0": [1e300]}).tensors["u0"]).all()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(np.ones(2, np.complex128), id="complex"),
        pytest.param(np.array([object()]), id="object"),
        pytest.param("text", id="text"),
        pytest.param([[1.0], [1.0, 2.0]], id="ragged"),
        pytest.param(torch.ones(2, dtype=torch.bfloat16), id="bfloat16"),
        pytest.param(None, id="none"),
    ],
)
def test_what_does_not_travel_is_refused_by_name(value):
    with pytest.raises(TypeError, match=r"inputs\.u0"):
        solve({"u0": value})


@pytest.mark.parametrize(
    ("t", "sent"),
    [
        pytest.param(1, [1.0], id="number"),
        pytest.param((0.5, 1), [0.5, 1.0], id="sequence"),
        pytest.param(np.linspace(0, 1, 3), [0.0, 0.5, 1.0], id="array"),
    ],
)
def test_times_may_be_one_or_many(t, sent):
    assert solve({"u0": [1.0]}, t=t).body == {"t": sent}


def test_defaults_are_left_to_the_server():
    call = solve({"u0": [1.0]})
    assert call.body == {}
    assert call.version is None


def test_parameters_may_be_numpy_scalars():
    body = solve({"u0": [1.0]}, parameters={"nu": np.float32(0.5)}).body
    assert body == {"parameters": {"nu": 0.5}}
    assert type(body["parameters"]["nu"]) is float


@pytest.mark.parametrize(
    ("options", "name"),
    [
        pytest.param({"parameters": {"nu": float("nan")}}, r"parameters\.nu", id="parameter"),
        pytest.param({"t": [float("inf")]}, "t", id="time"),
        pytest.param({"timeout": 0.0}, "timeout", id="timeout-zero"),
        pytest.param({"timeout": float("nan")}, "timeout", id="timeout-nan"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_by_name(options, name):
    with pytest.raises(ValueError, match=name):
        solve({"u0": [1.0]}, **options)


def test_an_infinite_timeout_is_none():
    assert solve({"u0": [1.0]}, timeout=float("inf")).timeout_s is None


def test_a_model_needs_a_name():
    with pytest.raises(ValueError, match="model"):
        Client("http://unused", transport=MockTransport(Recorder())).solve("", {"u0": [1.0]})


@pytest.mark.parametrize("missing", sorted(METADATA.keys() - {"diagnostics"}))
def test_a_reply_that_lacks_something_is_invalid(missing):
    body = {key: value for key, value in METADATA.items() if key != missing}
    with pytest.raises(InvalidReply, match=missing):
        solve({"u0": [1.0]}, Reply({"u": np.zeros(1)}, body))


def test_a_reply_that_says_more_than_this_release_knows_is_read():
    solve({"u0": [1.0]}, Reply({"u": np.zeros(1)}, METADATA | {"novelty": 1}))


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "redis://host"])
def test_other_schemes_are_refused(url):
    with pytest.raises(ValueError, match="http"):
        Client(url)


@pytest.mark.parametrize("url", ["grpc://", "grpc://host:1/path", "grpc://host:port"])
def test_malformed_grpc_addresses_are_refused(url):
    with pytest.raises(ValueError, match=r"grpc|[Pp]ort"):
        Client(url)


@pytest.mark.parametrize("url", ["http://", "http://host:port"])
def test_malformed_http_addresses_are_refused(url):
    with pytest.raises(ValueError, match="url"):
        Client(url)


def test_an_empty_list_of_times_means_the_same_over_every_protocol():
    with pytest.raises(ValueError, match="t: name at least one time"):
        solve({"u0": [1.0]}, t=[])


@pytest.mark.parametrize("name", ["tolerance", "rtol", "atol"])
def test_a_tolerance_and_unwanted_diagnostics_are_options(name):
    assert "options" not in solve({"u0": [1.0]}).body
    sent = solve({"u0": [1.0]}, **{name: 1e-6}, diagnostics=False).body["options"]
    assert sent == {name: 1e-6, "diagnostics": False}
    with pytest.raises(ValueError, match=name):
        solve({"u0": [1.0]}, **{name: float("nan")})
