"""What only gRPC can do to a client."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from certisolve import (
    Cancelled,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    InternalServerError,
    InvalidReply,
    InvalidRequest,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RequestTimeout,
    RetryPolicy,
    ServerError,
)
from certisolve.grpc import GrpcTransport
from certisolve.v1 import job_pb2, solve_pb2, tensor_pb2

ONCE = RetryPolicy(max_attempts=1)


class AnyMethod(grpc.GenericRpcHandler):
    """Answers every method with `behave(request, context)`, in bytes."""

    def __init__(self, behave):
        self._behave = behave

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(self._behave)


@contextlib.contextmanager
def open_on(grpc_door, behave, *options, **client_options):
    server = grpc.server(ThreadPoolExecutor(2), [AnyMethod(behave)], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client_options.setdefault("retry", ONCE)
    try:
        with grpc_door.open(f"grpc://127.0.0.1:{port}", **client_options) as client:
            yield client
    finally:
        server.stop(None).wait()


BARE_CODES = {
    "INVALID_ARGUMENT": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "UNAUTHENTICATED": InvalidRequest,
    "PERMISSION_DENIED": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ABORTED": InvalidRequest,
    "ALREADY_EXISTS": InvalidRequest,
    "RESOURCE_EXHAUSTED": Overloaded,
    "CANCELLED": Cancelled,
    "UNKNOWN": InternalServerError,
    "INTERNAL": InternalServerError,
    "DATA_LOSS": InternalServerError,
    "UNIMPLEMENTED": InternalServerError,
    "UNAVAILABLE": ConnectionFailed,
    "DEADLINE_EXCEEDED": RequestTimeout,
}


def test_every_code_of_grpc_is_listed():
    assert BARE_CODES.keys() == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("name", BARE_CODES)
def test_a_code_without_a_problem_becomes_its_exception(grpc_door, name):
    def behave(request, context):
        context.abort(grpc.StatusCode[name], "a proxy says no")

    with open_on(grpc_door, behave) as client, pytest.raises(BARE_CODES[name]) as caught:
        client.solve("m", {"u0": [1.0]})
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    if isinstance(caught.value, ServerError):
        assert "a proxy says no" in caught.value.detail


def test_a_request_beyond_the_servers_limit_is_too_large(grpc_door):
    with (
        open_on(grpc_door, lambda *_: b"", ("grpc.max_receive_message_length", 64)) as client,
        pytest.raises(PayloadTooLarge),
    ):
        client.solve("m", {"u0": [1.0] * 100})


def test_broken_details_do_not_hide_the_code(grpc_door):
    def behave(request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    with open_on(grpc_door, behave) as client, pytest.raises(NotFound, match="gone"):
        client.solve("m", {"u0": [1.0]})


def test_a_tensor_that_contradicts_itself_is_an_invalid_reply(grpc_door):
    tensor = tensor_pb2.Tensor(dtype="F32", shape=[3], data=b"1234")
    reply = solve_pb2.SolveReply(fields={"u": tensor}).SerializeToString()
    with (
        open_on(grpc_door, lambda *_: reply) as client,
        pytest.raises(InvalidReply, match="u: F32"),
    ):
        client.solve("m", {"u0": [1.0]})


def test_bytes_that_are_no_message_are_an_invalid_reply(grpc_door):
    with (
        open_on(grpc_door, lambda *_: b"\xff\xff") as client,
        pytest.raises(InvalidReply, match="not the message"),
    ):
        client.solve("m", {"u0": [1.0]})


def test_a_call_that_may_have_arrived_counts_as_sent(grpc_door, clock):
    def behave(request, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    with (
        open_on(grpc_door, behave, clock=clock, retry=RetryPolicy()) as client,
        pytest.raises(ConnectionFailed) as caught,
    ):
        client.submit_solve("m", {"u0": [1.0]})
    assert caught.value.sent
    assert len(clock.naps) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("UNAVAILABLE", "Socket closed", id="connection-lost"),
        pytest.param("CANCELLED", "CANCELLED", id="server-stops"),
        pytest.param("INTERNAL", "Received RST_STREAM with error code 2", id="proxy-resets"),
    ],
)
def test_a_stream_that_is_cut_is_a_broken_connection(grpc_door, name, text):
    def behave(request, context):
        context.abort(grpc.StatusCode[name], text)

    with open_on(grpc_door, behave) as client, pytest.raises(ConnectionFailed):
        next(client.job("j").events())


def test_a_stream_that_ends_before_the_job_is_opened_again(grpc_door, clock):
    states = iter(["queued", "queued", "succeeded"])

    def behave(request, context):
        return job_pb2.Job(id="j", status=next(states)).SerializeToString()

    with open_on(grpc_door, behave, clock=clock, retry=RetryPolicy()) as client:
        assert [info.status for info in client.job("j").events()] == ["queued", "succeeded"]
    assert len(clock.naps) == 2


def test_a_server_that_takes_the_call_and_stays_silent_is_noticed(grpc_door):
    done = threading.Event()

    def behave(request, context):
        done.wait(5)
        return b""

    with open_on(grpc_door, behave, timeout=0.1) as client:
        with pytest.raises(RequestTimeout):
            next(client.job("j").events())
        done.set()


def test_a_message_that_is_no_job_ends_the_events(grpc_door):
    with open_on(grpc_door, lambda *_: b"\xff\xff") as client, pytest.raises(InvalidReply):
        next(client.job("j").events())


def test_a_deadline_said_by_the_server_is_told_from_silence(grpc_door, servers, backend):
    with grpc_door.open(servers[1]["grpc"]) as client, pytest.raises(DeadlineExceeded):
        client.solve("problem-deadline_exceeded", {"u0": [1.0]})


def test_a_transport_can_be_passed_in(servers, backend):
    url = servers[1]["grpc"]
    with Client(url, transport=GrpcTransport(url)) as client:
        assert client.solve("double", {"u0": [1.0]}).status == "ok"


def test_tls_to_a_clear_text_port_fails_as_a_connection(servers):
    url = servers[1]["grpc"].replace("grpc://", "grpcs://")
    with Client(url, retry=ONCE, timeout=5) as client, pytest.raises(ConnectionFailed):
        client.models()
