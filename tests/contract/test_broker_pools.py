"""Certifications wait in a line of their own: no device waits for them, nor they for devices."""

from dataclasses import replace

import anyio
import numpy as np
import pytest

from broker_jobs import ALL, LEASE_S, MODEL, checkpoints, depth, ids, job, outcome, submit
from brokers import Participants
from certisolve_server.broker import AbstractBroker, Bounds, Capacity, Claim
from certisolve_server.errors import DeadLettered, QueueFull
from certisolve_server.jobs import Frame, SolveJob, Work

pytestmark = pytest.mark.anyio

QUESTION = '{"radius":0.1}'


def certification(job_id: str, **kind) -> SolveJob:
    return replace(job(job_id, **kind), work=Work(kind="certify", question=QUESTION))


def certificates(limit: int = 1) -> Capacity:
    return Capacity({MODEL: limit}, pool="certify")


def document(text: str) -> tuple[np.ndarray, ...]:
    return (np.frombuffer(text.encode(), np.uint8),)


def text_of(frame: Frame) -> str:
    return frame.outputs[0].tobytes().decode()


async def claim_certification(worker: AbstractBroker, *, start: bool = True) -> Claim:
    (claim,) = await worker.claim(certificates(), start=start)
    return claim


async def test_each_pool_is_claimed_apart(gateway, worker):
    await submit(gateway, certification("c"), job("s"))
    assert ids(await worker.claim(ALL)) == ["s"]
    claim = await claim_certification(worker)
    assert (claim.job.id, claim.job.work.question) == ("c", QUESTION)
    assert claim.job.work.kind == claim.job.lane.kind == "certify"


async def test_one_worker_waits_for_both_pools_and_each_is_woken_by_its_own(gateway, worker):
    claimed: list[str] = []

    async def claim(capacity: Capacity) -> None:
        claimed.extend(ids(await worker.claim(capacity)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim, ALL)
        tasks.start_soon(claim, certificates())
        await checkpoints()
        await submit(gateway, certification("c"))
        while claimed != ["c"]:
            await anyio.lowlevel.checkpoint()
        await submit(gateway, job("s"))
    assert claimed == ["c", "s"]


async def test_losses_are_told_to_the_pool_that_lost(gateway, worker):
    await submit(gateway, certification("c"), job("s"))
    await worker.claim(ALL, start=True)
    await claim_certification(worker)
    await gateway.cancel("s")
    await gateway.cancel("c")
    assert list(await worker.cancelled("certify")) == ["c"]
    assert list(await worker.cancelled()) == ["s"]


async def test_a_long_certification_costs_its_tenant_no_device_time(gateway, worker):
    await submit(gateway, certification("c", tenant="patient"), keep_result=True)
    answer = replace(outcome(1.0, compute_ms=60_000, batch_size=1), kind="certify")
    await worker.complete([(await claim_certification(worker), answer)])
    await submit(gateway, *(job(f"o{i}", tenant="other") for i in range(3)))
    await submit(gateway, job("s", tenant="patient"))
    claims = [await worker.claim(Capacity({MODEL: 1})) for _ in range(2)]
    assert "s" in [claim.job.id for (claim,) in claims]
    assert (await gateway.depth()).expected_s < 1


async def test_tenants_share_the_certifiers_equally(gateway, worker):
    answer = replace(outcome(1.0, compute_ms=10_000, batch_size=1), kind="certify")
    await submit(gateway, *(certification(f"a{i}", tenant="a") for i in range(3)))
    await worker.complete([(await claim_certification(worker), answer)])
    await submit(gateway, certification("b", tenant="b"))
    order = [(await claim_certification(worker)).job.id for _ in range(3)]
    assert order.index("b") < 2


async def test_a_certificate_comes_back_as_one(gateway, worker):
    await submit(gateway, certification("c"), keep_result=True)
    claim = await claim_certification(worker)
    answer = replace(outcome(1.0), outputs=document('{"upper":1.5}'), kind="certify")
    assert await worker.complete([(claim, answer)]) == 0
    found = (await gateway.state("c")).outcome
    assert found.kind == "certify"
    assert found.outputs[0].tobytes() == b'{"upper":1.5}'


async def test_the_state_of_a_kept_job_tells_the_newest_frame(gateway, worker):
    await submit(gateway, certification("c"), keep_result=True)
    claim = await claim_certification(worker)
    assert (await gateway.state("c")).latest is None
    for index, text in enumerate(["one", "two"]):
        await worker.publish([(claim, Frame(index, float(index), document(text)))])
    for _ in range(2):
        state = await gateway.state("c")
        assert (state.latest.index, text_of(state.latest)) == (1, "two")
    await worker.release([claim])
    assert (await gateway.state("c")).latest is None


async def test_frames_count_from_when_a_job_is_kept(gateway, worker):
    await submit(gateway, certification("c"))
    claim = await claim_certification(worker)
    await worker.publish([(claim, Frame(0, 0.0, document("unheard")))])
    assert (await gateway.state("c")).latest is None
    assert await gateway.keep("c")
    await worker.publish([(claim, Frame(1, 1.0, document("heard")))])
    assert text_of((await gateway.state("c")).latest) == "heard"


async def test_a_fenced_worker_tells_nothing(participants: Participants, gateway, worker):
    await submit(gateway, certification("c"), keep_result=True)
    old = await claim_certification(worker)
    await participants.elapse(LEASE_S + 1)
    await worker.reap()
    new = await claim_certification(worker)
    assert new.suspect
    await worker.publish([(old, Frame(0, 0.0, document("late")))])
    assert (await gateway.state("c")).latest is None


async def test_a_certification_that_kills_workers_is_put_aside(queue):
    async with queue(Bounds(max_deliveries=2)) as participants:
        gateway, worker = await participants.join("gateway"), await participants.join("worker")
        await submit(gateway, certification("c"))
        for _ in range(2):
            await claim_certification(worker)
            await participants.elapse(LEASE_S + 1)
            await worker.reap()
        with pytest.raises(DeadLettered):
            await gateway.result("c")
        assert await worker.replay("c")
        assert (await claim_certification(worker)).job.id == "c"


async def test_certifications_have_a_bound_of_their_own(queue):
    async with queue(Bounds(max_certifications=2)) as participants:
        gateway, worker = await participants.join("gateway"), await participants.join("worker")
        await submit(gateway, certification("1"), certification("2", size=5))
        with pytest.raises(QueueFull, match="2 certifications"):
            await gateway.submit(certification("3"), keep_result=False)
        await submit(gateway, job("s"))
        assert (await depth(gateway))[0] == 3
        await worker.fail(await claim_certification(worker), QueueFull("never mind"))
        await submit(gateway, certification("3"))
