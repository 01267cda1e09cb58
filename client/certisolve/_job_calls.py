"""Builds calls about jobs, and reads answers that may have become one; no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._calls import Call, Reply, read_problem, read_solution, reading
from ._certificate import Certificate, read_certificate
from ._errors import ServerError
from ._results import Improvement, JobInfo, JobStatus, Solution

#: What a job can end with.
Answer = Solution | Certificate


@dataclass(frozen=True, slots=True)
class JobReply:
    """A job as the server last described it.

    Attributes:
        answer: set when it succeeded and the reply carries the result.
        problem: set when it failed.
        best: of a certification that runs, the best certificate so far.
    """

    info: JobInfo
    answer: Answer | None = None
    problem: ServerError | None = None
    best: Certificate | None = None


def build_job(job_id: str, wait_s: float, timeout_s: float | None) -> Call:
    """The call that asks where a job stands, answered when it ends or after `wait_s`."""
    return Call(operation="job", job_id=job_id, wait_s=wait_s, timeout_s=timeout_s)


def build_watch_job(job_id: str, timeout_s: float | None) -> Call:
    """The call that streams where a job stands, at once and at each change, until it ends."""
    return Call(operation="watch_job", job_id=job_id, timeout_s=timeout_s)


def build_cancel_job(job_id: str, timeout_s: float | None) -> Call:
    """The call that ends a job; on an ended one it does nothing."""
    return Call(operation="cancel_job", job_id=job_id, timeout_s=timeout_s)


def read_solve(reply: Reply) -> Solution | JobInfo:
    """The solution in a solve reply, or the job it became because it took the server too long.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading("solve"):
        if "id" in reply.body:
            return _read_info(reply.body)
        return read_solution(reply.tensors, reply.body)


def read_certify(reply: Reply) -> Certificate | JobInfo:
    """The certificate in a reply, or the job it became because it took the server too long.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading("certify"):
        if "id" in reply.body:
            return _read_info(reply.body)
        return read_certificate(reply.body)


def read_job(reply: Reply) -> JobReply:
    """Where the job stands.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading("job"):
        body = reply.body
        result, problem = body.get("result"), body.get("problem")
        best = None if body.get("certificate") is None else read_certificate(body["certificate"])
        return JobReply(
            _read_info(body, best),
            answer=None if result is None else _read_answer(Reply(reply.tensors, result)),
            problem=None if problem is None else read_problem(problem),
            best=best,
        )


def _read_answer(reply: Reply) -> Answer:
    if "upper" in reply.body:
        return read_certificate(reply.body)
    return read_solution(reply.tensors, reply.body)


def _read_info(body: Mapping[str, Any], best: Certificate | None = None) -> JobInfo:
    # A server of release 0.1 says neither position, wait nor progress.
    position, expected_wait_s = body.get("position"), body.get("expected_wait_s")
    status = JobStatus(body["status"])
    progress = 1.0 if status is JobStatus.SUCCEEDED else float(body.get("progress") or 0.0)
    return JobInfo(
        id=str(body["id"]),
        status=status,
        position=None if position is None else int(position),
        expected_wait_s=None if expected_wait_s is None else float(expected_wait_s),
        progress=progress,
        bounds=None if best is None else Improvement(best.elapsed_s, best.upper, best.lower),
    )
