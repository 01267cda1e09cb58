"""Routes of sessions: parse, call the session plane, render."""

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from certisolve import wire
from certisolve_server.jobs import Terms
from certisolve_server.sessionplane import SessionPlane

from . import codec, session_openapi
from .disconnects import CancelledOnDisconnect
from .exchange import encoded_response, headers_of, json_response, media_type_of, read_body
from .session_codec import decode_observation, decode_opening, decode_times, session_document
from .terms import read_terms

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post(
    "",
    status_code=201,
    responses=session_openapi.OPEN,
    openapi_extra=session_openapi.body_of("OpenSessionBody", "inputs"),
)
async def open_session(request: Request) -> Response:
    """Begin a session with a state of a model, or, with a snapshot as the body, where it was."""
    plane, call = _plane(request), await _read(request)
    opening = decode_opening(call.media_type, call.body, call.terms)
    with CancelledOnDisconnect(request):
        info = await (plane.restore(call.body) if opening is None else plane.open(opening))
    response = json_response(session_document(info), 201)
    response.headers["Location"] = f"/v1/sessions/{info.id}"
    return response


@router.get("/{session_id}", responses=session_openapi.SESSION)
async def get_session(request: Request, session_id: str) -> Response:
    """Where a session stands."""
    return json_response(session_document(await _plane(request).get(session_id)))


@router.post(
    "/{session_id}/observe",
    responses=session_openapi.OBSERVE,
    openapi_extra=session_openapi.body_of("ObserveBody", "values", "masks"),
)
async def observe(request: Request, session_id: str) -> Response:
    """Correct a session by what was measured; where it stands then."""
    call = await _read(request)
    observation = decode_observation(call.media_type, call.body)
    with CancelledOnDisconnect(request):
        info = await _plane(request).observe(session_id, observation, call.terms)
    return json_response(session_document(info))


@router.post(
    "/{session_id}/predict",
    responses=session_openapi.PREDICT,
    openapi_extra=session_openapi.body_of("PredictBody"),
)
async def predict(request: Request, session_id: str) -> Response:
    """A forecast from where a session stands, which stays there."""
    call = await _read(request)
    times = decode_times(call.media_type, call.body)
    with CancelledOnDisconnect(request):
        forecast = await _plane(request).predict(session_id, times, call.terms)
    reply_type = codec.preferred_type(request.headers.get("accept"), call.media_type)
    return encoded_response(codec.encode_solution(forecast, reply_type))


@router.get("/{session_id}/state", responses=session_openapi.STATE)
async def get_state(request: Request, session_id: str) -> Response:
    """A session as bytes, from which `POST /v1/sessions` begins another."""
    return Response(await _plane(request).snapshot(session_id), media_type=wire.SAFETENSORS)


@router.delete("/{session_id}", responses=session_openapi.CLOSED)
async def close_session(request: Request, session_id: str) -> Response:
    """Forget a session."""
    await _plane(request).close(session_id)
    return json_response({})


class _Call:
    """A body, and on which terms it came."""

    def __init__(self, media_type: str, body: bytes, terms: Terms) -> None:
        self.media_type = media_type
        self.body = body
        self.terms = terms


async def _read(request: Request) -> _Call:
    headers = headers_of(request)
    terms = read_terms(headers, time.time())
    body = await read_body(request, headers, _plane(request).limits.max_body_bytes)
    return _Call(media_type_of(headers), body, terms)


def _plane(request: Request) -> SessionPlane:
    plane: SessionPlane = request.app.state.sessions
    return plane
