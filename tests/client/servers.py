"""Real servers that speak the contract over HTTP and gRPC, with one scripted backend behind both.

Written against the contract, not against the server's code, so that the two can disagree.
"""

import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from certisolve.manifest import (
    Axis,
    Manifest,
    ParameterSpec,
    Program,
    TensorSpec,
    ValidatedResolution,
)
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
    "body_too_large": (413, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "queue_full": (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "model_not_ready": (503, grpc.StatusCode.UNAVAILABLE),
    "shutting_down": (503, grpc.StatusCode.UNAVAILABLE),
    "unavailable": (503, grpc.StatusCode.UNAVAILABLE),
    "deadline_exceeded": (504, grpc.StatusCode.DEADLINE_EXCEEDED),
    "cancelled": (499, grpc.StatusCode.CANCELLED),
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


@dataclass(frozen=True)
class Solve:
    """A solve request as it arrived, whatever carried it."""

    model: str
    tensors: dict[str, np.ndarray]
    version: str = ""
    parameters: dict[str, float] = field(default_factory=dict)
    t: list[float] = field(default_factory=list)
    diagnostics: bool = True
    deadline_s: float | None = None


@dataclass
class BackgroundSolve:
    """A job; it ends when the test says so."""

    id: str
    request: Solve
    status: str = "queued"
    ended: threading.Event = field(default_factory=threading.Event)

    def end(self, status: str) -> None:
        self.status = status
        self.ended.set()


class Backend:
    """Answers by the model's name: `double` computes, `problem-<code>` refuses, `stuck` waits.

    Attributes:
        requests: every solve and submission that arrived.
        refusals: problems to answer the next requests with, before anything else.
    """

    def __init__(self) -> None:
        self.requests: list[Solve] = []
        self.refusals: list[Refused] = []
        self.jobs: dict[str, BackgroundSolve] = {}
        self.released = threading.Event()

    def solve(self, request: Solve) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self._admit(request)
        if request.model == "stuck":
            self.released.wait(10)
        return self.answer(request)

    def submit(self, request: Solve) -> BackgroundSolve:
        self._admit(request)
        job = BackgroundSolve(f"job-{len(self.jobs)}", request)
        self.jobs[job.id] = job
        return job

    def job(self, job_id: str, wait_s: float) -> BackgroundSolve:
        if job_id not in self.jobs:
            raise Refused("unknown_job")
        self.jobs[job_id].ended.wait(wait_s)
        return self.jobs[job_id]

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
        return {**identity, "ready": True, "manifest": manifest}

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
        if request.headers.get("Prefer") == "respond-async":
            job = backend.submit(parsed)
            location = {"Location": f"/v1/jobs/{job.id}"}
            return JSONResponse(_job_body(job), 202, headers=location)
        tensors, metadata = await anyio.to_thread.run_sync(backend.solve, parsed)
        return Response(encode_safetensors(tensors, metadata), media_type=SAFETENSORS)

    async def get_job(request: Request) -> Response:
        wait_s = float(request.query_params.get("wait_s", 0))
        job_id = request.path_params["id"]
        job = await anyio.to_thread.run_sync(backend.job, job_id, wait_s)
        if job.status != "succeeded" or request.headers["Accept"] != SAFETENSORS:
            return JSONResponse(_job_body(job))
        tensors, metadata = backend.answer(job.request)
        body = encode_safetensors(tensors, {**_job_body(job), "result": metadata})
        return Response(body, media_type=SAFETENSORS)

    async def cancel(request: Request) -> Response:
        return JSONResponse(_job_body(backend.cancel(request.path_params["id"])))

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
        Route("/v1/jobs/{id}", get_job, methods=["GET"]),
        Route("/v1/jobs/{id}", cancel, methods=["DELETE"]),
    ]
    return Starlette(routes=routes, exception_handlers={Refused: refuse})  # type: ignore[dict-item]  # handlers are contravariant


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


def _parse_solve(request: Request, body: bytes) -> Solve:
    assert request.headers["Content-Type"] == SAFETENSORS
    assert request.headers["Accept"] == SAFETENSORS
    tensors, metadata = decode_safetensors(body)
    unknown = metadata.keys() - {"version", "parameters", "t", "options"}
    assert not unknown, unknown
    deadline_ms = request.headers.get("Certisolve-Deadline-Ms")
    return Solve(
        model=request.path_params["model"],
        tensors=tensors,
        version=metadata.get("version", ""),
        parameters=metadata.get("parameters", {}),
        t=metadata.get("t", []),
        diagnostics=metadata.get("options", {}).get("diagnostics", True),
        deadline_s=None if deadline_ms is None else int(deadline_ms) / 1000,
    )


def _job_body(job: BackgroundSolve) -> dict[str, Any]:
    problem = Refused("internal").problem if job.status == "failed" else None
    return {"id": job.id, "status": job.status, "problem": problem}


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

    def SubmitSolve(self, request, context):
        with _refusing(context):
            return self._job(self._backend.submit(_read_solve(request.request, None)))

    def GetJob(self, request, context):
        with _refusing(context):
            return self._job(self._backend.job(request.id, request.wait_s))

    def CancelJob(self, request, context):
        with _refusing(context):
            return self._job(self._backend.cancel(request.id))

    def _job(self, job: BackgroundSolve) -> job_pb2.Job:
        message = job_pb2.Job(id=job.id, status=job.status)
        if job.status == "succeeded":
            message.result.CopyFrom(_solve_reply(*self._backend.answer(job.request)))
        if job.status == "failed":
            message.problem.CopyFrom(problem_pb2.Problem(**Refused("internal").problem))
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
    options = request.options
    return Solve(
        model=request.model,
        tensors=tensors,
        version=request.version,
        parameters=dict(request.parameters),
        t=list(request.t),
        diagnostics=options.diagnostics if options.HasField("diagnostics") else True,
        deadline_s=None if context is None else context.time_remaining(),
    )


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
    return model_pb2.ModelInfo(model=identity, ready=body["ready"], manifest_json=manifest)


# Bytes by hand


@contextlib.contextmanager
def serve_bytes(*scripts):
    """A listener whose n-th connection reads one request, then runs the n-th script.

    A script gets the connection and leaves it to be closed; yields the URL's `host:port`.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_run_scripts, args=(listener, scripts))
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Wakes an accept that no client answered.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _run_scripts(listener, scripts) -> None:
    for script in scripts:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            script(connection)


def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
