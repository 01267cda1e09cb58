"""Real servers that speak the contract over HTTP and gRPC, with one scripted backend behind both.

Written against the contract, not against the server's code, so that the two can disagree.
"""

import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import anyio.to_thread
import grpc
import numpy as np
import uvicorn
from google.protobuf import any_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from certisolve.manifest import (
    Axis,
    Manifest,
    ParameterSpec,
    Program,
    TensorSpec,
    ValidatedResolution,
)
from certisolve.sequence import SAFETENSORS_SEQ
from certisolve.v1 import (
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    problem_pb2,
    solve_pb2,
    solve_pb2_grpc,
    tensor_pb2,
)
from certisolve.wire import (
    SAFETENSORS,
    decode_safetensors,
    dtype_name,
    encode_safetensors,
    from_bytes,
)

from .stream_server import Part, StreamCut, messages, parts, sequence

DIGEST = "ab" * 32

#: Every code of the contract with its status over each protocol.
STATUS = {
    "malformed_body": (400, grpc.StatusCode.INVALID_ARGUMENT),
    "unsupported_media_type": (415, grpc.StatusCode.INVALID_ARGUMENT),
    "missing_input": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "unknown_input": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "wrong_shape": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "wrong_dtype": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "not_finite": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "out_of_range": (422, grpc.StatusCode.OUT_OF_RANGE),
    "unvalidated_resolution": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "unknown_parameter": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "invalid_option": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "a_code_of_next_year": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "method_not_allowed": (405, grpc.StatusCode.UNIMPLEMENTED),
    "unknown_model": (404, grpc.StatusCode.NOT_FOUND),
    "unknown_version": (404, grpc.StatusCode.NOT_FOUND),
    "unknown_job": (404, grpc.StatusCode.NOT_FOUND),
    "not_found": (404, grpc.StatusCode.NOT_FOUND),
    "idempotency_conflict": (409, grpc.StatusCode.ALREADY_EXISTS),
    "body_too_large": (413, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "queue_full": (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "queue_unavailable": (503, grpc.StatusCode.UNAVAILABLE),
    "model_not_ready": (503, grpc.StatusCode.UNAVAILABLE),
    "shutting_down": (503, grpc.StatusCode.UNAVAILABLE),
    "unavailable": (503, grpc.StatusCode.UNAVAILABLE),
    "deadline_exceeded": (504, grpc.StatusCode.DEADLINE_EXCEEDED),
    "cancelled": (499, grpc.StatusCode.CANCELLED),
    "dead_lettered": (500, grpc.StatusCode.INTERNAL),
    "internal": (500, grpc.StatusCode.INTERNAL),
}

MANIFEST = Manifest(
    name="double",
    version="2",
    title="Doubling",
    description="Twice the initial condition.",
    equation="u = 2 u₀",
    family="map",
    licence="Apache-2.0",
    program=Program(format="torch.export", file="program.pt2"),
    axes={"x": Axis(kind="grid", lower=0.0, upper=1.0, convention="periodic")},
    inputs=(TensorSpec(name="u0", dtype="F32", axes=("x",), description="initial condition"),),
    outputs=(TensorSpec(name="u", dtype="F32", axes=("x",), description="solution"),),
    resolutions=(
        ValidatedResolution(
            sizes={"x": 4}, error=0.01, worst_error=0.02, metric="rel_l2", num_samples=8
        ),
    ),
    unvalidated_resolution="resample",
    batch_tolerance=1e-6,
    golden_tolerance=1e-6,
    max_batch_size=8,
    files={"program.pt2": DIGEST},
    parameters=(
        ParameterSpec(name="nu", minimum=0.0, maximum=1.0, default=0.1, description="viscosity"),
    ),
    t=(1.0,),
)


class Refused(Exception):
    """A problem document to answer with."""

    def __init__(self, code: str, field: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.problem: dict[str, Any] = {"code": code, "detail": f"because of {code}"}
        if field:
            self.problem["field"] = field
        if retry_after_s is not None:
            self.problem["retry_after_s"] = retry_after_s


#: What a request that names no options asks for.
_OPTIONS = {"diagnostics": True}


@dataclass(frozen=True)
class Solve:
    """A solve request as it arrived, whatever carried it."""

    model: str
    tensors: dict[str, np.ndarray]
    version: str = ""
    parameters: dict[str, float] = field(default_factory=dict)
    t: list[float] = field(default_factory=list)
    diagnostics: bool = True
    steps: int | None = None
    save_every: int | None = None
    resume_from: int | None = None
    tolerance: float | None = None
    rtol: float | None = None
    atol: float | None = None
    deadline_s: float | None = None
    tenant: str | None = None
    priority: str | None = None
    idempotency_key: str | None = None


@dataclass
class BackgroundSolve:
    """A job; it moves on and ends when the test says so."""

    id: str
    request: Solve
    status: str = "queued"
    position: int | None = 3
    expected_wait_s: float | None = 1.5
    progress: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)
    history: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.history.append(self.body())

    def move(self, status: str, progress: float = 0.0, position: int | None = None) -> None:
        with self.changed:
            self.status, self.progress, self.position = status, progress, position
            self.expected_wait_s = None
            self.history.append(self.body())
            self.changed.notify_all()

    def end(self, status: str) -> None:
        self.move(status, progress=float(status == "succeeded"))
        self.ended.set()

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "position": self.position,
            "expected_wait_s": self.expected_wait_s,
            "progress": self.progress,
            "problem": Refused("internal").problem if self.status == "failed" else None,
        }

    def state_after(self, number: int, wait_s: float) -> dict[str, Any] | None:
        """The state after `number` of them; None when it is not there within the wait."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.history) > number, wait_s):
                return None
            return self.history[number]


class Backend:
    """Answers by the model's name: `double` computes, `problem-<code>` refuses, `stuck` waits.

    `patient` outlasts what the server waits: a solve becomes a job, over HTTP.

    Attributes:
        requests: every solve and submission that arrived.
        refusals: problems to answer the next requests with, before anything else.
        ends_jobs: whether a job ends as soon as it is watched.
        cuts: after how many events the next streams break; those after them do not.
        num_streams: how many were opened.
        closed_streams: counts those that ended, broke or were left.
        digests: of the programs that answer the next streams; those after them have `digest`.
        failure: how a stream of the model `failing` fails.
    """

    digest = DIGEST

    def __init__(self) -> None:
        self.requests: list[Solve] = []
        self.refusals: list[Refused] = []
        self.jobs: dict[str, BackgroundSolve] = {}
        self.keys: dict[str, BackgroundSolve] = {}
        self.released = threading.Event()
        self.ends_jobs = False
        self.cuts: list[int] = []
        self.digests: list[str] = []
        self.failure = Refused("internal")
        self.num_streams = 0
        self.closed_streams = threading.Semaphore(0)

    def reset(self) -> None:
        """Forget everything scripted and recorded."""
        recordings = (self.requests, self.refusals, self.jobs, self.keys, self.cuts, self.digests)
        for recorded in recordings:
            recorded.clear()
        self.failure = Refused("internal")
        self.released.clear()
        self.ends_jobs = False
        self.num_streams = 0
        self.closed_streams = threading.Semaphore(0)

    def solve(self, request: Solve) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self._admit(request)
        if request.model == "stuck":
            self.released.wait(10)
        return self.answer(request)

    def stream(self, request: Solve) -> Iterator[Part]:
        self._admit(request)
        return parts(self, request)

    def submit(self, request: Solve) -> BackgroundSolve:
        self._admit(request)
        if request.idempotency_key in self.keys:
            return self.keys[request.idempotency_key]
        job = BackgroundSolve(f"job-{len(self.jobs)}", request)
        self.jobs[job.id] = job
        if request.idempotency_key is not None:
            self.keys[request.idempotency_key] = job
        return job

    def job(self, job_id: str, wait_s: float) -> BackgroundSolve:
        if job_id not in self.jobs:
            raise Refused("unknown_job")
        self.jobs[job_id].ended.wait(wait_s)
        return self.jobs[job_id]

    def watch(self, job_id: str) -> Iterator[dict[str, Any] | None]:
        """States of a job as they come, None for a while without one; may break off."""
        job = self.job(job_id, 0)
        self.num_streams += 1
        cut = self.cuts.pop(0) if self.cuts else None
        number = len(job.history) - 1
        if self.ends_jobs:
            job.end("succeeded")
        try:
            while True:
                state = job.state_after(number, wait_s=0.02)
                if state is None:
                    yield None
                    continue
                yield state
                if state["status"] in ("succeeded", "failed", "cancelled"):
                    return
                number += 1
                if cut is not None and (cut := cut - 1) <= 0:
                    raise StreamCut
        finally:
            self.closed_streams.release()

    def cancel(self, job_id: str) -> BackgroundSolve:
        job = self.job(job_id, 0)
        if not job.ended.is_set():
            job.end("cancelled")
        return job

    def model(self, name: str, version: str) -> dict[str, Any]:
        if name != MANIFEST.name:
            raise Refused("unknown_model")
        if version not in ("", MANIFEST.version):
            raise Refused("unknown_version")
        manifest = json.loads(MANIFEST.to_json()) | {"added_in_a_later_release": 1}
        identity = {"name": name, "version": MANIFEST.version, "digest": DIGEST}
        workers = [{"name": "w1", "device": "cuda:0", "grpc": "10.0.0.1:9001"}]
        return {**identity, "ready": True, "manifest": manifest, "workers": workers}

    def answer(self, request: Solve) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        u0 = request.tensors["u0"]
        x = np.arange(len(u0), dtype=np.float64) / max(len(u0), 1)
        diagnostics = {
            "in_validated_range": True,
            "resampled_from": None if len(u0) == 4 else {"x": len(u0)},
            "expected_error": 0.01 if len(u0) == 4 else None,
        }
        metadata = {
            "axes": {"u": ["x"]},
            "t": request.t or [1.0],
            "status": "ok",
            "diagnostics": diagnostics if request.diagnostics else None,
            "timings_ms": {"queue": 1.0, "batch": 2.0, "compute": 3.0},
            "batch_size": 5,
            "model": {"name": request.model, "version": request.version or "2", "digest": DIGEST},
        }
        return {"u": 2 * u0, "coords.x": x}, metadata

    def _admit(self, request: Solve) -> None:
        self.requests.append(request)
        if self.refusals:
            raise self.refusals.pop(0)
        if request.model.startswith("problem-"):
            raise Refused(request.model.removeprefix("problem-"), "inputs.u0")


# HTTP


def create_app(backend: Backend) -> Starlette:
    """The HTTP half of the contract."""

    async def models(request: Request) -> Response:
        return JSONResponse({"models": [backend.model("double", "")]})

    async def model(request: Request) -> Response:
        version = request.query_params.get("version", "")
        return JSONResponse(backend.model(request.path_params["model"], version))

    async def solve(request: Request) -> Response:
        parsed = _parse_solve(request, await request.body())
        if request.headers.get("Prefer") == "respond-async" or parsed.model == "patient":
            job = backend.submit(parsed)
            location = {"Location": f"/v1/jobs/{job.id}"}
            return JSONResponse(job.body(), 202, headers=location)
        tensors, metadata = await anyio.to_thread.run_sync(backend.solve, parsed)
        return Response(encode_safetensors(tensors, metadata), media_type=SAFETENSORS)

    async def get_job(request: Request) -> Response:
        wait_s = float(request.query_params.get("wait_s", 0))
        job_id = request.path_params["id"]
        job = await anyio.to_thread.run_sync(backend.job, job_id, wait_s)
        if job.status != "succeeded" or request.headers["Accept"] != SAFETENSORS:
            return JSONResponse(job.body())
        tensors, metadata = backend.answer(job.request)
        body = encode_safetensors(tensors, {**job.body(), "result": metadata})
        return Response(body, media_type=SAFETENSORS)

    async def events(request: Request) -> Response:
        assert request.headers["Accept"] == "text/event-stream"
        backend.job(request.path_params["id"], 0)
        chunks = _events(backend, request.path_params["id"])
        return StreamingResponse(chunks, media_type="text/event-stream")

    async def cancel(request: Request) -> Response:
        return JSONResponse(backend.cancel(request.path_params["id"]).body())

    async def refuse(request: Request, refused: Refused) -> Response:
        status = STATUS[refused.problem["code"]][0]
        seconds = refused.problem.get("retry_after_s")
        headers = {} if seconds is None else {"Retry-After": str(int(seconds))}
        body = {"type": "about:blank", "title": "No", "status": status, **refused.problem}
        return JSONResponse(body, status, headers, media_type="application/problem+json")

    routes = [
        Route("/v1/models", models),
        Route("/v1/models/{model}", model),
        Route("/v1/models/{model}/solve", solve, methods=["POST"]),
        _stream_route(backend),
        Route("/v1/jobs/{id}", get_job, methods=["GET"]),
        Route("/v1/jobs/{id}/events", events),
        Route("/v1/jobs/{id}", cancel, methods=["DELETE"]),
    ]
    return Starlette(routes=routes, exception_handlers={Refused: refuse})  # type: ignore[dict-item]  # handlers are contravariant


def _stream_route(backend: Backend) -> Route:
    async def solve_stream(request: Request) -> Response:
        told = backend.stream(_parse_solve(request, await request.body(), SAFETENSORS_SEQ))
        return StreamingResponse(sequence(told, Refused), media_type=SAFETENSORS_SEQ)

    return Route("/v1/models/{model}/solve/stream", solve_stream, methods=["POST"])


@contextlib.contextmanager
def serve_http(backend: Backend):
    """A uvicorn server in a thread; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(backend), log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        # Already listening: what connects before the thread is up waits in the backlog.
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _parse_solve(request: Request, body: bytes, accept: str = SAFETENSORS) -> Solve:
    assert request.headers["Content-Type"] == SAFETENSORS
    assert request.headers["Accept"] == accept
    tensors, metadata = decode_safetensors(body)
    unknown = metadata.keys() - {"version", "parameters", "t", "steps", "options"}
    assert not unknown, unknown
    deadline_ms = request.headers.get("Certisolve-Deadline-Ms")
    return Solve(
        model=request.path_params["model"],
        tensors=tensors,
        version=metadata.get("version", ""),
        parameters=metadata.get("parameters", {}),
        t=metadata.get("t", []),
        steps=metadata.get("steps"),
        **_OPTIONS | metadata.get("options", {}),
        deadline_s=None if deadline_ms is None else int(deadline_ms) / 1000,
        **_terms(request.headers),
    )


def _terms(headers) -> dict[str, str | None]:
    return {
        "tenant": headers.get("certisolve-tenant"),
        "priority": headers.get("certisolve-priority"),
        "idempotency_key": headers.get("idempotency-key"),
    }


async def _events(backend: Backend, job_id: str) -> AsyncIterator[bytes]:
    """Every state as an event; in pieces, with comments, and with an event of a later release."""
    yield b": welcome\n\nevent: of_next_year\ndata: {}\n\n"
    states = backend.watch(job_id)
    number = 0
    try:
        while True:
            state = await anyio.to_thread.run_sync(next, states, {})
            if state == {}:
                return
            if state is None:
                yield b": still here\n\n"
                continue
            number += 1
            ended = state["status"] not in ("queued", "running")
            name = state["status"] if ended else "status"
            event = f"id: {number}\nevent: {name}\ndata: {json.dumps(state)}\n\n".encode()
            yield event[:40]
            yield event[40:]
    finally:
        states.close()


# gRPC


class Servicer(
    model_pb2_grpc.ModelServiceServicer,
    solve_pb2_grpc.SolverServiceServicer,
    job_pb2_grpc.JobServiceServicer,
):
    """The gRPC half of the contract."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def ListModels(self, request, context):
        return model_pb2.ListModelsReply(models=[_model_message(self._backend.model("double", ""))])

    def GetModel(self, request, context):
        with _refusing(context):
            return _model_message(self._backend.model(request.name, request.version))

    def Solve(self, request, context):
        with _refusing(context):
            return _solve_reply(*self._backend.solve(_read_solve(request, context)))

    def SolveStream(self, request, context):
        with _refusing(context):
            told = self._backend.stream(_read_solve(request, context))
            yield from messages(told, context, _tensor)

    def SubmitSolve(self, request, context):
        with _refusing(context):
            solve = replace(_read_solve(request.request, context), deadline_s=None)
            return self._job(self._backend.submit(solve))

    def GetJob(self, request, context):
        with _refusing(context):
            return self._job(self._backend.job(request.id, request.wait_s))

    def CancelJob(self, request, context):
        with _refusing(context):
            return self._job(self._backend.cancel(request.id))

    def WatchJob(self, request, context):
        states = self._backend.watch(request.id)
        job = self._backend.jobs.get(request.id)
        try:
            with _refusing(context), contextlib.closing(states):
                for state in states:
                    if not context.is_active():
                        return
                    if state is not None:
                        yield self._message(job, state)
        except StreamCut:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def _job(self, job: BackgroundSolve) -> job_pb2.Job:
        return self._message(job, job.body())

    def _message(self, job: BackgroundSolve, state: dict[str, Any]) -> job_pb2.Job:
        problem = state["problem"] and problem_pb2.Problem(**state["problem"])
        message = job_pb2.Job(**(state | {"problem": problem}))
        if state["status"] == "succeeded":
            message.result.CopyFrom(_solve_reply(*self._backend.answer(job.request)))
        return message


@contextlib.contextmanager
def serve_grpc(backend: Backend):
    """A gRPC server; yields its URL."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    servicer = Servicer(backend)
    model_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    solve_pb2_grpc.add_SolverServiceServicer_to_server(servicer, server)
    job_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def _refusing(context):
    try:
        yield
    except Refused as refused:
        detail = any_pb2.Any()
        detail.Pack(problem_pb2.Problem(**refused.problem))
        code = STATUS[refused.problem["code"]][1].value[0]
        status = status_pb2.Status(code=code, message="refused", details=[detail])
        context.abort_with_status(rpc_status.to_status(status))


def _read_solve(request, context) -> Solve:
    tensors = {
        name: from_bytes(name, tensor.dtype, tensor.shape, tensor.data)
        for name, tensor in request.inputs.items()
    }
    return Solve(
        model=request.model,
        tensors=tensors,
        version=request.version,
        parameters=dict(request.parameters),
        t=list(request.t),
        steps=request.steps if request.HasField("steps") else None,
        **_OPTIONS | {field.name: value for field, value in request.options.ListFields()},
        deadline_s=_remaining_s(context),
        **_terms(dict(context.invocation_metadata())),
    )


def _remaining_s(context) -> float | None:
    # Of a call without a deadline, hundreds of years.
    remaining_s = context.time_remaining()
    return remaining_s if remaining_s < 1e9 else None


def _solve_reply(tensors, metadata) -> solve_pb2.SolveReply:
    reply = solve_pb2.SolveReply(
        fields={"u": _tensor(tensors["u"])},
        coords={"x": _tensor(tensors["coords.x"])},
        axes={"u": solve_pb2.AxisNames(names=metadata["axes"]["u"])},
        t=metadata["t"],
        status=metadata["status"],
        batch_size=metadata["batch_size"],
        model=model_pb2.ModelRef(**metadata["model"]),
    )
    for stage, milliseconds in metadata["timings_ms"].items():
        setattr(reply.timings, f"{stage}_ms", milliseconds)
    if metadata["diagnostics"] is not None:
        reply.diagnostics.CopyFrom(solve_pb2.Diagnostics(**metadata["diagnostics"]))
    return reply


def _tensor(array) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(dtype=dtype_name(array), shape=array.shape, data=array.tobytes())


def _model_message(body) -> model_pb2.ModelInfo:
    identity = model_pb2.ModelRef(**{k: body[k] for k in ("name", "version", "digest")})
    manifest = json.dumps(body["manifest"]).encode()
    workers = [model_pb2.WorkerRef(**worker) for worker in body["workers"]]
    return model_pb2.ModelInfo(
        model=identity, ready=body["ready"], manifest_json=manifest, workers=workers
    )


# Bytes by hand


@contextlib.contextmanager
def serve_bytes(*scripts, requests=None):
    """A listener whose n-th connection reads one request, then runs the n-th script.

    A script gets the connection and leaves it to be closed; yields the URL's `host:port`. The
    requests are added to `requests`, a list, if there is one.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(
        target=_run_scripts, args=(listener, scripts, [] if requests is None else requests)
    )
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Wakes an accept that no client answered.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _run_scripts(listener, scripts, requests) -> None:
    for script in scripts:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            requests.append(connection.recv(1 << 16))
            script(connection)


def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
