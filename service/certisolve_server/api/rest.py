"""Routes: parse, call the data plane, render."""

import math
import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from certisolve_server.answers import Solution
from certisolve_server.dataplane import DataPlane, JobView
from certisolve_server.errors import InvalidOption
from certisolve_server.jobs import Terms

from . import certify_codec, codec, openapi
from .disconnects import CancelledOnDisconnect
from .documents import job_document, model_document
from .events import EVENT_HEADERS, EVENT_STREAM, job_events
from .exchange import encoded_response, headers_of, json_response, media_type_of, read_body
from .part_codec import choose_renderer
from .preferences import NO_PREFERENCES, Preferences, read_preferences
from .streaming import PartsResponse
from .terms import read_terms

_MAX_JOB_WAIT_S = 30.0

router = APIRouter()


@router.get("/v1/models", tags=["models"], responses=openapi.MODELS)
async def list_models(request: Request) -> Response:
    """Every model: manifest, digest, errors per resolution, baselines, where it is loaded."""
    return json_response(
        {"models": [model_document(entry) for entry in _dataplane(request).models()]}
    )


@router.get("/v1/models/{model}", tags=["models"], responses=openapi.MODEL)
async def get_model(request: Request, model: str, version: str | None = None) -> Response:
    """One model, in its newest version unless `version` says otherwise."""
    return json_response(model_document(_dataplane(request).model(model, version)))


@router.get("/v1/jobs/{job_id}", tags=["jobs"], responses=openapi.JOB_RESULT)
async def get_job(request: Request, job_id: str, wait_s: str = "0") -> Response:
    """Where a job stands, after waiting up to `wait_s` (at most 30) seconds for it to end."""
    view = await _dataplane(request).job(job_id, wait_s=_wait_s(wait_s))
    media_type = codec.preferred_type(request.headers.get("accept"), codec.JSON)
    if view.certified is not None:
        result = certify_codec.encode_job_result(job_document(view), view.certified, media_type)
        return encoded_response(result)
    if view.solution is None:
        return json_response(job_document(view))
    return encoded_response(codec.encode_job_result(job_document(view), view.solution, media_type))


@router.get("/v1/jobs/{job_id}/events", tags=["jobs"], responses=openapi.JOB_EVENTS)
async def get_job_events(request: Request, job_id: str) -> Response:
    """Where a job stands, at once and whenever that changes, until it ends; server-sent events."""
    changes = _dataplane(request).watch(job_id)
    events = job_events(await anext(changes), changes)
    return StreamingResponse(events, headers=EVENT_HEADERS, media_type=EVENT_STREAM)


@router.delete("/v1/jobs/{job_id}", tags=["jobs"], responses=openapi.JOB)
async def cancel_job(request: Request, job_id: str) -> Response:
    """End a job unanswered, unless it has ended; where it stands afterwards."""
    return json_response(job_document(await _dataplane(request).cancel(job_id)))


@router.get("/health/live", tags=["health"])
async def live() -> Response:
    """200 while the process answers."""
    return json_response({"status": "live"})


@router.get("/health/ready", tags=["health"], responses=openapi.READY)
async def ready(request: Request) -> Response:
    """200 once every model is loaded and while the queue is within reach, else 503."""
    dataplane = _dataplane(request)
    fault = dataplane.fault()
    if fault is not None:
        return json_response({"status": "unavailable", "reason": fault}, 503)
    is_ready = dataplane.ready()
    return json_response({"status": "ready" if is_ready else "loading"}, 200 if is_ready else 503)


@router.get("/metrics", tags=["health"])
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    text = await _dataplane(request).metrics()
    return Response(text, media_type="text/plain; version=0.0.4")


async def solve(request: Request) -> Response:
    """Answer with fields; with a job when the client prefers one, or has waited long enough."""
    dataplane, headers = _dataplane(request), headers_of(request)
    terms = read_terms(headers, time.time())
    preferences = read_preferences(headers.get("prefer"))
    if not terms.idempotency_key:
        # Whoever repeats a key may ask for a job that was taken long ago.
        dataplane.check_pressure()
    media_type = media_type_of(headers)
    body = await read_body(request, headers, dataplane.limits.max_body_bytes)
    solve_request = codec.decode_solve(request.path_params["model"], media_type, body, terms)
    if preferences.respond_async and preferences.wait_s is None:
        answer: Solution | JobView = await dataplane.submit_solve(solve_request)
    else:
        with CancelledOnDisconnect(request):
            answer = await dataplane.solve_within(solve_request, preferences.wait_s)
    reply_type = codec.preferred_type(headers.get("accept"), media_type)
    response = _answer(answer, reply_type)
    if preferences is not NO_PREFERENCES:
        tell_applied(response, preferences, terms, dataplane.limits.max_wait_s)
    return response


async def solve_stream(request: Request) -> Response:
    """Answer with frames as they are computed; with a problem where the request is refused."""
    dataplane, headers = _dataplane(request), headers_of(request)
    terms = read_terms(headers, time.time())
    dataplane.check_pressure()
    media_type = media_type_of(headers)
    body = await read_body(request, headers, dataplane.limits.max_body_bytes)
    solve_request = codec.decode_solve(request.path_params["model"], media_type, body, terms)
    renderer = choose_renderer(headers.get("accept"), media_type)
    return PartsResponse(request, await dataplane.stream(solve_request), renderer)


def _dataplane(request: Request) -> DataPlane:
    dataplane: DataPlane = request.app.state.dataplane
    return dataplane


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
        return encoded_response(codec.encode_solution(answer, media_type))
    response = json_response(job_document(answer), 202)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return response


def tell_applied(
    response: Response, preferences: Preferences, terms: Terms, max_wait_s: float
) -> None:
    """Say in the headers what of a client's preferences was followed."""
    limit_s = max_wait_s if terms.deadline is None else math.inf
    applied = preferences.applied(became_job=response.status_code == 202, max_wait_s=limit_s)
    if applied:
        response.headers["Preference-Applied"] = applied
