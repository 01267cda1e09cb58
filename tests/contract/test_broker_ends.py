"""A job ends exactly once, in time or not, whatever happens to it."""

import random
from collections.abc import Sequence

import anyio
import pytest

from broker_jobs import (
    ALL,
    START,
    answer,
    checkpoints,
    claim_one,
    depth,
    ids,
    job,
    learn_pace,
    outcome,
    run_one,
    submit,
    up_to,
)
from brokers import Participants
from certisolve_server.broker import AbstractBroker, Bounds, Claim
from certisolve_server.errors import (
    Cancelled,
    DeadLettered,
    DeadlineExceeded,
    ErrorCode,
    OutOfRange,
    UnknownJob,
)
from certisolve_server.jobs import Priority

pytestmark = pytest.mark.anyio


# --- Exactly one end ------------------------------------------------------------------------------


async def _complete(gateway: AbstractBroker, worker: AbstractBroker, claim: Claim) -> None:
    await worker.complete([(claim, outcome(1.0))])


async def _fail(gateway: AbstractBroker, worker: AbstractBroker, claim: Claim) -> None:
    await worker.fail(claim, OutOfRange("too large"))


async def _cancel(gateway: AbstractBroker, worker: AbstractBroker, claim: Claim) -> None:
    await gateway.cancel(claim.job.id)


ENDS = {
    "complete": (_complete, "succeeded"),
    "fail": (_fail, "failed"),
    "cancel": (_cancel, "cancelled"),
}


@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("first", ENDS)
async def test_only_the_first_end_of_a_job_counts(gateway, worker, first, second):
    claim = await run_one(gateway, worker, "1")
    await ENDS[first][0](gateway, worker, claim)
    await ENDS[second][0](gateway, worker, claim)
    assert (await gateway.state("1")).status == ENDS[first][1]
    assert await depth(gateway) == (0, 0)


async def test_a_worker_is_told_how_many_of_its_answers_came_too_late(gateway, worker):
    await submit(gateway, job("1"), job("2"), job("3"), keep_result=True)
    claims = await worker.claim(ALL, start=True)
    await gateway.cancel("2")
    assert await worker.complete([(claim, outcome(1.0)) for claim in claims]) == 1
    assert not await worker.fail(claims[0], OutOfRange("too large"))


async def test_cancelling_answers_with_the_state_afterwards(gateway, worker):
    await submit(gateway, job("1"), keep_result=True)
    assert (await gateway.cancel("1")).status == "cancelled"
    await answer(worker, await run_one(gateway, worker, "2"))
    assert (await gateway.cancel("2")).status == "succeeded"


async def _queue_it(gateway, worker) -> Claim | None:
    await submit(gateway, job("1"))
    return None


async def _claim_it(gateway, worker) -> Claim | None:
    await submit(gateway, job("1"))
    return await claim_one(worker)


async def _start_it(gateway, worker) -> Claim | None:
    await submit(gateway, job("1"))
    return await claim_one(worker, start=True)


STAGES = {"queued": _queue_it, "claimed": _claim_it, "running": _start_it}


@pytest.mark.parametrize("stage", STAGES)
async def test_a_cancelled_job_is_taken_from_whoever_has_it(gateway, worker, stage):
    claim = await STAGES[stage](gateway, worker)
    assert (await gateway.cancel("1")).status == "cancelled"
    assert await depth(gateway) == (0, 0)
    if claim is not None:
        assert ids(await worker.renew([claim])) == ["1"]
        assert ids(await worker.start([claim])) == []
        assert await worker.complete([(claim, outcome(1.0))]) == 1
        await worker.release([claim])
    await submit(gateway, job("sentinel"))
    assert ids(await worker.claim(ALL)) == ["sentinel"]
    assert (await gateway.state("1")).status == "cancelled"


