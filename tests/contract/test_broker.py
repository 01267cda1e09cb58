"""What every broker promises: an accepted job ends exactly once, and who waits for it hears it.

Cases wait for nothing but an answer that is due. Where something must not be there, they put a
sentinel behind it and see that the sentinel comes first.
"""

import asyncio
from dataclasses import replace

import anyio
import numpy as np
import pytest

from broker_jobs import (
    ALL,
    CONTEXT,
    MODEL,
    OTHER_MODEL,
    START,
    answer,
    checkpoints,
    claim_one,
    depth,
    ids,
    job,
    outcome,
    run_one,
    submit,
    up_to,
)
from certisolve_server.broker import Bounds, Capacity
from certisolve_server.errors import ErrorCode, OutOfRange, QueueFull, UnknownJob
from certisolve_server.jobs import ModelKey, Priority, Timings, Work

pytestmark = pytest.mark.anyio


# --- From gateway to worker -----------------------------------------------------------------------


async def test_a_job_arrives_at_the_worker_as_it_was_sent(gateway, worker):
    sent = job("1", deadline=START + 9, tenant="lab", priority=Priority.HIGH)
    await submit(gateway, sent)
    claim = await claim_one(worker)
    claimed = claim.job
    assert (claimed.id, claimed.model, claimed.parameters) == ("1", MODEL, (0.01,))
    assert (claimed.submitted_at, claimed.terms) == (START, sent.terms)
    assert (claim.suspect, claim.started) == (False, False)
    assert claimed.context == CONTEXT
    assert claimed.lane == sent.lane
    for array, original in zip(claimed.inputs, sent.inputs, strict=True):
        assert array.dtype == original.dtype
        np.testing.assert_array_equal(array, original)


async def test_jobs_are_claimed_oldest_first_and_no_more_than_there_is_room_for(gateway, worker):
    await submit(gateway, *(job(str(number)) for number in range(5)))
    assert ids(await worker.claim(up_to(2))) == ["0", "1"]
    assert ids(await worker.claim(up_to(10))) == ["2", "3", "4"]


async def test_a_claim_is_of_one_lane(gateway, worker):
    await submit(gateway, job("1"), job("2", size=8), job("3"), job("4", size=8))
    assert ids(await worker.claim(ALL)) == ["1", "3"]
    assert ids(await worker.claim(ALL)) == ["2", "4"]


async def test_a_solution_and_a_derivative_are_of_different_lanes(gateway, worker):
    derivative = replace(job("2"), work=Work(kind="jvp"))
    await submit(gateway, derivative, job("1"), job("3"))
    assert ids(await worker.claim(Capacity({MODEL: 2}, {derivative.lane: 0}))) == ["1", "3"]
    assert ids(await worker.claim(ALL)) == ["2"]


async def test_a_lane_may_have_a_limit_of_its_own(gateway, worker):
    await submit(gateway, job("1", 8), job("2", 8), job("3", 8), job("4"), job("5"), job("6"))
    capacity = Capacity({MODEL: 2}, {job("0", 8).lane: 1, job("0").lane: 3})
    assert ids(await worker.claim(capacity)) == ["1"]
    assert ids(await worker.claim(Capacity({MODEL: 2}, {job("0", 8).lane: 0}))) == ["4", "5"]
    assert ids(await worker.claim(ALL)) == ["2", "3"]


async def test_models_that_a_worker_does_not_serve_are_left_for_others(gateway, worker):
    await submit(gateway, job("1", model=OTHER_MODEL), job("2"))
    assert ids(await worker.claim(ALL)) == ["2"]
    assert ids(await worker.claim(Capacity({OTHER_MODEL: 4}))) == ["1"]


async def test_claim_waits_until_there_is_a_job(gateway, worker):
    claimed: list[str] = []

    async def claim():
        claimed.extend(ids(await worker.claim(ALL)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim)
        await checkpoints()
        assert claimed == []
        await submit(gateway, job("1"))
    assert claimed == ["1"]


async def test_a_waiting_worker_is_passed_over_by_jobs_it_does_not_serve(participants, gateway):
    claimed: dict[str, list[str]] = {}

    async def claim(name: str, model: ModelKey):
        claimed[name] = ids(await (await participants.join(name)).claim(Capacity({model: 4})))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim, "one", MODEL)
        tasks.start_soon(claim, "other", OTHER_MODEL)
        await checkpoints()
        await submit(gateway, job("1", model=OTHER_MODEL))
        await checkpoints()
        await submit(gateway, job("2"))
    assert claimed == {"one": ["2"], "other": ["1"]}


async def test_a_job_is_claimed_by_one_worker_only(participants, gateway):
    claimed: list[str] = []

    async def work(name: str):
        worker = await participants.join(name)
        while len(claimed) < 40:
            claimed.extend(ids(await worker.claim(up_to(3))))
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for name in ("worker-a", "worker-b", "worker-c"):
            tasks.start_soon(work, name)
        await submit(gateway, *(job(str(number)) for number in range(40)))
    assert sorted(claimed, key=int) == [str(number) for number in range(40)]


async def test_a_worker_that_stops_waiting_takes_no_job_with_it(gateway, worker):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.claim, ALL)
        await checkpoints()
        tasks.cancel_scope.cancel()
    await submit(gateway, job("1"))
    assert ids(await worker.claim(ALL)) == ["1"]


async def test_a_job_is_queued_until_it_starts_and_running_until_it_ends(gateway, worker):
    await submit(gateway, job("1"), keep_result=True)
    statuses = [(await gateway.state("1")).status]
    claim = await claim_one(worker)
    statuses.append((await gateway.state("1")).status)
    await worker.start([claim])
    statuses.append((await gateway.state("1")).status)
    await answer(worker, claim)
    statuses.append((await gateway.state("1")).status)
    assert statuses == ["queued", "queued", "running", "succeeded"]


