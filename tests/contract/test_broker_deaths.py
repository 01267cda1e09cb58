"""Workers die, and workers that were taken for dead come back."""

import anyio
import pytest

from broker_jobs import (
    ALL,
    LEASE_S,
    MODEL,
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
from brokers import Participants
from certisolve_server.broker import AbstractBroker, Bounds, Claim, Reaped
from certisolve_server.errors import DeadLettered, OutOfRange
from certisolve_server.jobs import Priority, Timeline

pytestmark = pytest.mark.anyio


async def test_a_job_longer_than_three_leases_is_not_redelivered_while_its_worker_lives(
    participants, gateway, worker
):
    claim = await run_one(gateway, worker, "1")
    for _ in range(7):
        await participants.elapse(LEASE_S / 2)
        assert await worker.renew([claim]) == []
        assert await gateway.reap() == Reaped(0, 0)
    await submit(gateway, job("sentinel"))
    assert ids(await worker.claim(ALL)) == ["sentinel"]
    await answer(worker, claim)


async def test_a_lease_that_has_not_run_out_is_respected(participants, gateway, worker):
    claim = await run_one(gateway, worker, "1")
    await participants.elapse(0.9 * LEASE_S)
    assert await gateway.reap() == Reaped(0, 0)
    await answer(worker, claim)


async def test_a_job_that_was_waiting_at_a_dead_worker_goes_first_and_is_no_suspect(
    participants, gateway, worker
):
    await submit(gateway, job("1"), job("2"), job("3"))
    lost = await worker.claim(up_to(2))
    await participants.elapse(LEASE_S + 1)
    survivor = await participants.join("survivor")
    assert await survivor.reap() == Reaped(2, 0)
    assert (await gateway.state("1")).status == "queued"
    claims = await survivor.claim(ALL)
    assert ids(claims) == ["1", "2", "3"]
    assert not any(claim.suspect for claim in claims)
    assert claims[0].token > lost[0].token
    assert await survivor.reap() == Reaped(0, 0)


async def test_jobs_that_were_running_when_a_worker_died_are_claimed_one_by_one(
    participants, gateway, worker
):
    await submit(gateway, job("1"), job("2"), job("3"))
    await worker.claim(ALL, start=True)
    await participants.elapse(LEASE_S + 1)
    survivor = await participants.join("survivor")
    assert await survivor.reap() == Reaped(3, 0)
    await submit(gateway, job("innocent"), job("bystander"))
    batches = [await survivor.claim(ALL, start=True) for _ in range(4)]
    suspects = [claim for batch in batches if len(batch) == 1 for claim in batch]
    assert sorted(ids(suspects)) == ["1", "2", "3"]
    assert all(claim.suspect for claim in suspects)
    (others,) = [batch for batch in batches if len(batch) > 1]
    assert ids(others) == ["innocent", "bystander"]
    assert not any(claim.suspect for claim in others)


async def test_a_suspect_stays_one_until_it_has_ended(participants, gateway, worker):
    await submit(gateway, job("1"))
    await claim_one(worker, start=True)
    await participants.elapse(LEASE_S + 1)
    assert await gateway.reap() == Reaped(1, 0)
    await worker.release([await claim_one(worker)])
    claim = await claim_one(worker)
    assert claim.suspect
    await participants.elapse(LEASE_S + 1)
    assert await gateway.reap() == Reaped(1, 0)
    assert (await claim_one(worker)).suspect


async def _die_of(participants: Participants, worker: AbstractBroker) -> None:
    """Claim a job, run it and die of it."""
    await claim_one(worker, start=True)
    await participants.elapse(LEASE_S + 1)


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_a_job_that_kills_its_workers_is_put_aside(queue, keep_result):
    with anyio.fail_after(20):
        async with queue(Bounds(max_deliveries=3)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await submit(gateway, job("poison", tenant="lab"), keep_result=keep_result)
            for _ in range(2):
                await _die_of(participants, worker)
                assert await gateway.reap() == Reaped(1, 0)
            await _die_of(participants, worker)
            assert await gateway.reap() == Reaped(0, 1)
            with pytest.raises(DeadLettered):
                await gateway.result("poison")
            (letter,) = await gateway.dead_letters()
            assert (letter.id, letter.model, letter.tenant) == ("poison", MODEL.name, "lab")
            assert (letter.deliveries, letter.died_at) == (3, participants.clock.now)
            assert letter.reason
            assert letter.worker
            assert await depth(gateway) == (0, 0)


async def _put_aside(participants: Participants, *names: str, **terms) -> None:
    """Let jobs kill workers until they are put aside."""
    gateway, worker = await participants.join("gateway"), await participants.join("worker")
    for name in names:
        await submit(gateway, job(name, **terms), keep_result=True)
        await _die_of(participants, worker)
        assert await gateway.reap() == Reaped(0, 1)


async def test_one_who_waits_for_a_job_is_told_when_it_is_put_aside(queue):
    async def wait():
        with pytest.raises(DeadLettered):
            await gateway.result("poison")

    with anyio.fail_after(20):
        async with queue(Bounds(max_deliveries=1)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await submit(gateway, job("poison"))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await checkpoints()
                await _die_of(participants, worker)
                assert await gateway.reap() == Reaped(0, 1)


async def test_batch_mates_of_a_job_that_kills_its_worker_are_answered(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_deliveries=3)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await submit(gateway, job("1"), job("poison"), job("2"))
            await worker.claim(ALL, start=True)
            num_dead = 0
            while not num_dead:
                await participants.elapse(LEASE_S + 1)
                num_dead = (await gateway.reap()).num_dead
                for _ in range(1 if num_dead else 3):
                    if (await depth(gateway))[0] == 0:
                        break
                    claim = await claim_one(worker, start=True)
                    if claim.job.id == "poison":
                        break
                    await answer(worker, claim, float(claim.job.id))
            for name in ("1", "2"):
                assert (await gateway.result(name)).outputs[0][0] == float(name)
            assert [letter.id for letter in await gateway.dead_letters()] == ["poison"]


async def test_a_job_that_is_replayed_has_a_clean_record(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_deliveries=1)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await _put_aside(participants, "1", deadline=START + 5)
            assert await gateway.replay("1")
            assert await gateway.dead_letters() == []
            assert not await gateway.replay("1")
            assert (await gateway.state("1")).status == "queued"
            # Nobody but the operator wants the answer by now, so its deadline no longer holds.
            claim = await claim_one(worker)
            assert (claim.job.id, claim.suspect, claim.job.terms.deadline) == ("1", False, None)
            assert ids(await worker.start([claim])) == ["1"]
            await answer(worker, claim)
            assert (await gateway.state("1")).outcome.outputs[0][0] == 7.0


async def test_a_worker_that_was_thought_dead_cannot_answer_a_job_that_is_replayed(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_deliveries=1)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await submit(gateway, job("1"), keep_result=True)
            zombie = await claim_one(worker, start=True)
            await participants.elapse(LEASE_S + 1)
            await gateway.reap()
            await gateway.replay("1")
            claim = await claim_one(worker)
            assert await worker.complete([(zombie, outcome(13.0))]) == 1
            await answer(worker, claim)
            assert (await gateway.result("1")).outputs[0][0] == 7.0


async def test_dead_letters_are_listed_oldest_first_until_they_are_purged(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_deliveries=1)) as participants:
            gateway = await participants.join("gateway")
            await _put_aside(participants, "1", "2", "3")
            assert [letter.id for letter in await gateway.dead_letters()] == ["1", "2", "3"]
            assert await gateway.purge("2") == 1
            assert await gateway.purge("2") == 0
            assert not await gateway.replay("2")
            assert [letter.id for letter in await gateway.dead_letters()] == ["1", "3"]
            assert await gateway.purge() == 2
            assert await gateway.dead_letters() == []
            assert await gateway.purge() == 0


async def test_an_answer_under_an_old_token_is_fenced_off(participants, gateway, worker):
    await submit(gateway, job("1"))
    zombie = await claim_one(worker, start=True)
    await participants.elapse(LEASE_S + 1)
    await gateway.reap()
    await _expect_fenced(worker, zombie)
    survivor = await participants.join("survivor")
    claim = await claim_one(survivor)
    assert claim.token > zombie.token
    await _expect_fenced(worker, zombie)
    assert ids(await survivor.start([claim])) == ["1"]
    await answer(survivor, claim)
    await _expect_fenced(worker, zombie)
    assert (await gateway.result("1")).outputs[0][0] == 7.0


async def _expect_fenced(worker: AbstractBroker, zombie: Claim) -> None:
    assert await worker.complete([(zombie, outcome(13.0))]) == 1
    assert not await worker.fail(zombie, OutOfRange("too large"))
    assert ids(await worker.start([zombie])) == []
    assert ids(await worker.renew([zombie])) == [zombie.job.id]
    await worker.release([zombie])


async def test_a_job_that_was_handed_back_belongs_to_its_next_worker(gateway, worker):
    await submit(gateway, job("1"))
    old = await claim_one(worker)
    await worker.release([old])
    await _expect_fenced(worker, old)
    new = await claim_one(worker)
    assert new.token > old.token
    await _expect_fenced(worker, old)
    await answer(worker, new)
    assert (await gateway.result("1")).outputs[0][0] == 7.0


async def test_jobs_that_are_handed_back_go_first_and_in_order(gateway, worker):
    await submit(gateway, *(job(str(number)) for number in range(6)))
    claims = await worker.claim(up_to(4))
    await submit(gateway, job("urgent", priority=Priority.HIGH))
    await worker.release(claims)
    again = await worker.claim(ALL)
    assert ids(again) == ["0", "1", "2", "3", "urgent", "4", "5"]
    assert not any(claim.suspect for claim in again)


async def test_nobody_is_blamed_for_a_running_job_that_is_handed_back(
    participants, gateway, worker
):
    claim = await run_one(gateway, worker, "1")
    await participants.elapse(1.0)
    await worker.release([claim])
    state = await gateway.state("1")
    assert (state.status, state.timeline) == ("queued", Timeline(START))
    claim = await claim_one(worker)
    assert (claim.suspect, claim.started) == (False, False)
    assert ids(await worker.start([claim])) == ["1"]
    await answer(worker, claim)


async def test_a_waiting_worker_gets_what_another_hands_back(participants, gateway, worker):
    claimed: list[str] = []

    async def claim():
        claimed.extend(ids(await (await participants.join("waiting worker")).claim(ALL)))

    await submit(gateway, job("1"))
    mine = await worker.claim(ALL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim)
        await checkpoints()
        await worker.release(mine)
    assert claimed == ["1"]