@pytest.mark.parametrize("stage", STAGES)
async def test_one_who_waits_for_a_cancelled_job_is_told(gateway, worker, stage):
    async def wait():
        with pytest.raises(Cancelled):
            await gateway.result("1")

    await STAGES[stage](gateway, worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await checkpoints()
        await gateway.cancel("1")


async def test_a_job_nobody_submitted_is_unknown(gateway):
    with pytest.raises(UnknownJob):
        await gateway.state("ghost")
    with pytest.raises(UnknownJob):
        await gateway.state("ghost", wait_s=5.0)
    with pytest.raises(UnknownJob):
        await gateway.result("ghost")
    with pytest.raises(UnknownJob):
        await gateway.cancel("ghost")
    assert not await gateway.keep("ghost")


async def test_ending_a_job_nobody_submitted_has_no_effect(gateway, worker):
    ghost = Claim(job("ghost"), 1)
    assert await worker.complete([(ghost, outcome(1.0))]) == 1
    assert not await worker.fail(ghost, OutOfRange("too large"))
    assert ids(await worker.start([ghost])) == []
    assert ids(await worker.renew([ghost])) == ["ghost"]
    await worker.release([ghost])
    with pytest.raises(UnknownJob):
        await gateway.state("ghost")
    assert await depth(gateway) == (0, 0)


async def test_depth_counts_what_waits_and_what_runs(gateway, worker):
    size = job("1").num_bytes
    await submit(gateway, job("1"), job("2"), keep_result=True)
    assert await depth(gateway) == (2, 2 * size)
    first, second = await worker.claim(ALL)
    await worker.start([first, second])
    assert await depth(worker) == (2, 2 * size)
    await answer(worker, first)
    assert await depth(gateway) == (1, size)
    await worker.release([second])
    assert await depth(gateway) == (1, size)
    await gateway.cancel("2")
    assert await depth(gateway) == (0, 0)


async def test_depth_says_how_long_the_work_will_take(gateway, worker):
    await learn_pace(gateway, worker, 2000.0)
    assert (await gateway.depth()).expected_s == 0.0
    await submit(gateway, job("1"), job("2"), job("3"))
    await claim_one(worker, start=True)
    assert (await gateway.depth()).expected_s == pytest.approx(6.0, rel=0.1)


# --- Deadlines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_a_job_whose_deadline_passed_in_the_queue_is_never_claimed(
    participants, gateway, worker, keep_result
):
    await submit(gateway, job("late", deadline=START + 5), keep_result=keep_result)
    await submit(gateway, job("live", deadline=START + 9))
    await participants.elapse(6.0)
    assert ids(await worker.claim(ALL)) == ["live"]
    with pytest.raises(DeadlineExceeded, match=r"6\.000 s in the queue$"):
        await gateway.result("late")
    assert (await depth(gateway))[0] == 1


async def test_a_job_is_known_to_have_failed_once_its_deadline_passed_in_the_queue(
    participants, gateway
):
    await submit(gateway, job("late", deadline=START + 5), keep_result=True)
    await participants.elapse(4.0)
    assert (await gateway.state("late")).status == "queued"
    await participants.elapse(2.0)
    state = await gateway.state("late")
    assert (state.status, state.error.code) == ("failed", ErrorCode.DEADLINE_EXCEEDED)
    assert await depth(gateway) == (0, 0)


async def test_a_job_whose_deadline_passed_at_the_worker_never_starts(
    participants, gateway, worker
):
    await submit(gateway, job("late", deadline=START + 5), job("live", deadline=START + 9))
    await participants.elapse(2.0)
    claims = await worker.claim(ALL)
    await participants.elapse(4.0)
    assert ids(await worker.start(claims)) == ["live"]
    where = r"2\.000 s in the queue, 4\.000 s waiting for the device$"
    with pytest.raises(DeadlineExceeded, match=where):
        await gateway.result("late")


async def test_a_job_whose_deadline_passed_while_it_ran_is_answered(participants, gateway, worker):
    await submit(gateway, job("1", deadline=START + 5))
    claim = await claim_one(worker, start=True)
    await participants.elapse(6.0)
    await answer(worker, claim)
    assert (await gateway.result("1")).outputs[0][0] == 7.0


