"""A worker hears soon which of its jobs it can stop, and tells how far the others are."""

import anyio
import pytest

from broker_jobs import (
    ALL,
    LEASE_S,
    answer,
    checkpoints,
    claim_one,
    ids,
    job,
    run_one,
    submit,
    up_to,
)
from certisolve_server.errors import OutOfRange

pytestmark = pytest.mark.anyio


async def test_a_worker_hears_which_of_its_jobs_were_cancelled(gateway, worker):
    await submit(gateway, *(job(name) for name in "1234"))
    await worker.claim(up_to(3), start=True)
    for name in "312":
        await gateway.cancel(name)
    assert list(await worker.cancelled()) == ["3", "1", "2"]


@pytest.mark.parametrize("start", [True, False], ids=["running", "claimed"])
async def test_a_worker_waits_for_news_of_its_jobs(gateway, worker, start):
    await submit(gateway, job("1"), job("2"))
    await worker.claim(ALL, start=start)
    heard: list[str] = []

    async def listen() -> None:
        heard.extend(await worker.cancelled())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await checkpoints()
        assert heard == []
        await gateway.cancel("2")
    assert heard == ["2"]


async def test_a_worker_hears_of_no_job_but_those_it_lost(gateway, worker):
    await submit(gateway, job("1"))
    await gateway.cancel("1")  # in nobody's hands
    await answer(worker, await run_one(gateway, worker, "2"))
    await worker.fail(await run_one(gateway, worker, "3"), OutOfRange("too large"))
    released = await run_one(gateway, worker, "4")
    await worker.release([released])
    await gateway.cancel("4")
    await gateway.cancel("2")
    await run_one(gateway, worker, "sentinel")
    await gateway.cancel("sentinel")
    assert list(await worker.cancelled()) == ["sentinel"]


async def test_a_worker_hears_that_its_job_went_to_another(participants, gateway, worker):
    await run_one(gateway, worker, "1")
    await participants.elapse(LEASE_S + 1)
    await gateway.reap()
    assert list(await worker.cancelled()) == ["1"]


async def test_a_job_that_came_back_is_not_lost(participants, gateway, worker):
    await run_one(gateway, worker, "1")
    await participants.elapse(LEASE_S + 1)
    await gateway.reap()
    claim = await claim_one(worker, start=True)
    await run_one(gateway, worker, "sentinel")
    await gateway.cancel("sentinel")
    assert list(await worker.cancelled()) == ["sentinel"]
    await answer(worker, claim)


async def test_the_state_of_a_running_job_says_how_far_it_is(gateway, worker):
    claims = [await run_one(gateway, worker, name) for name in "12"]
    assert (await gateway.state("1")).progress == 0.0
    assert await worker.renew(claims, {"1": 0.25, "2": 0.5, "of another": 0.9}) == []
    assert [(await gateway.state(name)).progress for name in "12"] == [0.25, 0.5]
    assert await worker.renew(claims) == []
    assert (await gateway.state("1")).progress == 0.25
    assert await worker.renew(claims, {"1": 0.75}) == []
    assert [(await gateway.state(name)).progress for name in "12"] == [0.75, 0.5]
    await answer(worker, claims[0])
    assert (await gateway.state("1")).progress == 1.0


async def test_a_job_that_begins_again_is_at_its_beginning(participants, gateway, worker):
    claim = await run_one(gateway, worker, "1")
    await worker.renew([claim], {"1": 0.75})
    await participants.elapse(LEASE_S + 1)
    await gateway.reap()
    assert (await gateway.state("1")).progress == 0.0
    again = await claim_one(worker, start=True)
    assert ids(await worker.renew([claim], {"1": 0.9})) == ["1"]
    assert (await gateway.state("1")).progress == 0.0
    assert await worker.renew([again], {"1": 0.125}) == []
    assert (await gateway.state("1")).progress == 0.125
