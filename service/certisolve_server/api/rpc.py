"""gRPC servicers: convert, call the data plane, convert back."""

import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status.rpc_status import to_status

from certisolve.v1 import (
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    solve_pb2,
    solve_pb2_grpc,
)
from certisolve_server.dataplane import DataPlane
from certisolve_server.errors import InternalError, InvalidOption, ServingError
from certisolve_server.jobs import Kind, Terms

from .certify_codec import to_certify_request
from .derivatives import to_derivative_reply, to_derivative_request
from .messages import to_job, to_model_info, to_part, to_problem, to_reply, to_request
from .status import STATUS
from .terms import read_terms

_log = logging.getLogger(__name__)
_MAX_JOB_WAIT_S = 30.0
#: Room above `max_body_bytes` for names and framing; beyond it gRPC itself refuses the message.
_MESSAGE_MARGIN_BYTES = 1 << 20

Context = grpc.aio.ServicerContext[Any, Any]


class MoreServices(NamedTuple):
    """A service that only some processes have.

    Attributes:
        adder: generated; adds the servicer to a server.
        full_name: `certisolve.v1.WorkerService`.
    """

    adder: Callable[[Any, grpc.aio.Server], None]
    servicer: object
    full_name: str


class SolverServicer(solve_pb2_grpc.SolverServiceServicer):
    """certisolve.v1.SolverService."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def Solve(
        self, request: solve_pb2.SolveRequest, context: Context
    ) -> solve_pb2.SolveReply:
        async with problems(context):
            terms = terms_of(context, context.time_remaining())
            if not terms.idempotency_key:
                # Whoever repeats a key may ask for a job that was taken long ago.
                self._dataplane.check_pressure()
            solve = to_request(request, terms, self._dataplane.limits.max_body_bytes)
            return to_reply(await self._dataplane.solve(solve))

    async def SolveStream(
        self, request: solve_pb2.SolveRequest, context: Context
    ) -> AsyncIterator[solve_pb2.SolveStreamReply]:
        async with problems(context):
            self._dataplane.check_pressure()
            terms = terms_of(context, context.time_remaining())
            solve = to_request(request, terms, self._dataplane.limits.max_body_bytes)
            async with aclosing(await self._dataplane.stream(solve)) as parts:
                async for part in parts:
                    yield to_part(part)

    async def Jvp(
        self, request: solve_pb2.DerivativeRequest, context: Context
    ) -> solve_pb2.DerivativeReply:
        return await self._derivative("jvp", request, context)

    async def Vjp(
        self, request: solve_pb2.DerivativeRequest, context: Context
    ) -> solve_pb2.DerivativeReply:
        return await self._derivative("vjp", request, context)

    async def _derivative(
        self, kind: Kind, request: solve_pb2.DerivativeRequest, context: Context
    ) -> solve_pb2.DerivativeReply:
        async with problems(context):
            self._dataplane.check_pressure()
            terms = terms_of(context, context.time_remaining())
            limit = self._dataplane.limits.max_body_bytes
            asked = to_derivative_request(kind, request, terms, limit)
            return to_derivative_reply(await self._dataplane.differentiate(asked))


class JobServicer(job_pb2_grpc.JobServiceServicer):
    """certisolve.v1.JobService."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def SubmitSolve(
        self, request: job_pb2.SubmitSolveRequest, context: Context
    ) -> job_pb2.Job:
        async with problems(context):
            # The time limit of this call is for accepting the job, not for running it.
            terms = terms_of(context, None)
            solve = to_request(request.request, terms, self._dataplane.limits.max_body_bytes)
            view = await self._dataplane.submit_solve(solve)
            return to_job(self._dataplane.with_solution(view))

    async def SubmitCertify(
        self, request: job_pb2.SubmitCertifyRequest, context: Context
    ) -> job_pb2.Job:
        async with problems(context):
            # As above: the time limit is for accepting the job.
            terms = terms_of(context, None)
            asked = to_certify_request(request.request, self._dataplane.limits.max_body_bytes)
            view = await self._dataplane.submit_certify(asked, terms)
            return to_job(self._dataplane.with_solution(view))

    async def GetJob(self, request: job_pb2.GetJobRequest, context: Context) -> job_pb2.Job:
        async with problems(context):
            if not 0 <= request.wait_s < math.inf:
                raise InvalidOption("must be a number of seconds, 0 or more", field="wait_s")
            wait_s = min(request.wait_s, _MAX_JOB_WAIT_S)
            return to_job(await self._dataplane.job(request.id, wait_s=wait_s))

    async def CancelJob(self, request: job_pb2.CancelJobRequest, context: Context) -> job_pb2.Job:
        async with problems(context):
            return to_job(await self._dataplane.cancel(request.id))

    async def WatchJob(
        self, request: job_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[job_pb2.Job]:
        async with problems(context):
            async for view in self._dataplane.watch(request.id):
                yield to_job(self._dataplane.with_solution(view))


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """certisolve.v1.ModelService."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Context
    ) -> model_pb2.ListModelsReply:
        del request
        async with problems(context):
            models = [to_model_info(entry) for entry in self._dataplane.models()]
            return model_pb2.ListModelsReply(models=models)

    async def GetModel(
        self, request: model_pb2.GetModelRequest, context: Context
    ) -> model_pb2.ModelInfo:
        async with problems(context):
            return to_model_info(self._dataplane.model(request.name, request.version or None))


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # untyped base
    """grpc.health.v1.Health: SERVING once every model is loaded, while the queue is in reach.

    Arguments:
        dataplane: whose health it is.
        services: full names that may be asked about.
    """

    def __init__(self, dataplane: DataPlane, services: Sequence[str]) -> None:
        self._dataplane = dataplane
        self._services = frozenset(services) | {""}

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        serving = health_pb2.HealthCheckResponse
        status = serving.SERVING if self._dataplane.ready() else serving.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)


_SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (solve_pb2, "SolverService"),
        (job_pb2, "JobService"),
        (model_pb2, "ModelService"),
    )
)


def create_server(dataplane: DataPlane, more: Sequence[MoreServices] = ()) -> grpc.aio.Server:
    """A gRPC server of `dataplane`, with health and reflection, bound to no port yet.

    Args:
        dataplane: behind the services that every server has.
        more: further services.
    """
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
    for service in more:
        service.adder(service.servicer, server)
    services = (*_SERVICES, *(service.full_name for service in more))
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(dataplane, services), server)
    reflection.enable_server_reflection(
        (*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    return server


@asynccontextmanager
async def problems(context: Context) -> AsyncIterator[None]:
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
    problem, details = to_problem(error), AnyMessage()
    details.Pack(problem)
    code = STATUS[error.code].grpc.value[0]
    status: grpc.Status = to_status(Status(code=code, message=problem.detail, details=[details]))
    return status


def terms_of(context: Context, remaining_s: float | None) -> Terms:
    """The terms in a call's metadata.

    Args:
        context: of the call.
        remaining_s: seconds that the caller waits; None for as long as it takes.

    Raises:
        InvalidOption: an entry is malformed.
    """
    now = time.time()
    deadline = None if remaining_s is None else now + remaining_s
    return read_terms(dict(context.invocation_metadata() or ()), now, deadline)