async def test_one_who_waits_for_a_job_hears_that_its_deadline_passed(
    participants, gateway, worker
):
    async def wait():
        with pytest.raises(DeadlineExceeded):
            await gateway.result("late")

    await submit(gateway, job("late", deadline=START + 5))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await checkpoints()
        await participants.elapse(6.0)
        await submit(gateway, job("live"))
        assert ids(await worker.claim(ALL)) == ["live"]


# --- Whatever happens -----------------------------------------------------------------------------


class _CarelessWorker:
    """Takes jobs and does anything with them, but never answers one with another's answer."""

    def __init__(self, broker: AbstractBroker, rng: random.Random) -> None:
        self._broker = broker
        self._rng = rng
        self._forgotten: list[Claim] = []

    async def run(self) -> None:
        while True:
            start = self._rng.random() < 0.5
            claims = await self._broker.claim(up_to(self._rng.randint(1, 5)), start=start)
            action = self._rng.choices(
                [self._answer, self._forget, self._release, self._answer_late], [12, 2, 2, 1]
            )[0]
            await action(claims)

    async def _answer(self, claims: Sequence[Claim]) -> None:
        started = await self._broker.start(claims)
        await checkpoints(self._rng.randint(0, 5))
        await self._broker.renew(started)
        for claim in started:
            for _ in range(self._rng.randint(1, 2)):
                await self._end(claim)

    async def _end(self, claim: Claim) -> None:
        if self._rng.random() < 0.3:
            await self._broker.fail(claim, OutOfRange(claim.job.id))
        else:
            await self._broker.complete([(claim, outcome(float(claim.job.id)))])

    async def _forget(self, claims: Sequence[Claim]) -> None:
        self._forgotten += claims

    async def _release(self, claims: Sequence[Claim]) -> None:
        await self._broker.release(claims)
        self._forgotten += claims

    async def _answer_late(self, claims: Sequence[Claim]) -> None:
        self._forgotten += claims
        late, self._forgotten = self._forgotten, []
        await self._broker.complete([(claim, outcome(float(claim.job.id))) for claim in late])


async def _reap_now_and_then(participants: Participants, rng: random.Random) -> None:
    broker = await participants.join("reaper")
    while True:
        await checkpoints(rng.randint(1, 20))
        await participants.elapse(0.4)
        await broker.reap()


async def _call_rashly(broker: AbstractBroker, rng: random.Random, job_id: str) -> str:
    """Submit a job, at times cancel it; how it ended."""
    tenant, priority = rng.choice("abc"), rng.choice(list(Priority))
    sent = job(job_id, rng.choice([3, 8]), tenant=tenant, priority=priority)
    await broker.submit(sent, keep_result=rng.random() < 0.5)
    await anyio.lowlevel.checkpoint()
    if rng.random() < 0.2:
        await broker.cancel(job_id)
    try:
        received = await broker.result(job_id)
    except OutOfRange as error:
        return error.detail
    except (Cancelled, DeadLettered):
        return job_id
    except UnknownJob:
        # Cancelled after it had ended, which forgets an answer that was not to be kept.
        return job_id
    return f"{received.outputs[0][0]:g}"


@pytest.mark.parametrize("seed", range(5))
async def test_every_accepted_job_ends_exactly_once_whatever_happens_to_it(queue, seed):
    rng = random.Random(seed)
    ends: list[tuple[str, str]] = []

    async def call(gateway: AbstractBroker, job_id: str):
        ends.append((job_id, await _call_rashly(gateway, rng, job_id)))

    async with queue(Bounds(lease_s=1.0, max_deliveries=3)) as participants:
        gateways = [await participants.join(name) for name in ("gateway-a", "gateway-b")]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as others:
                for name in ("worker-a", "worker-b", "worker-c"):
                    careless = _CarelessWorker(await participants.join(name), rng)
                    others.start_soon(careless.run)
                others.start_soon(_reap_now_and_then, participants, rng)
                async with anyio.create_task_group() as callers:
                    for number in range(60):
                        callers.start_soon(call, rng.choice(gateways), str(number))
                others.cancel_scope.cancel()
            assert await depth(gateways[0]) == (0, 0)
    assert sorted(ends) == sorted((str(number), str(number)) for number in range(60))
