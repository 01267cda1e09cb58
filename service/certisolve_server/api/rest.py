"""Routes: parse, call the data plane, render."""

import asyncio
import math
import re
import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from certisolve import wire
from certisolve_server.catalog import ModelEntry
from certisolve_server.dataplane import DataPlane, JobView
from certisolve_server.errors import BodyTooLarge, Cancelled, InvalidOption, UnsupportedMediaType
from certisolve_server.jobs import SolveRequest

from . import codec, schemas
from .problems import problem_document

DEADLINE_HEADER = "Certisolve-Deadline-Ms"
_MAX_JOB_WAIT_S = 30.0
# Watching for a disconnect costs a task; most answers are out sooner than this.
_WATCH_AFTER_S = 0.02
_POSITIVE_NUMBER = re.compile(r"[1-9][0-9]{0,11}")
_TENSORS: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_PROBLEM: dict[int | str, dict[str, Any]] = {"4XX": {"model": schemas.Problem}}

router = APIRouter()


@router.get("/v1/models", tags=["models"])
async def list_models(request: Request) -> Response:
    """Every model: manifest, digest, validated resolutions with their errors, baselines."""
    return _json({"models": [_model(entry) for entry in _dataplane(request).models()]})


@router.get("/v1/models/{model}", tags=["models"], responses=_PROBLEM)
async def get_model(request: Request, model: str, version: str | None = None) -> Response:
    """One model, in its newest version unless `version` says otherwise."""
    return _json(_model(_dataplane(request).model(model, version)))


@router.get(
    "/v1/jobs/{job_id}", tags=["jobs"], responses={**_PROBLEM, 200: {"model": schemas.JobReply}}
)
async def get_job(request: Request, job_id: str, wait_s: str = "0") -> Response:
    """Where a job stands, after waiting up to `wait_s` (at most 30) seconds for it to end."""
    view = await _dataplane(request).job(job_id, wait_s=_wait_s(wait_s))
    return _job_response(view, request.headers.get("accept"))


@router.delete(
    "/v1/jobs/{job_id}", tags=["jobs"], responses={**_PROBLEM, 200: {"model": schemas.JobReply}}
)
async def cancel_job(request: Request, job_id: str) -> Response:
    """End a job unanswered, unless it has ended; its status afterwards."""
    view = await _dataplane(request).cancel(job_id)
    return _json({"id": view.id, "status": view.state.status})


@router.get("/health/live", tags=["health"])
async def live() -> Response:
    """200 while the process answers."""
    return _json({"status": "live"})


@router.get("/health/ready", tags=["health"])
async def ready(request: Request) -> Response:
    """200 once every model is loaded, else 503."""
    is_ready = _dataplane(request).ready()
    return _json({"status": "ready" if is_ready else "loading"}, 200 if is_ready else 503)


@router.get("/metrics", tags=["health"])
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return Response(_dataplane(request).metrics(), media_type="text/plain; version=0.0.4")


async def solve(request: Request) -> Response:
    """Answer with fields, or with a job when `Prefer: respond-async` asks for one."""
    dataplane = _dataplane(request)
    solve_request = await _read_solve(request, dataplane.limits.max_body_bytes)
    if "respond-async" in request.headers.get("prefer", ""):
        return _accepted(await dataplane.submit_solve(solve_request))
    with _CancelledOnDisconnect(request):
        solution = await dataplane.solve(solve_request)
    encoded = codec.encode_solution(solution, _reply_type(request))
    return Response(encoded.body, media_type=encoded.media_type)


SOLVE_OPENAPI: dict[str, Any] = {
    "tags": ["solve"],
    "summary": "Solve",
    "description": "The solution for an initial condition or coefficient. Tensors travel as nested "
    'lists, as `{"shape", "dtype", "data": <base64>}`, or, fastest, as safetensors whose metadata '
    "key `certisolve` holds the rest of the body as JSON.",
    "parameters": [
        {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": DEADLINE_HEADER,
            "in": "header",
            "description": "Milliseconds after which the answer is no longer wanted.",
            "schema": {"type": "integer", "minimum": 1},
        },
        {
            "name": "Prefer",
            "in": "header",
            "description": "`respond-async` answers at once with a job.",
            "schema": {"type": "string"},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/SolveBody"},
                        {"type": "object", "properties": {"inputs": {"type": "object"}}},
                    ]
                },
                "example": schemas.solve_example(),
            },
            wire.SAFETENSORS: _TENSORS,
        },
    },
    "responses": {
        "200": {
            "description": "Fields",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/SolveReply"}},
                wire.SAFETENSORS: _TENSORS,
            },
        },
        "202": {
            "description": "A job",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobReply"}}},
        },
        "4XX": {
            "description": "What is wrong and how to mend it",
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        },
    },
}


def _dataplane(request: Request) -> DataPlane:
    dataplane: DataPlane = request.app.state.dataplane
    return dataplane


async def _read_solve(request: Request, max_bytes: int) -> SolveRequest:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("send the body uncompressed", field="Content-Encoding")
    deadline = _deadline(request.headers.get(DEADLINE_HEADER))
    body = await _read_body(request, max_bytes)
    model: str = request.path_params["model"]
    return codec.decode_solve(model, _request_type(request), body, deadline)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    too_large = BodyTooLarge(f"the body may have {max_bytes} bytes")
    length = request.headers.get("content-length", "0")
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


def _deadline(header: str | None) -> float | None:
    if header is None:
        return None
    if not _POSITIVE_NUMBER.fullmatch(header):
        raise InvalidOption(
            "must be a whole number of milliseconds, 1 or more", field=DEADLINE_HEADER
        )
    return time.time() + int(header) / 1e3


def _wait_s(text: str) -> float:
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s < math.inf:
        raise InvalidOption("must be a number of seconds, 0 or more", field="wait_s")
    return min(wait_s, _MAX_JOB_WAIT_S)


def _request_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _reply_type(request: Request) -> str:
    return codec.preferred_type(request.headers.get("accept"), _request_type(request))


class _CancelledOnDisconnect:
    """Cancels what the current task does inside when the client goes away.

    Arguments:
        request: read to its end.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_WATCH_AFTER_S, self._start_watching)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._timer.cancel()
        if self._watcher is None:
            return
        self._watcher.cancel()
        if kind is asyncio.CancelledError and self._watcher.done() and self._task is not None:
            self._task.uncancel()
            raise Cancelled("the client went away")

    def _start_watching(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._task.cancel()


def _accepted(view: JobView) -> Response:
    response = _json({"id": view.id, "status": view.state.status}, 202)
    response.headers["Location"] = f"/v1/jobs/{view.id}"
    return response


def _job_response(view: JobView, accept: str | None) -> Response:
    if view.solution is not None:
        encoded = codec.encode_job_result(
            view.id, view.solution, codec.preferred_type(accept, codec.JSON)
        )
        return Response(encoded.body, media_type=encoded.media_type)
    error = view.state.error
    problem = problem_document(error) if error and view.state.status == "failed" else None
    return _json({"id": view.id, "status": view.state.status, "problem": problem})


def _model(entry: ModelEntry) -> dict[str, Any]:
    artifact = entry.artifact
    return {
        "name": artifact.manifest.name,
        "version": artifact.manifest.version,
        "digest": artifact.digest,
        "ready": entry.ready,
        "fault": entry.fault,
        "manifest": artifact.manifest,
    }


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(codec.encode_json(document), status, media_type=codec.JSON)
