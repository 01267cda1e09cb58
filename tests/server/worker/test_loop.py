"""The worker with real brokers and a scripted engine."""

import asyncio
import itertools
import time

import pytest

from brokers import Clock
from certisolve_server.broker import Bounds, Capacity, MemoryBroker, Reaped
from certisolve_server.errors import Cancelled, DeadlineExceeded, InternalError
from remote_broker import RemoteBroker
from worker_site import (
    EVERYTHING,
    LEASE_S,
    MODEL,
    OTHER_MODEL,
    SHORT_LEASE_S,
    RecordingTracing,
    ScriptedEngine,
    hold_device,
    job,
    running,
    until,
)

pytestmark = pytest.mark.anyio

# --- Batches --------------------------------------------------------------------------------------


async def test_an_idle_device_starts_at_once_and_a_busy_one_collects() -> None:
    engine = ScriptedEngine()
    async with running(engine) as site:
        await hold_device(engine, site.broker)
        await site.submit(*(job(f"j{number}", number) for number in range(1, 6)))
        engine.gate.set()
        outcomes = [await site.broker.result(f"j{number}") for number in range(1, 6)]
    assert engine.batches == [[0.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    assert [outcome.outputs[0][0] for outcome in outcomes] == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert all(outcome.batch_size == 5 for outcome in outcomes)


async def test_other_shapes_wait_for_a_batch_of_their_own() -> None:
    engine = ScriptedEngine()
    async with running(engine) as site:
        await hold_device(engine, site.broker)
        await site.submit(job("a", 1.0), job("b", 2.0, size=8), job("c", 3.0))
        engine.gate.set()
        for name in "abc":
            await site.broker.result(name)
    assert engine.batches == [[0.0], [1.0, 3.0], [2.0]]


async def test_no_more_is_claimed_than_the_next_batch_takes() -> None:
    engine = ScriptedEngine()
    async with running(engine, max_batch_size=4) as site:
        await hold_device(engine, site.broker)
        await site.submit(*(job(f"j{number}", number) for number in range(1, 11)))
        await until(lambda: site.worker.num_waiting == 4)
        for _ in range(10):
            await asyncio.sleep(0)
        assert (site.worker.num_waiting, site.worker.num_running) == (4, 1)
        (left, *_) = await site.broker.claim(Capacity({MODEL: 1}))
        assert left.job.id == "j5"
        engine.gate.set()
        await site.broker.result("j10")
    assert engine.batches == [[0.0], [1.0, 2.0, 3.0, 4.0], [6.0, 7.0, 8.0, 9.0], [10.0]]


async def test_what_waits_already_counts_towards_the_next_batch() -> None:
    engine = ScriptedEngine()
    async with running(engine, max_batch_size=4) as site:
        await hold_device(engine, site.broker)
        await site.submit(job("1", 1.0), job("2", 2.0), job("3", 3.0))
        await until(lambda: site.worker.num_waiting == 3)
        await site.submit(job("4", 4.0), job("5", 5.0))
        await until(lambda: site.worker.num_waiting == 4)
        engine.gate.set()
        await site.broker.result("5")
    assert engine.batches == [[0.0], [1.0, 2.0, 3.0, 4.0], [5.0]]


async def test_a_job_that_starts_at_once_is_not_asked_about_twice() -> None:
    engine, broker = ScriptedEngine(), RemoteBroker(MemoryBroker())
    async with running(engine, broker) as site:
        await site.submit(job("1", 1.0))
        await site.broker.result("1")
        assert broker.num_starts == 0


async def test_a_request_that_breaks_the_program_fails_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = ScriptedEngine()
    async with running(engine) as site:
        await hold_device(engine, site.broker)
        await site.submit(job("good", 1.0), job("bad", 13.0), job("fine", 3.0))
        engine.gate.set()
        assert await site.value("good") == 2.0
        assert await site.value("fine") == 6.0
        with pytest.raises(InternalError, match="bad"):
            await site.broker.result("bad")
    assert "unlucky" in caplog.text


async def test_cancelled_jobs_never_reach_the_device() -> None:
    engine = ScriptedEngine()
    async with running(engine) as site:
        await hold_device(engine, site.broker)
        await site.submit(*(job(f"j{number}", number) for number in (1, 2, 3)))
        await until(lambda: site.worker.num_waiting == 3)
        assert (await site.broker.cancel("j2")).status == "cancelled"
        engine.gate.set()
        await site.broker.result("j3")
        with pytest.raises(Cancelled):
            await site.broker.result("j2")
    assert engine.batches == [[0.0], [1.0, 3.0]]


async def test_expired_jobs_never_reach_the_device() -> None:
    engine, clock = ScriptedEngine(), Clock()
    clock.now = time.time()
    async with running(engine, MemoryBroker(clock=clock), clock=clock) as site:
        await hold_device(engine, site.broker)
        await site.submit(job("late", 1.0, deadline=clock.now + 5), keep_result=True)
        await site.submit(job("live", 2.0, deadline=clock.now + 60))
        await until(lambda: site.worker.num_waiting == 2)
        clock.now += 6
        engine.gate.set()
        await site.broker.result("live")
        with pytest.raises(DeadlineExceeded, match="waiting for the device"):
            await site.broker.result("late")
        assert site.counted('certisolve_deadlines_missed_total{stage="device"}') == 1
    assert engine.batches == [[0.0], [2.0]]


async def test_non_finite_output_is_told() -> None:
    async with running(ScriptedEngine()) as site:
        await site.submit(job("inf", 3e38))
        outcome = await site.broker.result("inf")
    assert not outcome.finite


async def test_batches_are_counted_and_traced() -> None:
    engine, tracing = ScriptedEngine(), RecordingTracing()
    async with running(engine, tracing=tracing) as site:
        await hold_device(engine, site.broker)
        await site.submit(job("1", 1.0, traceparent="00-one"), job("2", 2.0))
        engine.gate.set()
        await site.broker.result("2")
        await until(lambda: bool(tracing.batches))
        assert tracing.batches == [(["00-one", ""], 2)]
        assert site.counted('certisolve_batch_size_count{model="scripted"}') == 2


# --- Several brokers ------------------------------------------------------------------------------


async def test_jobs_of_several_brokers_share_a_batch_and_are_answered_where_they_came_from() -> (
    None
):
    engine, direct, queue = ScriptedEngine(), MemoryBroker(), MemoryBroker()
    async with running(engine, direct, queue) as site:
        await hold_device(engine, direct)
        await direct.submit(job("direct", 1.0), keep_result=False)
        await queue.submit(job("queued", 2.0), keep_result=False)
        await until(lambda: site.worker.num_waiting == 2)
        engine.gate.set()
        answers = [await direct.result("direct"), await queue.result("queued")]
    assert [answer.outputs[0][0] for answer in answers] == [2.0, 4.0]
    assert [answer.batch_size for answer in answers] == [2, 2]


async def test_an_outage_of_one_broker_stops_neither_the_other_nor_the_next_batch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, direct, queue = ScriptedEngine(), MemoryBroker(), RemoteBroker(MemoryBroker())
    async with running(engine, direct, queue, lease_s=SHORT_LEASE_S) as site:
        engine.gate.clear()
        await queue.submit(job("queued", 1.0), keep_result=False)
        await asyncio.to_thread(engine.entered.acquire)
        queue.cut()
        engine.gate.set()
        for number in range(5):
            await direct.submit(job(f"d{number}", number), keep_result=False)
            assert (await direct.result(f"d{number}")).outputs[0][0] == 2 * number
        await until(lambda: queue.num_refusals >= 3)
        queue.mend()
        assert (await queue.result("queued")).outputs[0][0] == 2.0
        await queue.submit(job("next", 3.0), keep_result=False)
        assert (await queue.result("next")).outputs[0][0] == 6.0
        assert site.worker.num_running == 0
    outages = [each for each in caplog.messages if each.startswith("queue_out_of_reach")]
    assert len(outages) == 1


async def test_jobs_that_nobody_could_ask_about_are_handed_back_once_the_broker_is() -> None:
    engine, queue = ScriptedEngine(), RemoteBroker(MemoryBroker())
    async with running(engine, queue) as site:
        await hold_device(engine, queue)
        await site.submit(job("1", 1.0))
        await until(lambda: site.worker.num_waiting == 1)
        queue.cut()
        engine.gate.set()
        await until(lambda: site.worker.num_waiting == 0)
        await until(lambda: queue.num_refusals >= 1)
        assert engine.batches == [[0.0]]
        queue.mend()
        assert await site.value("1") == 2.0


async def test_a_broker_that_takes_no_answers_gives_no_more_jobs() -> None:
    engine, queue = ScriptedEngine(), RemoteBroker(MemoryBroker())
    async with running(engine, queue, max_batch_size=1, max_unreported=2) as site:
        await hold_device(engine, queue)
        await site.submit(*(job(f"j{number}", number) for number in range(1, 9)))
        await until(lambda: site.worker.num_waiting == 1)
        queue.deafen()
        engine.gate.set()
        await until(lambda: site.worker.num_waiting == 0 and site.worker.num_running == 0)
        # Two fill the bound; one more was claimed meanwhile.
        assert len(engine.batches) <= 3
        assert (await queue.depth()).num_jobs == 9
        queue.mend()
        assert await site.value("j8") == 16.0


# --- Models that come and go ----------------------------------------------------------------------


async def test_a_job_for_a_model_that_is_not_loaded_is_left_for_others() -> None:
    async with running(ScriptedEngine()) as site:
        await site.submit(job("stranger", 1.0, model=OTHER_MODEL), job("1", 1.0))
        await site.broker.result("1")
        (claim,) = await site.broker.claim(EVERYTHING)
        assert claim.job.id == "stranger"


async def test_a_model_that_is_loaded_later_is_served_from_then_on() -> None:
    other = ScriptedEngine(OTHER_MODEL)
    async with running(ScriptedEngine()) as site:
        await site.submit(job("early", 1.0, model=OTHER_MODEL))
        await site.worker.load(other.loaded)
        assert set(site.worker.loaded) == {MODEL, OTHER_MODEL}
        assert await site.value("early") == 2.0
        await site.submit(job("1", 3.0))
        assert await site.value("1") == 6.0


async def test_unloading_hands_waiting_jobs_back_and_finishes_what_runs() -> None:
    engine, other = ScriptedEngine(), ScriptedEngine(OTHER_MODEL)
    async with running(engine) as site:
        await site.worker.load(other.loaded)
        await hold_device(engine, site.broker)
        await site.submit(job("1", 1.0), job("2", 2.0))
        await until(lambda: site.worker.num_waiting == 2)
        unloading = asyncio.create_task(site.worker.unload(MODEL))
        await until(lambda: site.worker.loaded == (OTHER_MODEL,))
        assert not unloading.done()
        engine.gate.set()
        await unloading
        assert await site.value("holder") == 0.0
        assert [claim.job.id for claim in await site.broker.claim(EVERYTHING)] == ["1", "2"]
        await site.submit(job("3", 3.0, model=OTHER_MODEL))
        assert await site.value("3") == 6.0
    assert engine.batches == [[0.0]]


async def test_unloading_what_is_not_loaded_changes_nothing() -> None:
    async with running(ScriptedEngine()) as site:
        await site.worker.unload(OTHER_MODEL)
        await site.submit(job("1", 1.0))
        assert await site.value("1") == 2.0


async def test_draining_finishes_what_runs_and_hands_back_the_rest() -> None:
    engine = ScriptedEngine()
    async with running(engine, max_batch_size=4) as site:
        await hold_device(engine, site.broker)
        await site.submit(*(job(f"j{number}", number) for number in range(1, 7)))
        await until(lambda: site.worker.num_waiting == 4)
        draining = asyncio.create_task(site.worker.drain())
        await until(lambda: site.worker.num_waiting == 0)
        assert not draining.done()
        engine.gate.set()
        await draining
        assert await site.value("holder") == 0.0
        claims = await site.broker.claim(EVERYTHING)
        assert [claim.job.id for claim in claims] == ["j1", "j2", "j3", "j4", "j5", "j6"]
    assert engine.batches == [[0.0]]


async def test_draining_ends_only_when_every_answer_is_reported() -> None:
    engine, queue = ScriptedEngine(), RemoteBroker(MemoryBroker())
    async with running(engine, queue, lease_s=SHORT_LEASE_S) as site:
        await hold_device(engine, queue)
        queue.cut()
        engine.gate.set()
        await until(lambda: site.worker.num_running == 0)
        draining = asyncio.create_task(site.worker.drain())
        await until(lambda: queue.num_refusals >= 1)
        assert not draining.done()
        queue.mend()
        await draining
        assert (await queue.state("holder")).status == "succeeded"


async def test_an_idle_worker_drains_at_once_and_takes_nothing_more() -> None:
    async with running(ScriptedEngine()) as site:
        await site.worker.drain()
        await site.submit(job("1", 1.0))
        (claim,) = await site.broker.claim(EVERYTHING)
        assert claim.job.id == "1"


# --- Leases ---------------------------------------------------------------------------------------


async def test_what_a_worker_holds_stays_its_own_for_as_long_as_it_lives() -> None:
    engine, clock = ScriptedEngine(), Clock()
    far = MemoryBroker(clock=clock)
    queue = RemoteBroker(far)
    async with running(engine, queue, lease_s=SHORT_LEASE_S) as site:
        await hold_device(engine, queue)
        await site.submit(job("waiting", 1.0))
        await until(lambda: site.worker.num_waiting == 1)
        for _ in range(7):
            clock.now += LEASE_S / 2
            await queue.beats(2)
            assert await far.reap() == Reaped(0, 0)
        engine.gate.set()
        assert await site.value("waiting") == 2.0
        assert site.counted("certisolve_lease_renewals_total") >= 14
        assert site.counted("certisolve_redeliveries_total") == 0


async def test_jobs_that_are_no_longer_ours_never_reach_the_device() -> None:
    engine, clock = ScriptedEngine(), Clock()
    far = MemoryBroker(clock=clock)
    queue = RemoteBroker(far)
    async with running(engine, queue, lease_s=SHORT_LEASE_S) as site:
        await hold_device(engine, queue)
        await site.submit(job("cancelled", 1.0), job("lost", 2.0), job("kept", 3.0))
        await until(lambda: site.worker.num_waiting == 3)
        await far.cancel("cancelled")
        clock.now += LEASE_S + 1
        await far.reap()
        taken = {claim.job.id: claim for _ in range(2) for claim in await far.claim(EVERYTHING)}
        await far.release([taken["kept"]])
        await until(lambda: site.worker.num_waiting == 1)
        engine.gate.set()
        assert await site.value("kept") == 6.0
        assert await far.renew([taken["lost"]]) == []
    assert engine.batches == [[0.0], [3.0]]


async def test_answers_that_come_too_late_are_counted() -> None:
    engine, clock = ScriptedEngine(), Clock()
    async with running(engine, MemoryBroker(clock=clock)) as site:
        await hold_device(engine, site.broker)
        await site.broker.cancel("holder")
        engine.gate.set()
        await until(lambda: site.counted("certisolve_fenced_answers_total") == 1)


async def test_jobs_of_the_dead_are_taken_over_and_suspects_run_alone() -> None:
    engine, clock = ScriptedEngine(), Clock()
    broker = MemoryBroker(clock=clock)
    await broker.submit(job("suspect1", 1.0), keep_result=False)
    await broker.submit(job("suspect2", 2.0), keep_result=False)
    await broker.claim(EVERYTHING, start=True)
    await broker.submit(job("waiting", 3.0), keep_result=False)
    await broker.claim(EVERYTHING)
    clock.now += LEASE_S + 1
    engine.gate.clear()
    async with running(engine, broker, lease_s=SHORT_LEASE_S) as site:
        await until(lambda: site.worker.num_running > 0)
        await site.submit(job("new", 4.0))
        engine.gate.set()
        values = [await site.value(name) for name in ("suspect1", "suspect2", "waiting", "new")]
        assert values == [2.0, 4.0, 6.0, 8.0]
        assert site.counted("certisolve_redeliveries_total") == 3
    assert [batch for batch in engine.batches if len(batch) > 1] in ([], [[3.0, 4.0]])
    assert sorted(itertools.chain(*engine.batches)) == [1.0, 2.0, 3.0, 4.0]


async def test_a_job_that_is_put_aside_is_counted() -> None:
    clock = Clock()
    broker = MemoryBroker(Bounds(max_deliveries=1), clock)
    await broker.submit(job("poison", 1.0), keep_result=True)
    await broker.claim(EVERYTHING, start=True)
    clock.now += LEASE_S + 1
    async with running(ScriptedEngine(), broker, lease_s=SHORT_LEASE_S) as site:
        await until(lambda: site.counted("certisolve_dead_letters_total") == 1)
