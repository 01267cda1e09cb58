"""Calls to certisolve.v1 messages and back; imports grpc, so only the gRPC transports import it."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from certisolve._arrays import Array
from certisolve._calls import COORDS, Call, Operation, Reply, read_problem
from certisolve._config import CONNECT_TIMEOUT_S
from certisolve._errors import (
    CertisolveError,
    ConnectionFailed,
    InvalidReply,
    RequestTimeout,
    from_problem,
)
from certisolve.v1 import (
    certifier_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    solve_pb2,
    solve_pb2_grpc,
)
from certisolve.v1.problem_pb2 import Problem
from certisolve.v1.tensor_pb2 import Tensor
from certisolve.wire import WireError, from_bytes

from ._grpc_certify import (
    certificate_body,
    decode_certify,
    encode_certify,
    encode_submit_certify,
)
from ._grpc_derivatives import decode_derivative, encode_derivative
from ._grpc_sessions import session_methods
from ._grpc_tensors import encode_tensors

#: The fields are bounded by the server's limits, not by the library's 4 MiB. A failed connection
#: is tried again soon, so that a retried call finds out; the server may just be starting.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", int(1000 * CONNECT_TIMEOUT_S)),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # Each client has its own connection, as over HTTP.
    ("grpc.use_local_subchannel_pool", 1),
)
_FINDINGS: Final = (
    "expected_error",
    "residual",
    "conservation_defect",
    "knot_excess",
    "noise_gain",
    "nfe",
    "rejected_steps",
)
_NO_MESSAGE = "the reply is not certisolve's: its bytes are not the message expected"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Method:
    """One remote procedure: the stub's callable and the two halves of the codec."""

    invoke: Callable[..., Any]
    encode: Callable[[Call], Message]
    decode: Callable[[Any], Reply]

    def open(self, call: Call) -> Any:
        """The messages that answer a call with several; not awaited, not begun."""
        # A solution may take as long as it must, while it does not fall silent.
        timeout_s = None if call.operation == "stream" else call.timeout_s
        return self.invoke(self.encode(call), timeout=timeout_s, metadata=metadata(call))

    def read(self, message: Message | None) -> Reply:
        """The reply in `message`.

        Raises:
            InvalidReply: there is none, or a tensor or manifest in it is malformed.
        """
        # grpc.aio returns None for bytes that are no message; grpc raises INTERNAL.
        if message is None:
            raise InvalidReply(_NO_MESSAGE)
        try:
            return self.decode(message)
        except (WireError, ValueError) as error:
            raise InvalidReply(f"the reply is not certisolve's: {error}") from error


def bind(channel: grpc.Channel | grpc.aio.Channel) -> Mapping[Operation, Method]:
    """The methods of a channel, blocking or not as the channel is."""
    models = model_pb2_grpc.ModelServiceStub(channel)
    solver = solve_pb2_grpc.SolverServiceStub(channel)
    jobs = job_pb2_grpc.JobServiceStub(channel)
    certifier = certifier_pb2_grpc.CertifierServiceStub(channel)
    return {
        "models": Method(models.ListModels, _encode_models, _decode_models),
        "model": Method(models.GetModel, _encode_model, _decode_model),
        "solve": Method(solver.Solve, _encode_solve, _decode_solve),
        "stream": Method(solver.SolveStream, _encode_solve, _decode_part),
        "jvp": Method(solver.Jvp, _encode_derivative, _decode_derivative),
        "vjp": Method(solver.Vjp, _encode_derivative, _decode_derivative),
        "certify": Method(certifier.Certify, encode_certify, decode_certify),
        "submit_certify": Method(jobs.SubmitCertify, encode_submit_certify, _decode_job),
        "submit_solve": Method(jobs.SubmitSolve, _encode_submit_solve, _decode_job),
        "job": Method(jobs.GetJob, _encode_job, _decode_job),
        "watch_job": Method(jobs.WatchJob, _encode_watch_job, _decode_job),
        "cancel_job": Method(jobs.CancelJob, _encode_cancel_job, _decode_job),
        **{
            operation: Method(*parts)
            for operation, parts in session_methods(channel, _decode_solve).items()
        },
    }