async def test_a_job_may_start_with_its_claim(gateway, worker):
    await submit(gateway, job("1"), keep_result=True)
    claim = await claim_one(worker, start=True)
    assert claim.started
    assert (await gateway.state("1")).status == "running"
    await answer(worker, claim)
    assert (await gateway.state("1")).status == "succeeded"


async def test_a_job_cancelled_in_the_queue_is_never_claimed(gateway, worker):
    await submit(gateway, job("1"), job("2"), job("3"))
    await gateway.cancel("2")
    assert ids(await worker.claim(ALL)) == ["1", "3"]


async def test_starting_drops_what_was_cancelled_after_the_claim_and_keeps_the_order(
    gateway, worker
):
    await submit(gateway, job("1"), job("2"), job("3"))
    first, second, third = await worker.claim(ALL)
    await gateway.cancel("2")
    assert ids(await worker.start([third, second, first])) == ["3", "1"]


async def test_a_job_that_is_submitted_again_after_a_lost_reply_is_the_same_job(gateway, worker):
    await submit(gateway, job("1"), job("1"))
    assert (await depth(gateway))[0] == 1
    await submit(gateway, job("sentinel"))
    first, second = await worker.claim(ALL)
    assert ids([first, second]) == ["1", "sentinel"]
    await submit(gateway, job("1"))
    await answer(worker, first)
    assert (await gateway.result("1")).outputs[0][0] == 7.0
    assert (await depth(gateway))[0] == 1


# --- From worker to gateway -----------------------------------------------------------------------


async def test_an_answer_arrives_as_it_was_computed(gateway, worker):
    await answer(worker, await run_one(gateway, worker, "1"))
    received = await gateway.result("1")
    assert received.outputs[0].dtype == np.float32
    np.testing.assert_array_equal(received.outputs[0], [7.0, 7.0, 7.0])
    assert (received.model, received.finite, received.batch_size) == (MODEL, True, 4)
    assert received.timings == Timings(1.0, 2.0, 3.0)
    assert received.context == CONTEXT


async def test_the_answers_of_a_batch_find_their_jobs(gateway, worker):
    await submit(gateway, *(job(str(number)) for number in range(5)))
    claims = await worker.claim(ALL, start=True)
    answers = [(claim, outcome(float(claim.job.id))) for claim in claims]
    assert await worker.complete(answers[::-1]) == 0
    for number in range(5):
        assert (await gateway.result(str(number))).outputs[0][0] == number


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_an_answer_is_there_for_one_who_comes_late(gateway, worker, keep_result):
    await answer(worker, await run_one(gateway, worker, "1", keep_result=keep_result))
    assert (await gateway.result("1")).outputs[0][0] == 7.0


async def test_an_answer_that_is_not_kept_is_forgotten_once_read(gateway, worker):
    await answer(worker, await run_one(gateway, worker, "1", keep_result=False))
    await gateway.result("1")
    with pytest.raises(UnknownJob):
        await gateway.state("1")
    with pytest.raises(UnknownJob):
        await gateway.result("1")


async def test_a_kept_answer_can_be_read_again_and_by_anyone(participants, gateway, worker):
    await answer(worker, await run_one(gateway, worker, "1"))
    for reader in (gateway, await participants.join("another gateway")):
        assert (await reader.result("1")).outputs[0][0] == 7.0
        state = await reader.state("1")
        assert (state.status, state.ended, state.progress) == ("succeeded", True, 1.0)
        assert state.outcome.outputs[0][0] == 7.0


async def test_a_kept_answer_is_forgotten_a_time_after_the_end_of_its_job(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(result_ttl_s=30.0, lease_s=100.0)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            claim = await run_one(gateway, worker, "1")
            await participants.elapse(50.0)
            await answer(worker, claim)
            await participants.elapse(29.0)
            assert (await gateway.state("1")).status == "succeeded"
            await participants.elapse(2.0)
            with pytest.raises(UnknownJob):
                await gateway.state("1")


async def test_result_raises_the_error_the_job_ended_with(gateway, worker):
    claim = await run_one(gateway, worker, "1")
    assert await worker.fail(claim, OutOfRange("nu is 2", field="parameters.nu"))
    with pytest.raises(OutOfRange, match="nu is 2") as caught:
        await gateway.result("1")
    assert caught.value.field == "parameters.nu"
    state = await gateway.state("1")
    assert (state.status, state.outcome) == ("failed", None)
    assert state.error.code is ErrorCode.OUT_OF_RANGE


async def test_an_error_says_when_to_come_back(gateway, worker):
    await worker.fail(await run_one(gateway, worker, "1"), QueueFull("later", retry_after_s=2.5))
    with pytest.raises(QueueFull) as caught:
        await gateway.result("1")
    assert caught.value.retry_after_s == 2.5


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_everyone_who_waits_hears_the_answer(gateway, worker, keep_result):
    heard: list[float] = []

    async def wait():
        heard.append((await gateway.result("1")).outputs[0][0])

    claim = await run_one(gateway, worker, "1", keep_result=keep_result)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await checkpoints()
        await answer(worker, claim)
    assert heard == [7.0, 7.0]


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_one_who_stops_waiting_takes_no_answer_from_the_others(gateway, worker, keep_result):
    heard: list[float] = []

    async def wait():
        heard.append((await gateway.result("1")).outputs[0][0])

    claim = await run_one(gateway, worker, "1", keep_result=keep_result)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        impatient = asyncio.create_task(gateway.result("1"))
        await checkpoints()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        await answer(worker, claim)
    assert heard == [7.0]
