"""Routes: parse, call the data plane, render."""

import math
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from certisolve_server.dataplane import DataPlane, JobView
from certisolve_server.errors import BodyTooLarge, Cancelled, InvalidOption, UnsupportedMediaType
from certisolve_server.jobs import Solution, Terms

from . import codec, openapi
from .disconnects import CancelledOnDisconnect
from .documents import job_document, model_document
from .events import EVENT_HEADERS, EVENT_STREAM, job_events
from .preferences import NO_PREFERENCES, Preferences, read_preferences
from .terms import read_terms

_MAX_JOB_WAIT_S = 30.0

router = APIRouter()


@router.get("/v1/models", tags=["models"], responses=openapi.MODELS)
async def list_models(request: Request) -> Response:
    """Every model: manifest, digest, errors per resolution, baselines, where it is loaded."""
    return _json({"models": [model_document(entry) for entry in _dataplane(request).models()]})


@router.get("/v1/models/{model}", tags=["models"], responses=openapi.MODEL)
async def get_model(request: Request, model: str, version: str | None = None) -> Response:
    """One model, in its newest version unless `version` says otherwise."""
    return _json(model_document(_dataplane(request).model(model, version)))


@router.get("/v1/jobs/{job_id}", tags=["jobs"], responses=openapi.JOB_RESULT)
async def get_job(request: Request, job_id: str, wait_s: str = "0") -> Response:
    """Where a job stands, after waiting up to `wait_s` (at most 30) seconds for it to end."""
    view = await _dataplane(request).job(job_id, wait_s=_wait_s(wait_s))
    if view.solution is None:
        return _json(job_document(view))
    media_type = codec.preferred_type(request.headers.get("accept"), codec.JSON)
    return _encoded(codec.encode_job_result(job_document(view), view.solution, media_type))


@router.get("/v1/jobs/{job_id}/events", tags=["jobs"], responses=openapi.JOB_EVENTS)
async def get_job_events(request: Request, job_id: str) -> Response:
    """Where a job stands, at once and whenever that changes, until it ends; server-sent events."""
    changes = _dataplane(request).watch(job_id)
    events = job_events(await anext(changes), changes)
    return StreamingResponse(events, headers=EVENT_HEADERS, media_type=EVENT_STREAM)


@router.delete("/v1/jobs/{job_id}", tags=["jobs"], responses=openapi.JOB)
async def cancel_job(request: Request, job_id: str) -> Response:
    """End a job unanswered, unless it has ended; where it stands afterwards."""
    return _json(job_document(await _dataplane(request).cancel(job_id)))


@router.get("/health/live", tags=["health"])
async def live() -> Response:
    """200 while the process answers."""
    return _json({"status": "live"})


@router.get("/health/ready", tags=["health"], responses=openapi.READY)
async def ready(request: Request) -> Response:
    """200 once every model is loaded and while the queue is within reach, else 503."""
    dataplane = _dataplane(request)
    fault = dataplane.fault()
    if fault is not None:
        return _json({"status": "unavailable", "reason": fault}, 503)
    is_ready = dataplane.ready()
    return _json({"status": "ready" if is_ready else "loading"}, 200 if is_ready else 503)


@router.get("/metrics", tags=["health"])
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    text = await _dataplane(request).metrics()
    return Response(text, media_type="text/plain; version=0.0.4")


async def solve(request: Request) -> Response:
    """Answer with fields; with a job when the client prefers one, or has waited long enough."""
    dataplane, headers = _dataplane(request), _headers(request)
    terms = read_terms(headers, time.time())
    preferences = read_preferences(headers.get("prefer"))
    if not terms.idempotency_key:
        # Whoever repeats a key may ask for a job that was taken long ago.
        dataplane.check_pressure()
    media_type = _media_type(headers)
    body = await _read_body(request, headers, dataplane.limits.max_body_bytes)
    solve_request = codec.decode_solve(request.path_params["model"], media_type, body, terms)
    if preferences.respond_async and preferences.wait_s is None:
        answer: Solution | JobView = await dataplane.submit_solve(solve_request)
    else:
        with CancelledOnDisconnect(request):
            answer = await dataplane.solve_within(solve_request, preferences.wait_s)
    reply_type = codec.preferred_type(headers.get("accept"), media_type)
    response = _answer(answer, reply_type)
    if preferences is not NO_PREFERENCES:
        _tell_applied(response, preferences, terms, dataplane.limits.max_wait_s)
    return response


def _dataplane(request: Request) -> DataPlane:
    dataplane: DataPlane = request.app.state.dataplane
    return dataplane


def _headers(request: Request) -> dict[str, str]:
    """The headers by lower-case name; one that comes several times, joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _read_body(request: Request, headers: Mapping[str, str], max_bytes: int) -> bytes:
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("send the body uncompressed", field="Content-Encoding")
    too_large = BodyTooLarge(f"the body may have {max_bytes} bytes")
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > max_bytes:
        raise too_large
    chunks, num_bytes = [], 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise too_large
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise Cancelled("the client went away") from error
    return b"".join(chunks)


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _wait_s(text: str) -> float:
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s < math.inf:
        raise InvalidOption("must be a number of seconds, 0 or more", field="wait_s")
    return min(wait_s, _MAX_JOB_WAIT_S)


def _answer(answer: Solution | JobView, media_type: str) -> Response:
    if isinstance(answer, Solution):
        return _encoded(codec.encode_solution(answer, media_type))
    response = _json(job_document(answer), 202)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return response


def _tell_applied(
    response: Response, preferences: Preferences, terms: Terms, max_wait_s: float
) -> None:
    limit_s = max_wait_s if terms.deadline is None else math.inf
    applied = preferences.applied(became_job=response.status_code == 202, max_wait_s=limit_s)
    if applied:
        response.headers["Preference-Applied"] = applied


def _encoded(encoded: codec.Encoded) -> Response:
    return Response(encoded.body, media_type=encoded.media_type)


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(codec.encode_json(document), status, media_type=codec.JSON)
