"""Where a job stands, and how long until that changes."""

import anyio
import pytest

from broker_jobs import START, answer, checkpoints, claim_one, job, learn_pace, run_one, submit
from certisolve_server.jobs import JobState, Timeline

pytestmark = pytest.mark.anyio


async def test_state_waits_for_the_end_of_a_job_wherever_it_is_asked(participants, worker, gateway):
    states: list[JobState] = []

    async def wait(name: str):
        broker = await participants.join(name)
        states.append(await broker.state("1", wait_s=15.0))

    claim = await run_one(gateway, worker, "1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "gateway")
        tasks.start_soon(wait, "another gateway")
        await checkpoints()
        assert states == []
        await answer(worker, claim)
    assert [state.status for state in states] == ["succeeded", "succeeded"]


async def test_state_waits_until_a_job_is_no_longer_queued(participants, gateway, worker):
    states: list[JobState] = []

    async def wait(name: str):
        broker = await participants.join(name)
        states.append(await broker.state("1", wait_s=15.0, unlike="queued"))

    await submit(gateway, job("1"), keep_result=True)
    claim = await claim_one(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, "gateway")
        tasks.start_soon(wait, "another gateway")
        await checkpoints()
        assert states == []
        await worker.start([claim])
    assert [state.status for state in states] == ["running", "running"]


async def test_state_does_not_wait_for_a_status_that_is_past(gateway, worker):
    claim = await run_one(gateway, worker, "1")
    assert (await gateway.state("1", wait_s=15.0, unlike="queued")).status == "running"
    await answer(worker, claim)
    assert (await gateway.state("1", wait_s=15.0, unlike="succeeded")).status == "succeeded"


async def test_state_waits_no_longer_than_asked_and_harms_nothing(gateway, worker):
    claim = await run_one(gateway, worker, "1")
    assert (await gateway.state("1", wait_s=0.01)).status == "running"
    assert (await gateway.state("1", wait_s=0.01, unlike="running")).status == "running"
    await answer(worker, claim)
    assert (await gateway.result("1")).outputs[0][0] == 7.0


async def test_a_queued_job_knows_how_many_go_first(gateway, worker):
    await submit(gateway, *(job(name) for name in "abc"), keep_result=True)
    assert [(await gateway.state(name)).position for name in "abc"] == [0, 1, 2]
    claim = await claim_one(worker, start=True)
    assert [(await gateway.state(name)).position for name in "bc"] == [0, 1]
    assert (await gateway.state("a")).position is None
    await answer(worker, claim)
    assert (await gateway.state("a")).position is None


async def test_a_queued_job_knows_how_long_it_is_likely_to_wait(gateway, worker):
    await learn_pace(gateway, worker, 2000.0)
    await submit(gateway, *(job(name) for name in "abc"), keep_result=True)
    waits = [(await gateway.state(name)).expected_wait_s for name in "abc"]
    assert waits == pytest.approx([0.0, 2.0, 4.0], rel=0.1)


async def test_a_job_remembers_when_it_reached_each_stage(participants, gateway, worker):
    await submit(gateway, job("1"), keep_result=True)
    assert (await gateway.state("1")).timeline == Timeline(START)
    await participants.elapse(2.0)
    claim = await claim_one(worker)
    assert (await gateway.state("1")).timeline == Timeline(START, START + 2)
    await participants.elapse(3.0)
    await worker.start([claim])
    whole = Timeline(START, START + 2, START + 5)
    assert (await gateway.state("1")).timeline == whole
    await answer(worker, claim)
    assert (await gateway.state("1")).timeline == whole


async def test_an_answer_nobody_meant_to_keep_can_be_kept_after_all(gateway, worker):
    claim = await run_one(gateway, worker, "1", keep_result=False)
    assert await gateway.keep("1")
    await answer(worker, claim)
    for _ in range(2):
        assert (await gateway.state("1")).outcome.outputs[0][0] == 7.0


async def test_an_answer_that_is_there_is_taken_rather_than_kept(gateway, worker):
    await answer(worker, await run_one(gateway, worker, "1", keep_result=False))
    assert not await gateway.keep("1")
    assert (await gateway.result("1")).outputs[0][0] == 7.0
