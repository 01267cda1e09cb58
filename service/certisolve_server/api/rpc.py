"""gRPC servicers: convert, call the data plane, convert back."""

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status.rpc_status import to_status

from certisolve import wire
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
from certisolve_server.catalog import ModelEntry
from certisolve_server.dataplane import DataPlane, JobView
from certisolve_server.errors import (
    BodyTooLarge,
    InternalError,
    InvalidOption,
    MalformedBody,
    ServingError,
)
from certisolve_server.jobs import Array, Solution, SolveRequest

from .status import STATUS

_log = logging.getLogger(__name__)
_MAX_JOB_WAIT_S = 30.0
#: Room above `max_body_bytes` for names and framing; beyond it gRPC itself refuses the message.
_MESSAGE_MARGIN_BYTES = 1 << 20

Context = grpc.aio.ServicerContext[Any, Any]


class SolverServicer(solve_pb2_grpc.SolverServiceServicer):
    """certisolve.v1.SolverService."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def Solve(
        self, request: solve_pb2.SolveRequest, context: Context
    ) -> solve_pb2.SolveReply:
        async with _problems(context):
            solution = await self._dataplane.solve(
                _to_request(request, _deadline(context), self._dataplane.limits.max_body_bytes)
            )
            return _to_reply(solution)


class JobServicer(job_pb2_grpc.JobServiceServicer):
    """certisolve.v1.JobService."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def SubmitSolve(
        self, request: job_pb2.SubmitSolveRequest, context: Context
    ) -> job_pb2.Job:
        async with _problems(context):
            # The deadline of this call is for accepting the job, not for running it.
            solve = _to_request(request.request, None, self._dataplane.limits.max_body_bytes)
            return _to_job(await self._dataplane.submit_solve(solve))

    async def GetJob(self, request: job_pb2.GetJobRequest, context: Context) -> job_pb2.Job:
        async with _problems(context):
            if not 0 <= request.wait_s < float("inf"):
                raise InvalidOption("must be a number of seconds, 0 or more", field="wait_s")
            wait_s = min(request.wait_s, _MAX_JOB_WAIT_S)
            return _to_job(await self._dataplane.job(request.id, wait_s=wait_s))

    async def CancelJob(self, request: job_pb2.CancelJobRequest, context: Context) -> job_pb2.Job:
        async with _problems(context):
            return _to_job(await self._dataplane.cancel(request.id))


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """certisolve.v1.ModelService."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Context
    ) -> model_pb2.ListModelsReply:
        del request
        async with _problems(context):
            models = [_to_model_info(entry) for entry in self._dataplane.models()]
            return model_pb2.ListModelsReply(models=models)

    async def GetModel(
        self, request: model_pb2.GetModelRequest, context: Context
    ) -> model_pb2.ModelInfo:
        async with _problems(context):
            return _to_model_info(self._dataplane.model(request.name, request.version or None))


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # untyped base
    """grpc.health.v1.Health: SERVING once every model is loaded."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in ("", *SERVICES):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        serving = health_pb2.HealthCheckResponse
        status = serving.SERVING if self._dataplane.ready() else serving.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)


SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (solve_pb2, "SolverService"),
        (job_pb2, "JobService"),
        (model_pb2, "ModelService"),
    )
)