def metadata(call: Call) -> tuple[tuple[str, str], ...] | None:
    """What travels beside the message; None for nothing."""
    return tuple(call.terms.items()) or None


def map_grpc_error(error: Any, call: Call) -> CertisolveError:
    """The SDK's exception for an RpcError; the only place that knows gRPC's codes.

    Args:
        error: a `grpc.RpcError` of a call, or its asynchronous twin.
        call: what was being sent.
    """
    code, text = error.code(), error.details() or ""
    status = _HTTP_STATUS.get(code, 500)
    problem = _problem(error.trailing_metadata() or ())
    if problem is not None:
        return read_problem(problem, status)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RequestTimeout(f"{call.operation}: no answer within {call.timeout_s:g} s")
    if _is_broken(code, text, call):
        sent = not text.startswith(_NEVER_SENT)
        return ConnectionFailed(f"{call.operation}: {text}", sent=sent)
    if text.startswith("Exception deserializing"):
        return InvalidReply(_NO_MESSAGE)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return from_problem("body_too_large", text, status=413)
    return from_problem("", f"gRPC {code.name}: {text}", status=status)


def _is_broken(code: grpc.StatusCode, text: str, call: Call) -> bool:
    # Servers and proxies that stop cancel their streams, or reset them.
    cut = code is grpc.StatusCode.CANCELLED or text.startswith("Received RST_STREAM")
    streams = call.operation in ("watch_job", "stream")
    return code is grpc.StatusCode.UNAVAILABLE or (streams and cut)


#: How the library words a failure before anything was sent.
_NEVER_SENT = ("failed to connect", "DNS resolution failed", "empty address list")

_HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def _problem(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, Any] | None:
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return _unpack(value)
    return None


def _unpack(value: bytes) -> dict[str, Any] | None:
    problem = Problem()
    try:
        details = status_pb2.Status.FromString(value).details
        if not any(detail.Unpack(problem) for detail in details):
            return None
    except DecodeError:
        return None
    return _problem_body(problem)


def _problem_body(problem: Problem) -> dict[str, Any]:
    body: dict[str, Any] = {k: getattr(problem, k) for k in ("code", "detail", "field")}
    if problem.HasField("retry_after_s"):
        body["retry_after_s"] = problem.retry_after_s
    return body


def _encode_models(call: Call) -> model_pb2.ListModelsRequest:
    del call
    return model_pb2.ListModelsRequest()


def _encode_model(call: Call) -> model_pb2.GetModelRequest:
    return model_pb2.GetModelRequest(name=call.model, version=call.version or "")


def _encode_solve(call: Call) -> solve_pb2.SolveRequest:
    options = call.body.get("options")
    return solve_pb2.SolveRequest(
        model=call.model,
        version=call.version or "",
        inputs=encode_tensors(call.tensors),
        parameters=call.body.get("parameters"),
        t=call.body.get("t"),
        steps=call.body.get("steps"),
        options=None if options is None else solve_pb2.SolveOptions(**options),
    )


def _encode_derivative(call: Call) -> solve_pb2.DerivativeRequest:
    return encode_derivative(call, _encode_solve)


def _encode_submit_solve(call: Call) -> job_pb2.SubmitSolveRequest:
    return job_pb2.SubmitSolveRequest(request=_encode_solve(call))


def _encode_job(call: Call) -> job_pb2.GetJobRequest:
    return job_pb2.GetJobRequest(id=call.job_id, wait_s=call.wait_s)


def _encode_watch_job(call: Call) -> job_pb2.WatchJobRequest:
    return job_pb2.WatchJobRequest(id=call.job_id)


def _encode_cancel_job(call: Call) -> job_pb2.CancelJobRequest:
    return job_pb2.CancelJobRequest(id=call.job_id)


def _decode_models(message: model_pb2.ListModelsReply) -> Reply:
    return Reply({}, {"models": [_model_body(model) for model in message.models]})


def _decode_model(message: model_pb2.ModelInfo) -> Reply:
    return Reply({}, _model_body(message))


