"""Jobs and answers for the cases over every broker, and what is done with them again and again."""

from collections.abc import Sequence

import anyio
import numpy as np

from brokers import Clock
from certisolve_server.broker import AbstractBroker, Bounds, Capacity, Claim
from certisolve_server.jobs import (
    ModelKey,
    Outcome,
    Priority,
    SolveContext,
    SolveJob,
    Terms,
    Timings,
)

START = Clock.START
MODEL, OTHER_MODEL = ModelKey("burgers", "1", "digest"), ModelKey("darcy", "2", "digest")
CONTEXT = SolveContext(
    t=(0.5, 1.0), sizes={"x": 3}, resampled_from=None, expected_error=0.01, diagnostics=True
)
LEASE_S = Bounds().lease_s


def job(
    job_id: str,
    size: int = 3,
    *,
    model: ModelKey = MODEL,
    at: float = START,
    deadline: float | None = None,
    tenant: str = "default",
    priority: Priority = Priority.NORMAL,
    key: str = "",
) -> SolveJob:
    """Jobs of equal sizes and models share a lane."""
    return SolveJob(
        id=job_id,
        model=model,
        inputs=(np.arange(size, dtype=np.float32), np.ones((2, 2))),
        parameters=(0.01,),
        submitted_at=at,
        context=CONTEXT,
        terms=Terms(deadline, tenant, priority, key, "00-trace-01"),
    )


def outcome(value: float, size: int = 3, *, compute_ms: float = 3.0, batch_size: int = 4):
    return Outcome(
        model=MODEL,
        outputs=(np.full(size, value, np.float32),),
        finite=True,
        timings=Timings(1.0, 2.0, compute_ms),
        batch_size=batch_size,
        context=CONTEXT,
    )


def up_to(limit: int) -> Capacity:
    return Capacity({MODEL: limit})


ALL = up_to(256)


async def submit(gateway: AbstractBroker, *jobs: SolveJob, keep_result: bool = False) -> None:
    for each in jobs:
        assert await gateway.submit(each, keep_result=keep_result) == each.id


async def claim_one(worker: AbstractBroker, *, start: bool = False) -> Claim:
    (claim,) = await worker.claim(up_to(1), start=start)
    return claim


async def run_one(
    gateway: AbstractBroker, worker: AbstractBroker, job_id: str, *, keep_result: bool = True
) -> Claim:
    """Submit a job and take it to where a worker computes it."""
    await submit(gateway, job(job_id), keep_result=keep_result)
    claim = await claim_one(worker)
    assert claim.job.id == job_id
    assert ids(await worker.start([claim])) == [job_id]
    return claim


async def answer(worker: AbstractBroker, claim: Claim, value: float = 7.0, **timing) -> None:
    assert await worker.complete([(claim, outcome(value, **timing))]) == 0


async def learn_pace(
    gateway: AbstractBroker, worker: AbstractBroker, compute_ms: float, **kind
) -> None:
    """Run jobs that take `compute_ms` each, so that the queue knows what to expect of such."""
    for number in range(10):
        name = f"pace-{kind.get('tenant')}-{number}"
        await submit(gateway, job(name, **kind))
        await answer(
            worker, await claim_one(worker, start=True), compute_ms=compute_ms, batch_size=1
        )
        await gateway.result(name)


def ids(claims: Sequence[Claim]) -> list[str]:
    return [claim.job.id for claim in claims]


async def depth(broker: AbstractBroker) -> tuple[int, int]:
    num_jobs, num_bytes, _ = await broker.depth()
    return num_jobs, num_bytes


async def checkpoints(count: int = 20) -> None:
    """Let others run; how far they come is not known."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()
