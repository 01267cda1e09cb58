"""Calls to sessions as certisolve.v1 messages, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc

from certisolve._calls import Call, Operation, Reply
from certisolve._session_calls import MASKS
from certisolve.v1 import session_pb2, session_pb2_grpc
from certisolve.wire import decode_safetensors

from ._grpc_tensors import encode_tensors

#: The callable of a stub, and the two halves of the codec.
SessionMethod = tuple[Callable[..., Any], Callable[[Call], Any], Callable[[Any], Reply]]


def session_methods(
    channel: grpc.Channel | grpc.aio.Channel, decode_solve: Callable[[Any], Reply]
) -> Mapping[Operation, SessionMethod]:
    """The methods of SessionService.

    Args:
        channel: blocking or not.
        decode_solve: reads a SolveReply, which a forecast is.
    """
    stub = session_pb2_grpc.SessionServiceStub(channel)
    return {
        "open_session": (stub.Open, _encode_open, _decode_info),
        "restore_session": (stub.Restore, _encode_restore, _decode_info),
        "get_session": (stub.Get, _encode_request, _decode_info),
        "observe": (stub.Observe, _encode_observe, _decode_info),
        "predict": (stub.Predict, _encode_predict, decode_solve),
        "snapshot": (stub.Snapshot, _encode_request, _decode_snapshot),
        "close_session": (stub.Close, _encode_request, _decode_closed),
    }


def _encode_open(call: Call) -> session_pb2.OpenSession:
    body = call.body
    return session_pb2.OpenSession(
        model=call.model,
        version=call.version or "",
        inputs=encode_tensors(call.tensors),
        parameters=body.get("parameters"),
        t=body["t"],
        options=session_pb2.SessionOptions(**body.get("options", {})),
    )


def _encode_restore(call: Call) -> session_pb2.SessionSnapshot:
    return session_pb2.SessionSnapshot(data=call.data)


def _encode_request(call: Call) -> session_pb2.SessionRequest:
    return session_pb2.SessionRequest(id=call.session_id)


def _encode_observe(call: Call) -> session_pb2.ObserveRequest:
    values = {k: array for k, array in call.tensors.items() if not k.startswith(MASKS)}
    masks = {k[len(MASKS) :]: array for k, array in call.tensors.items() if k.startswith(MASKS)}
    measurements = session_pb2.Measurements(
        t=call.body["t"], values=encode_tensors(values), masks=encode_tensors(masks)
    )
    return session_pb2.ObserveRequest(id=call.session_id, measurements=measurements)


def _encode_predict(call: Call) -> session_pb2.PredictRequest:
    return session_pb2.PredictRequest(id=call.session_id, t=call.body["t"])


def _decode_info(message: session_pb2.SessionInfo) -> Reply:
    model = message.model
    body = {
        "id": message.id,
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "t": message.t,
        "sequence": message.sequence,
        "state_bytes": message.state_bytes,
        "expires_in_s": message.expires_in_s,
        "gain": message.gain if message.HasField("gain") else None,
        "noise_gain": message.noise_gain if message.HasField("noise_gain") else None,
    }
    return Reply({}, body)


def _decode_snapshot(message: session_pb2.SessionSnapshot) -> Reply:
    return Reply(*decode_safetensors(message.data))


def _decode_closed(message: session_pb2.CloseReply) -> Reply:
    del message
    return Reply({}, {})
