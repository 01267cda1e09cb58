"""Derivatives of solutions over HTTP and gRPC: convert, call the data plane, convert back."""

import time
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from certisolve.v1 import solve_pb2
from certisolve_server.answers import Derivative
from certisolve_server.dataplane import DataPlane
from certisolve_server.errors import BodyTooLarge
from certisolve_server.jobs import DerivativeRequest, Kind, Terms

from . import codec
from .bodies import take_apart
from .disconnects import CancelledOnDisconnect
from .exchange import encoded_response, headers_of, media_type_of, read_body
from .messages import to_arrays, to_reply, to_request, to_tensors
from .terms import read_terms

#: What directions are called in a body, beside the inputs.
_ROLES: Mapping[Kind, str] = {"jvp": "tangents", "vjp": "cotangents"}
_OF_PARAMETERS = "parameter_tangents"


async def jvp(request: Request) -> Response:
    """Answer with a solution and how it changes along directions of the inputs."""
    return await _answer(request, "jvp")


async def vjp(request: Request) -> Response:
    """Answer with a solution and its gradients along directions of the outputs."""
    return await _answer(request, "vjp")


def decode(kind: Kind, model: str, media_type: str, body: bytes, terms: Terms) -> DerivativeRequest:
    """The request in a body; its arrays are views of the body.

    Args:
        kind: `jvp` or `vjp`.
        model: from the path.
        media_type: of the body.
        body: whole.
        terms: from the headers.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    role = _ROLES[kind]
    parts = take_apart(media_type, body, "inputs", role, *_more_roles(kind))
    return DerivativeRequest(
        kind=kind,
        at=codec.solve_request(model, parts, terms),
        directions=parts.tensors[role],
        parameter_directions=parts.tensors.get(_OF_PARAMETERS, {}),
    )


def encode(derivative: Derivative, media_type: str) -> codec.Encoded:
    """Solution and derivatives in one of the two media types."""
    more = {
        "derivatives": derivative.derivatives,
        "parameter_derivatives": derivative.parameter_derivatives,
    }
    return codec.encode_solution(derivative.solution, media_type, more)


def to_derivative_request(
    kind: Kind, message: solve_pb2.DerivativeRequest, terms: Terms, max_bytes: int
) -> DerivativeRequest:
    """The request in a message; its arrays are views of the message.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    if message.ByteSize() > max_bytes:
        raise BodyTooLarge(f"the message may have {max_bytes} bytes")
    return DerivativeRequest(
        kind=kind,
        at=to_request(message.at, terms, max_bytes),
        directions=to_arrays(_ROLES[kind], message.directions),
        parameter_directions=to_arrays(_OF_PARAMETERS, message.parameter_directions),
    )


def to_derivative_reply(derivative: Derivative) -> solve_pb2.DerivativeReply:
    """Solution and derivatives as a message."""
    return solve_pb2.DerivativeReply(
        solution=to_reply(derivative.solution),
        derivatives=to_tensors(derivative.derivatives),
        parameter_derivatives=to_tensors(derivative.parameter_derivatives),
    )


async def _answer(request: Request, kind: Kind) -> Response:
    dataplane: DataPlane = request.app.state.dataplane
    headers = headers_of(request)
    terms = read_terms(headers, time.time())
    dataplane.check_pressure()
    media_type = media_type_of(headers)
    body = await read_body(request, headers, dataplane.limits.max_body_bytes)
    asked = decode(kind, request.path_params["model"], media_type, body, terms)
    with CancelledOnDisconnect(request):
        derivative = await dataplane.differentiate(asked)
    reply_type = codec.preferred_type(headers.get("accept"), media_type)
    return encoded_response(encode(derivative, reply_type))


def _more_roles(kind: Kind) -> tuple[str, ...]:
    return (_OF_PARAMETERS,) if kind == "jvp" else ()
