"""What every broker promises: an accepted job ends exactly once, and who waits for it hears it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import numpy as np
import pytest

from certisolve_server.broker import AbstractBroker, Depth, MemoryBroker
from certisolve_server.errors import Cancelled, ErrorCode, OutOfRange, QueueFull, UnknownJob
from certisolve_server.jobs import JobState, ModelKey, Outcome, SolveContext, SolveJob, Timings

pytestmark = pytest.mark.anyio

MODEL = ModelKey("burgers", "1")
CONTEXT = SolveContext(
    t=(0.5, 1.0), sizes={"x": 3}, resampled_from=None, expected_error=0.01, diagnostics=True
)


@asynccontextmanager
async def _memory_broker() -> AsyncIterator[AbstractBroker]:
    yield MemoryBroker()


all_brokers: dict[str, Callable[[], AbstractAsyncContextManager[AbstractBroker]]] = {
    "memory": _memory_broker,
}


@pytest.fixture(params=all_brokers.values(), ids=all_brokers)
async def broker(request) -> AsyncIterator[AbstractBroker]:
    # No case waits for anything but an answer that is due, so one that hangs has lost it.
    async with request.param() as broker:
        with anyio.fail_after(20):
            yield broker


def job(job_id: str, size: int = 3) -> SolveJob:
    return SolveJob(
        id=job_id,
        model=MODEL,
        inputs=(np.arange(size, dtype=np.float32), np.ones((2, 2))),
        parameters=(0.01,),
        submitted_at=1.0,
        deadline=2.0,
        context=CONTEXT,
    )


def outcome(value: float, size: int = 3) -> Outcome:
    return Outcome(
        model=MODEL,
        outputs=(np.full(size, value, np.float32),),
        finite=True,
        timings=Timings(1.0, 2.0, 3.0),
        batch_size=4,
        context=CONTEXT,
    )


async def run_one(broker: AbstractBroker, job_id: str, *, keep_result: bool = True) -> None:
    """Submit a job and take it to where a worker computes it."""
    await broker.submit(job(job_id), keep_result=keep_result)
    (claimed,) = await broker.claim(1)
    assert claimed.id == job_id
    assert list(await broker.start([job_id])) == [job_id]


def ids(jobs) -> list[str]:
    return [each.id for each in jobs]


# --- From gateway to worker -----------------------------------------------------------------------


async def test_a_job_arrives_at_the_worker_as_it_was_sent(broker):
    await broker.submit(job("1"), keep_result=False)
    (claimed,) = await broker.claim(1)
    sent = job("1")
    assert (claimed.id, claimed.model, claimed.parameters) == ("1", MODEL, (0.01,))
    assert (claimed.submitted_at, claimed.deadline) == (1.0, 2.0)
    assert claimed.context == CONTEXT
    assert claimed.lane == sent.lane
    for array, original in zip(claimed.inputs, sent.inputs, strict=True):
        assert array.dtype == original.dtype
        np.testing.assert_array_equal(array, original)


async def test_jobs_are_claimed_oldest_first_and_no_more_than_asked_for(broker):
    for number in range(5):
        await broker.submit(job(str(number)), keep_result=False)
    assert ids(await broker.claim(2)) == ["0", "1"]
    assert ids(await broker.claim(10)) == ["2", "3", "4"]


async def test_claim_waits_until_there_is_a_job(broker):
    claimed: list[str] = []

    async def claim():
        claimed.extend(ids(await broker.claim(4)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim)
        await anyio.wait_all_tasks_blocked()
        assert claimed == []
        await broker.submit(job("1"), keep_result=False)
    assert claimed == ["1"]


async def test_a_job_is_claimed_by_one_worker_only(broker):
    claimed: list[str] = []

    async def work():
        while len(claimed) < 40:
            claimed.extend(ids(await broker.claim(3)))
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(work)
        for number in range(40):
            await broker.submit(job(str(number)), keep_result=False)
    assert sorted(claimed, key=int) == [str(number) for number in range(40)]


async def test_a_worker_that_stops_waiting_takes_no_job_with_it(broker):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(broker.claim, 4)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await broker.submit(job("1"), keep_result=False)
    assert ids(await broker.claim(4)) == ["1"]


async def test_a_job_is_queued_until_it_starts_and_running_until_it_ends(broker):
    await broker.submit(job("1"), keep_result=True)
    statuses = [(await broker.state("1")).status]
    await broker.claim(1)
    statuses.append((await broker.state("1")).status)
    await broker.start(["1"])
    statuses.append((await broker.state("1")).status)
    await broker.complete("1", outcome(1.0))
    statuses.append((await broker.state("1")).status)
    assert statuses == ["queued", "queued", "running", "succeeded"]


async def test_a_job_cancelled_in_the_queue_never_starts(broker):
    for job_id in ("1", "2", "3"):
        await broker.submit(job(job_id), keep_result=False)
    await broker.cancel("2")
    started = []
    while len(started) < 2:
        started += await broker.start(ids(await broker.claim(3)))
    assert started == ["1", "3"]


async def test_starting_drops_what_was_cancelled_after_the_claim_and_keeps_the_order(broker):
    for job_id in ("1", "2", "3"):
        await broker.submit(job(job_id), keep_result=False)
    await broker.claim(3)
    await broker.cancel("2")
    assert list(await broker.start(["3", "2", "1"])) == ["3", "1"]


# --- From worker to gateway -----------------------------------------------------------------------


async def test_an_answer_arrives_as_it_was_computed(broker):
    await run_one(broker, "1")
    await broker.complete("1", outcome(7.0))
    answer = await broker.result("1")
    assert answer.outputs[0].dtype == np.float32
    np.testing.assert_array_equal(answer.outputs[0], [7.0, 7.0, 7.0])
    assert (answer.model, answer.finite, answer.batch_size) == (MODEL, True, 4)
    assert answer.timings == Timings(1.0, 2.0, 3.0)
    assert answer.context == CONTEXT


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_an_answer_is_there_for_one_who_comes_late(broker, keep_result):
    await run_one(broker, "1", keep_result=keep_result)
    await broker.complete("1", outcome(7.0))
    assert (await broker.result("1")).outputs[0][0] == 7.0


async def test_an_answer_that_is_not_kept_is_forgotten_once_read(broker):
    await run_one(broker, "1", keep_result=False)
    await broker.complete("1", outcome(7.0))
    await broker.result("1")
    with pytest.raises(UnknownJob):
        await broker.state("1")
    with pytest.raises(UnknownJob):
        await broker.result("1")


async def test_a_kept_answer_can_be_read_again(broker):
    await run_one(broker, "1")
    await broker.complete("1", outcome(7.0))
    for _ in range(2):
        assert (await broker.result("1")).outputs[0][0] == 7.0
        state = await broker.state("1")
        assert state.status == "succeeded"
        assert state.ended
        assert state.outcome.outputs[0][0] == 7.0


async def test_result_raises_the_error_the_job_ended_with(broker):
    await run_one(broker, "1")
    await broker.fail("1", OutOfRange("nu is 2", field="parameters.nu"))
    with pytest.raises(OutOfRange, match="nu is 2") as caught:
        await broker.result("1")
    assert caught.value.field == "parameters.nu"
    state = await broker.state("1")
    assert (state.status, state.outcome) == ("failed", None)
    assert state.error.code is ErrorCode.OUT_OF_RANGE


async def test_an_error_says_when_to_come_back(broker):
    await run_one(broker, "1")
    await broker.fail("1", QueueFull("later", retry_after_s=2.5))
    with pytest.raises(QueueFull) as caught:
        await broker.result("1")
    assert caught.value.retry_after_s == 2.5


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_everyone_who_waits_hears_the_answer(broker, keep_result):
    heard: list[float] = []

    async def wait():
        heard.append((await broker.result("1")).outputs[0][0])

    await run_one(broker, "1", keep_result=keep_result)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await broker.complete("1", outcome(7.0))
    assert heard == [7.0, 7.0]


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_one_who_stops_waiting_takes_no_answer_from_the_others(broker, keep_result):
    heard: list[float] = []

    async def wait():
        heard.append((await broker.result("1")).outputs[0][0])

    await run_one(broker, "1", keep_result=keep_result)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        impatient = asyncio.create_task(broker.result("1"))
        await anyio.wait_all_tasks_blocked()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        await broker.complete("1", outcome(7.0))
    assert heard == [7.0]


async def test_state_waits_for_the_end_of_a_job(broker):
    states: list[JobState] = []

    async def wait():
        states.append(await broker.state("1", wait_s=15.0))

    await run_one(broker, "1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert states == []
        await broker.complete("1", outcome(7.0))
    assert states[0].status == "succeeded"


async def test_state_waits_no_longer_than_asked_and_harms_nothing(broker):
    await run_one(broker, "1")
    assert (await broker.state("1", wait_s=0.01)).status == "running"
    await broker.complete("1", outcome(7.0))
    assert (await broker.result("1")).outputs[0][0] == 7.0


# --- Exactly one end ------------------------------------------------------------------------------


async def _complete(broker: AbstractBroker) -> None:
    await broker.complete("1", outcome(1.0))


async def _fail(broker: AbstractBroker) -> None:
    await broker.fail("1", OutOfRange("too large"))


async def _cancel(broker: AbstractBroker) -> None:
    await broker.cancel("1")


ENDS = {
    "complete": (_complete, "succeeded"),
    "fail": (_fail, "failed"),
    "cancel": (_cancel, "cancelled"),
}


@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("first", ENDS)
async def test_only_the_first_end_of_a_job_counts(broker, first, second):
    await run_one(broker, "1")
    await ENDS[first][0](broker)
    await ENDS[second][0](broker)
    assert (await broker.state("1")).status == ENDS[first][1]
    assert broker.depth() == Depth(0, 0)


async def test_cancelling_answers_with_the_state_afterwards(broker):
    await broker.submit(job("1"), keep_result=True)
    assert (await broker.cancel("1")).status == "cancelled"
    await run_one(broker, "2")
    await broker.complete("2", outcome(7.0))
    assert (await broker.cancel("2")).status == "succeeded"


async def test_one_who_waits_for_a_cancelled_job_is_told(broker):
    async def wait():
        with pytest.raises(Cancelled):
            await broker.result("1")

    await run_one(broker, "1", keep_result=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await broker.cancel("1")


async def test_a_job_nobody_submitted_is_unknown(broker):
    with pytest.raises(UnknownJob):
        await broker.state("ghost")
    with pytest.raises(UnknownJob):
        await broker.state("ghost", wait_s=5.0)
    with pytest.raises(UnknownJob):
        await broker.result("ghost")
    with pytest.raises(UnknownJob):
        await broker.cancel("ghost")


async def test_ending_a_job_nobody_submitted_has_no_effect(broker):
    await broker.complete("ghost", outcome(1.0))
    await broker.fail("ghost", OutOfRange("too large"))
    assert list(await broker.start(["ghost"])) == []
    with pytest.raises(UnknownJob):
        await broker.state("ghost")
    assert broker.depth() == Depth(0, 0)


async def test_depth_counts_what_waits_and_what_runs(broker):
    size = job("1").num_bytes
    await broker.submit(job("1"), keep_result=True)
    await broker.submit(job("2"), keep_result=False)
    assert broker.depth() == Depth(2, 2 * size)
    await broker.claim(2)
    await broker.start(["1", "2"])
    assert broker.depth() == Depth(2, 2 * size)
    await broker.complete("1", outcome(1.0))
    assert broker.depth() == Depth(1, size)
    await broker.cancel("2")
    assert broker.depth() == Depth(0, 0)


async def _work_carelessly(broker: AbstractBroker, rng: random.Random) -> None:
    """Complete or fail what is claimed, at times twice."""
    while True:
        for job_id in await broker.start(ids(await broker.claim(rng.randint(1, 5)))):
            await anyio.lowlevel.checkpoint()
            for _ in range(rng.randint(1, 2)):
                if rng.random() < 0.3:
                    await broker.fail(job_id, OutOfRange(job_id))
                else:
                    await broker.complete(job_id, outcome(float(job_id)))


async def _call_rashly(broker: AbstractBroker, rng: random.Random, job_id: str) -> str:
    """Submit a job, at times cancel it; how it ended."""
    await broker.submit(job(job_id), keep_result=rng.random() < 0.5)
    await anyio.lowlevel.checkpoint()
    if rng.random() < 0.2:
        await broker.cancel(job_id)
    try:
        answer = await broker.result(job_id)
    except OutOfRange as error:
        return error.detail
    except Cancelled:
        return job_id
    except UnknownJob:
        # Cancelled after it had ended, which forgets an answer that was not to be kept.
        return job_id
    return f"{answer.outputs[0][0]:g}"


@pytest.mark.parametrize("seed", range(3))
async def test_every_accepted_job_ends_exactly_once_whatever_happens_to_it(broker, seed):
    rng = random.Random(seed)
    ends: list[tuple[str, str]] = []

    async def call(job_id: str):
        ends.append((job_id, await _call_rashly(broker, rng, job_id)))

    async with anyio.create_task_group() as workers:
        workers.start_soon(_work_carelessly, broker, rng)
        workers.start_soon(_work_carelessly, broker, rng)
        async with anyio.create_task_group() as callers:
            for number in range(60):
                callers.start_soon(call, str(number))
        workers.cancel_scope.cancel()
    assert sorted(ends) == sorted((str(number), str(number)) for number in range(60))
    assert broker.depth() == Depth(0, 0)


# --- What the memory broker keeps, and for how long -----------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_memory_forgets_a_kept_result_after_its_time_to_live():
    clock = Clock()
    broker = MemoryBroker(result_ttl_s=10.0, clock=clock)
    await run_one(broker, "1")
    await broker.complete("1", outcome(1.0))
    clock.now += 9.99
    assert (await broker.state("1")).status == "succeeded"
    clock.now += 0.01
    with pytest.raises(UnknownJob, match="10 s"):
        await broker.state("1")


async def test_memory_counts_the_time_to_live_from_the_end_of_the_job():
    clock = Clock()
    broker = MemoryBroker(result_ttl_s=10.0, clock=clock)
    await run_one(broker, "1")
    clock.now += 1000.0
    assert (await broker.state("1")).status == "running"
    await broker.complete("1", outcome(1.0))
    assert (await broker.state("1")).status == "succeeded"


async def test_memory_forgets_the_oldest_results_when_they_hold_too_many_bytes():
    broker = MemoryBroker(max_result_bytes=2 * outcome(0.0).outputs[0].nbytes)
    for job_id in ("1", "2", "3"):
        await run_one(broker, job_id)
        await broker.complete(job_id, outcome(1.0))
    with pytest.raises(UnknownJob):
        await broker.state("1")
    assert (await broker.state("2")).status == "succeeded"
    assert (await broker.state("3")).status == "succeeded"


async def test_memory_keeps_the_newest_result_however_large():
    broker = MemoryBroker(max_result_bytes=1)
    for job_id in ("1", "2"):
        await run_one(broker, job_id)
        await broker.complete(job_id, outcome(1.0))
    assert (await broker.state("2")).status == "succeeded"
    with pytest.raises(UnknownJob):
        await broker.state("1")


async def test_memory_does_not_keep_a_whole_batch_alive_for_one_result():
    broker = MemoryBroker()
    batch = np.ones((1000, 3), np.float32)
    await run_one(broker, "1")
    answer = outcome(0.0)
    await broker.complete(
        "1", Outcome(MODEL, (batch[5],), True, answer.timings, answer.batch_size, CONTEXT)
    )
    (kept,) = (await broker.state("1")).outcome.outputs
    assert not np.shares_memory(kept, batch)