def _decode_solve(message: solve_pb2.SolveReply) -> Reply:
    return Reply(_tensors(message), _solve_body(message))


def _decode_derivative(message: solve_pb2.DerivativeReply) -> Reply:
    return decode_derivative(message, _decode_solve)


def _decode_part(message: solve_pb2.SolveStreamReply) -> Reply:
    match message.WhichOneof("part"):
        case "start":
            return Reply(_coords(message.start.coords), _start_body(message.start))
        case "frame":
            return Reply(_fields(message.frame.fields), _frame_body(message.frame))
        case "summary":
            summary = message.summary
            return Reply(_tensors(summary), {"event": "summary", **_solve_body(summary)})
        case _:
            return Reply({}, {"event": ""})  # of a later release


def _start_body(message: solve_pb2.SolveStart) -> dict[str, Any]:
    return {
        "event": "start",
        "model": _model_ref(message.model),
        "num_frames": message.num_frames,
        "t": list(message.t),
        "axes": {name: tuple(axes.names) for name, axes in message.axes.items()},
    }


def _frame_body(message: solve_pb2.SolveFrame) -> dict[str, Any]:
    return {
        "event": "frame",
        "index": message.index,
        "step": message.step if message.HasField("step") else None,
        "t": message.t,
    }


def _decode_job(message: job_pb2.Job) -> Reply:
    body: dict[str, Any] = {
        "id": message.id,
        "status": message.status,
        "position": message.position if message.HasField("position") else None,
        "expected_wait_s": message.expected_wait_s if message.HasField("expected_wait_s") else None,
        "progress": message.progress,
    }
    if message.HasField("problem"):
        body["problem"] = _problem_body(message.problem)
    if message.HasField("certificate"):
        certificate = certificate_body(message.certificate)
        name = "result" if message.status == "succeeded" else "certificate"
        return Reply({}, body | {name: certificate})
    if not message.HasField("result"):
        return Reply({}, body)
    return Reply(_tensors(message.result), body | {"result": _solve_body(message.result)})


def _tensors(message: solve_pb2.SolveReply) -> dict[str, Array]:
    return {**_fields(message.fields), **_coords(message.coords)}


def _fields(fields: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: _decode_tensor(name, field) for name, field in fields.items()}


def _coords(coords: Mapping[str, Tensor]) -> dict[str, Array]:
    return {COORDS + axis: _decode_tensor(COORDS + axis, it) for axis, it in coords.items()}


def _decode_tensor(name: str, tensor: Tensor) -> Array:
    return from_bytes(name, tensor.dtype, tuple(tensor.shape), tensor.data)


def _solve_body(message: solve_pb2.SolveReply) -> dict[str, Any]:
    timings = message.timings
    return {
        "axes": {name: tuple(axes.names) for name, axes in message.axes.items()},
        "t": list(message.t),
        "status": message.status,
        "diagnostics": _diagnostics_body(message),
        "timings_ms": {
            "queue": timings.queue_ms,
            "batch": timings.batch_ms,
            "compute": timings.compute_ms,
        },
        "batch_size": message.batch_size,
        "model": _model_ref(message.model),
    }


def _diagnostics_body(message: solve_pb2.SolveReply) -> dict[str, Any] | None:
    if not message.HasField("diagnostics"):
        return None
    diagnostics = message.diagnostics
    return {
        "in_validated_range": diagnostics.in_validated_range,
        "out_of_range": list(diagnostics.out_of_range),
        "resampled_from": dict(diagnostics.resampled_from) or None,
        **{
            name: getattr(diagnostics, name) if diagnostics.HasField(name) else None
            for name in _FINDINGS
        },
    }


def _model_body(info: model_pb2.ModelInfo) -> dict[str, Any]:
    return {
        **_model_ref(info.model),
        "ready": info.ready,
        "manifest": json.loads(info.manifest_json),
        "workers": [{"name": w.name, "device": w.device, "grpc": w.grpc} for w in info.workers],
    }


def _model_ref(model: model_pb2.ModelRef) -> dict[str, str]:
    return {"name": model.name, "version": model.version, "digest": model.digest}
