"""gRPC messages to requests, and back."""

from collections.abc import Mapping
from typing import Literal

from certisolve import wire
from certisolve.v1 import (
    certifier_pb2,
    job_pb2,
    model_pb2,
    problem_pb2,
    solve_pb2,
    tensor_pb2,
)
from certisolve_server.answers import Certified, Solution
from certisolve_server.catalog import ModelEntry
from certisolve_server.dataplane import JobView
from certisolve_server.errors import BodyTooLarge, MalformedBody, ServingError
from certisolve_server.jobs import Array, Artifact, SolveRequest, Terms
from certisolve_server.parts import Part, SolvedFrame, Start

from .problems import detail


def to_request(message: solve_pb2.SolveRequest, terms: Terms, max_bytes: int) -> SolveRequest:
    """The request in a message; its arrays are views of the message.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    if message.ByteSize() > max_bytes:
        raise BodyTooLarge(f"the message may have {max_bytes} bytes")
    diagnostics = message.options.diagnostics or not message.options.HasField("diagnostics")
    return SolveRequest(
        model=message.model,
        version=message.version or None,
        inputs=to_arrays("inputs", message.inputs),
        parameters=dict(message.parameters),
        t=tuple(message.t) or None,
        tolerance=message.options.tolerance if message.options.HasField("tolerance") else None,
        rtol=message.options.rtol if message.options.HasField("rtol") else None,
        atol=message.options.atol if message.options.HasField("atol") else None,
        steps=message.steps if message.HasField("steps") else None,
        save_every=_number(message.options, "save_every"),
        resume_from=_number(message.options, "resume_from"),
        diagnostics=diagnostics,
        terms=terms,
    )


def to_arrays(role: str, tensors: Mapping[str, tensor_pb2.Tensor]) -> dict[str, Array]:
    """Arrays by name, views of the message.

    Raises:
        MalformedBody: one is not what it claims to be; its field begins with `role`.
    """
    arrays = {}
    for name, tensor in tensors.items():
        try:
            arrays[name] = wire.from_bytes(name, tensor.dtype, tensor.shape, tensor.data)
        except wire.WireError as error:
            raise MalformedBody(error.problem, field=f"{role}.{name}") from error
    return arrays


def to_reply(solution: Solution) -> solve_pb2.SolveReply:
    """A solution as a message."""
    return solve_pb2.SolveReply(
        fields=to_tensors(solution.fields),
        axes=_to_axes(solution.axes),
        t=solution.t,
        coords=to_tensors(solution.coords),
        status=solution.status,
        diagnostics=_to_diagnostics(solution),
        timings=solve_pb2.Timings(
            queue_ms=solution.timings.queue_ms,
            batch_ms=solution.timings.batch_ms,
            compute_ms=solution.timings.compute_ms,
        ),
        batch_size=solution.batch_size,
        model=_to_model_ref(solution.artifact),
    )


def to_part(part: Part) -> solve_pb2.SolveStreamReply:
    """A part of a solution as a message."""
    match part:
        case Start():
            return solve_pb2.SolveStreamReply(start=_to_start(part))
        case SolvedFrame():
            return solve_pb2.SolveStreamReply(
                frame=solve_pb2.SolveFrame(
                    index=part.index, step=part.step, t=part.t, fields=to_tensors(part.fields)
                )
            )
        case Solution():
            return solve_pb2.SolveStreamReply(summary=to_reply(part))


def to_job(view: JobView) -> job_pb2.Job:
    """A job, with its result if the view has one."""
    state = view.state
    return job_pb2.Job(
        id=view.id,
        status=state.status,
        result=to_reply(view.solution) if view.solution else None,
        certificate=_to_certificate(view),
        problem=to_problem(state.error) if state.error and state.status == "failed" else None,
        position=state.position,
        expected_wait_s=state.expected_wait_s,
        progress=state.progress,
    )


def to_certify_reply(certified: Certified) -> certifier_pb2.CertifyReply:
    """A certificate as a message."""
    said = certified.told()
    return certifier_pb2.CertifyReply(
        upper=said["upper"],
        lower=said["lower"],
        gap=said["gap"],
        status=said["status"],
        reason=said["reason"],
        method=said["method"] or "",
        model=model_pb2.ModelRef(**said["model"]),
        elapsed_s=said["elapsed_s"],
        certificate_json=certified.document,
    )


def to_model_info(entry: ModelEntry) -> model_pb2.ModelInfo:
    """A model, its manifest and where it is loaded."""
    return model_pb2.ModelInfo(
        model=_to_model_ref(entry.artifact),
        ready=entry.ready,
        manifest_json=entry.artifact.manifest.to_json().encode(),
        workers=[
            model_pb2.WorkerRef(name=w.name, device=w.device, grpc=w.grpc) for w in entry.workers
        ],
    )


def to_tensors(arrays: Mapping[str, Array]) -> dict[str, tensor_pb2.Tensor]:
    """Arrays by name, as messages."""
    return {
        name: tensor_pb2.Tensor(
            dtype=wire.dtype_name(array), shape=array.shape, data=bytes(wire.to_bytes(array))
        )
        for name, array in arrays.items()
    }


def to_problem(error: ServingError) -> problem_pb2.Problem:
    """What went wrong, as over HTTP."""
    return problem_pb2.Problem(
        code=error.code,
        detail=detail(error),
        field=error.field,
        retry_after_s=error.retry_after_s,
    )


def _number(
    options: solve_pb2.SolveOptions, name: Literal["save_every", "resume_from"]
) -> int | None:
    number: int = getattr(options, name)
    return number if options.HasField(name) else None


def _to_start(start: Start) -> solve_pb2.SolveStart:
    return solve_pb2.SolveStart(
        model=_to_model_ref(start.artifact),
        num_frames=start.num_frames,
        t=start.t,
        axes=_to_axes(start.axes),
        coords=to_tensors(start.coords),
    )


def _to_axes(axes: Mapping[str, tuple[str, ...]]) -> dict[str, solve_pb2.AxisNames]:
    return {name: solve_pb2.AxisNames(names=names) for name, names in axes.items()}


def _to_certificate(view: JobView) -> certifier_pb2.CertifyReply | None:
    certified = view.certified or view.best
    return None if certified is None else to_certify_reply(certified)


def _to_model_ref(artifact: Artifact) -> model_pb2.ModelRef:
    manifest = artifact.manifest
    return model_pb2.ModelRef(name=manifest.name, version=manifest.version, digest=artifact.digest)


def _to_diagnostics(solution: Solution) -> solve_pb2.Diagnostics | None:
    diagnostics = solution.diagnostics
    return None if diagnostics is None else solve_pb2.Diagnostics(**diagnostics.told())