def create_server(dataplane: DataPlane) -> grpc.aio.Server:
    """A gRPC server of `dataplane`, with health and reflection, bound to no port yet."""
    limit = dataplane.limits.max_body_bytes + _MESSAGE_MARGIN_BYTES
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would share its requests silently.
            ("grpc.so_reuseport", 0),
        ]
    )
    solve_pb2_grpc.add_SolverServiceServicer_to_server(SolverServicer(dataplane), server)
    job_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(dataplane), server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(dataplane), server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(dataplane), server)
    reflection.enable_server_reflection(
        (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    return server


@asynccontextmanager
async def _problems(context: Context) -> AsyncIterator[None]:
    """End the call with a status whose details hold the same code as over HTTP."""
    try:
        yield
    except ServingError as error:
        await _abort(context, error)
    except Exception as error:
        _log.error("request_failed", exc_info=error)
        await _abort(context, InternalError("a defect of the server; its log has the cause"))


async def _abort(context: Context, error: ServingError) -> None:
    await context.abort_with_status(_to_status(error))  # type: ignore[attr-defined]  # old stubs


def _to_status(error: ServingError) -> grpc.Status:
    details = AnyMessage()
    details.Pack(_to_problem(error))
    code = STATUS[error.code].grpc.value[0]
    status: grpc.Status = to_status(Status(code=code, message=error.detail, details=[details]))
    return status


def _to_problem(error: ServingError) -> problem_pb2.Problem:
    return problem_pb2.Problem(
        code=error.code, detail=error.detail, field=error.field, retry_after_s=error.retry_after_s
    )


def _deadline(context: Context) -> float | None:
    remaining_s = context.time_remaining()
    return None if remaining_s is None else time.time() + remaining_s


def _to_request(
    message: solve_pb2.SolveRequest, deadline: float | None, max_bytes: int
) -> SolveRequest:
    if message.ByteSize() > max_bytes:
        raise BodyTooLarge(f"the message may have {max_bytes} bytes")
    diagnostics = message.options.diagnostics or not message.options.HasField("diagnostics")
    return SolveRequest(
        model=message.model,
        version=message.version or None,
        inputs={name: _to_array(name, tensor) for name, tensor in message.inputs.items()},
        parameters=dict(message.parameters),
        t=tuple(message.t) or None,
        diagnostics=diagnostics,
        deadline=deadline,
    )


def _to_array(name: str, tensor: tensor_pb2.Tensor) -> Array:
    try:
        return wire.from_bytes(name, tensor.dtype, tensor.shape, tensor.data)
    except wire.WireError as error:
        raise MalformedBody(error.problem, field=f"inputs.{name}") from error


def _to_reply(solution: Solution) -> solve_pb2.SolveReply:
    manifest, context = solution.artifact.manifest, solution.context
    return solve_pb2.SolveReply(
        fields=_to_tensors(solution.fields),
        axes={name: solve_pb2.AxisNames(names=axes) for name, axes in solution.axes.items()},
        t=context.t,
        coords=_to_tensors(solution.coords),
        status=solution.status,
        diagnostics=_to_diagnostics(solution),
        timings=solve_pb2.Timings(
            queue_ms=solution.timings.queue_ms,
            batch_ms=solution.timings.batch_ms,
            compute_ms=solution.timings.compute_ms,
        ),
        batch_size=solution.batch_size,
        model=model_pb2.ModelRef(
            name=manifest.name, version=manifest.version, digest=solution.artifact.digest
        ),
    )


def _to_diagnostics(solution: Solution) -> solve_pb2.Diagnostics | None:
    context = solution.context
    if not context.diagnostics:
        return None
    return solve_pb2.Diagnostics(
        in_validated_range=context.resampled_from is None,
        resampled_from=context.resampled_from,
        expected_error=context.expected_error,
    )


def _to_tensors(arrays: Mapping[str, Array]) -> dict[str, tensor_pb2.Tensor]:
    return {
        name: tensor_pb2.Tensor(
            dtype=wire.dtype_name(array), shape=array.shape, data=bytes(wire.to_bytes(array))
        )
        for name, array in arrays.items()
    }


def _to_job(view: JobView) -> job_pb2.Job:
    error = view.state.error if view.state.status == "failed" else None
    return job_pb2.Job(
        id=view.id,
        status=view.state.status,
        result=_to_reply(view.solution) if view.solution else None,
        problem=_to_problem(error) if error else None,
    )


def _to_model_info(entry: ModelEntry) -> model_pb2.ModelInfo:
    manifest = entry.artifact.manifest
    return model_pb2.ModelInfo(
        model=model_pb2.ModelRef(
            name=manifest.name, version=manifest.version, digest=entry.artifact.digest
        ),
        ready=entry.ready,
        manifest_json=manifest.to_json().encode(),
    )
