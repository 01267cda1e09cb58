"""What every broker promises: an accepted job ends exactly once, and who waits for it hears it.

Cases wait for nothing but an answer that is due. Where something must not be there, they put a
sentinel behind it and see that the sentinel comes first.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import anyio
import numpy as np
import pytest

from brokers import Clock, Participants, all_brokers
from certisolve_server.broker import (
    AbstractBroker,
    Bounds,
    Capacity,
    Claim,
    Idempotency,
    MemoryBroker,
    Reaped,
)
from certisolve_server.errors import (
    Cancelled,
    DeadLettered,
    DeadlineExceeded,
    ErrorCode,
    IdempotencyConflict,
    OutOfRange,
    QueueFull,
    UnknownJob,
)
from certisolve_server.jobs import (
    JobState,
    ModelKey,
    Outcome,
    Priority,
    SolveContext,
    SolveJob,
    Terms,
    Timeline,
    Timings,
)

pytestmark = pytest.mark.anyio

START = Clock.START
MODEL, OTHER_MODEL = ModelKey("burgers", "1", "digest"), ModelKey("darcy", "2", "digest")
CONTEXT = SolveContext(
    t=(0.5, 1.0), sizes={"x": 3}, resampled_from=None, expected_error=0.01, diagnostics=True
)
LEASE_S = Bounds().lease_s


@pytest.fixture(params=all_brokers.values(), ids=all_brokers)
def queue(request):
    """Makes a queue with bounds of the case's own."""
    return lambda bounds: request.param(bounds, Clock())


@pytest.fixture
async def participants(queue) -> AsyncIterator[Participants]:
    # A case that hangs has lost what it waits for.
    async with queue(Bounds()) as participants:
        with anyio.fail_after(20):
            yield participants


@pytest.fixture
async def gateway(participants) -> AbstractBroker:
    return await participants.join("gateway")


@pytest.fixture
async def worker(participants) -> AbstractBroker:
    return await participants.join("worker")


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


# --- Who goes next --------------------------------------------------------------------------------


async def test_within_a_tenant_the_urgent_go_first(gateway, worker):
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        await submit(gateway, job(f"{priority}1", priority=priority))
        await submit(gateway, job(f"{priority}2", priority=priority))
    assert ids(await worker.claim(up_to(4))) == ["high1", "high2", "normal1", "normal2"]
    assert ids(await worker.claim(ALL)) == ["low1", "low2"]


async def test_urgency_is_worth_a_head_start_and_no_more(gateway, worker):
    lead_s = Priority.HIGH.head_start_s - Priority.LOW.head_start_s
    await submit(gateway, job("patient", priority=Priority.LOW))
    await submit(gateway, job("fresh", priority=Priority.HIGH, at=START + lead_s + 1))
    assert ids([await claim_one(worker)]) == ["patient"]
    await submit(gateway, job("impatient", priority=Priority.LOW, at=START + 2))
    assert ids([await claim_one(worker)]) == ["fresh"]


async def test_the_most_urgent_job_decides_the_lane(gateway, worker):
    await submit(gateway, job("1"), job("2", size=8, priority=Priority.HIGH), job("3", size=8))
    assert ids(await worker.claim(ALL)) == ["2", "3"]


async def test_a_tenant_is_not_behind_the_hundred_jobs_of_another(gateway, worker):
    await submit(gateway, *(job(f"a{number}", tenant="a") for number in range(100)))
    await submit(gateway, *(job(f"b{number}", tenant="b") for number in range(10)))
    claimed = [(await claim_one(worker)).job for _ in range(22)]
    assert [each.id for each in claimed if each.terms.tenant == "b"] == [
        f"b{number}" for number in range(10)
    ]


async def test_tenants_share_every_batch(gateway, worker):
    await submit(gateway, *(job(f"a{number}", tenant="a") for number in range(100)))
    await submit(gateway, *(job(f"b{number}", tenant="b") for number in range(10)))
    claimed = [each for _ in range(4) for each in ids(await worker.claim(up_to(8)))]
    assert len(claimed) == 32
    assert sum(each.startswith("b") for each in claimed) == 10


async def test_a_batch_is_filled_with_what_other_tenants_have_in_its_lane(gateway, worker):
    await submit(gateway, job("a1", tenant="a"), job("a2", 8, tenant="a"), job("b1", tenant="b"))
    await submit(gateway, job("b2", 8, tenant="b"), job("b3", tenant="b"), job("c1", tenant="c"))
    batches = [set(ids(await worker.claim(ALL))) for _ in range(2)]
    assert sorted(batches, key=len) == [{"a2", "b2"}, {"a1", "b1", "b3", "c1"}]


async def test_tenants_share_the_time_of_the_device_rather_than_the_number_of_jobs(gateway, worker):
    await learn_pace(gateway, worker, 10.0, tenant="quick", size=3)
    await learn_pace(gateway, worker, 100.0, tenant="slow", size=8)
    await submit(gateway, *(job(f"q{n}", 3, tenant="quick") for n in range(60)))
    await submit(gateway, *(job(f"s{n}", 8, tenant="slow") for n in range(60)))
    claimed = [(await claim_one(worker)).job.terms.tenant for _ in range(44)]
    # 4 of 44 in the long run; where the two start from is worth one or two.
    assert 2 <= claimed.count("slow") <= 7


async def test_a_tenant_that_idled_earned_no_credit(gateway, worker):
    await submit(gateway, job("b", tenant="b"))
    await claim_one(worker)
    await submit(gateway, *(job(f"a{number}", tenant="a") for number in range(80)))
    for _ in range(50):
        await claim_one(worker)
    await submit(gateway, *(job(f"b{number}", tenant="b") for number in range(30)))
    claimed = [(await claim_one(worker)).job.terms.tenant for _ in range(20)]
    assert 8 <= claimed.count("b") <= 12


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


# --- Workers that die, and those that do not ------------------------------------------------------


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


# --- The same request again -----------------------------------------------------------------------


async def _submit_under(
    gateway: AbstractBroker, name: str, key: str, digest: str = "digest", tenant: str = "default"
) -> str:
    return await gateway.submit(
        job(name, key=key, tenant=tenant),
        keep_result=True,
        idempotency=Idempotency(key, digest),
    )


async def test_a_request_that_comes_again_under_its_key_is_the_same_job(
    participants, gateway, worker
):
    assert await _submit_under(gateway, "1", "key") == "1"
    another = await participants.join("another gateway")
    assert await _submit_under(another, "2", "key") == "1"
    assert (await depth(gateway))[0] == 1
    claim = await claim_one(worker, start=True)
    assert await _submit_under(gateway, "3", "key") == "1"
    await answer(worker, claim)
    assert await _submit_under(gateway, "4", "key") == "1"
    assert (await another.result("1")).outputs[0][0] == 7.0
    assert await depth(gateway) == (0, 0)
    with pytest.raises(UnknownJob):
        await gateway.state("2")


async def test_a_key_is_not_to_be_used_for_another_request(gateway, worker):
    await _submit_under(gateway, "1", "key", "digest")
    with pytest.raises(IdempotencyConflict):
        await _submit_under(gateway, "2", "key", "another digest")
    await answer(worker, await claim_one(worker))
    with pytest.raises(IdempotencyConflict):
        await _submit_under(gateway, "2", "key", "another digest")
    assert await depth(gateway) == (0, 0)


async def test_keys_of_different_tenants_are_unrelated(gateway):
    assert await _submit_under(gateway, "1", "key", "digest", tenant="a") == "1"
    assert await _submit_under(gateway, "2", "key", "another digest", tenant="b") == "2"
    assert await _submit_under(gateway, "3", "another key", "digest", tenant="a") == "3"


async def test_a_key_is_forgotten_together_with_the_result(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(result_ttl_s=30.0, lease_s=100.0)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await _submit_under(gateway, "1", "key")
            claim = await claim_one(worker)
            await participants.elapse(50.0)
            assert await _submit_under(gateway, "2", "key") == "1"
            await answer(worker, claim)
            await participants.elapse(29.0)
            assert await _submit_under(gateway, "2", "key") == "1"
            await participants.elapse(2.0)
            assert await _submit_under(gateway, "2", "key", "another digest") == "2"


async def test_a_full_queue_still_knows_the_keys_of_its_jobs(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_jobs=1)) as participants:
            gateway = await participants.join("gateway")
            await _submit_under(gateway, "1", "key")
            assert await _submit_under(gateway, "2", "key") == "1"
            with pytest.raises(QueueFull):
                await _submit_under(gateway, "2", "another key")


# --- Bounds ---------------------------------------------------------------------------------------


BOUNDS = {"count": Bounds(max_jobs=2), "bytes": Bounds(max_bytes=2 * job("1").num_bytes)}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
async def test_a_queue_takes_no_more_than_it_may_hold(queue, bounds):
    with anyio.fail_after(20):
        async with queue(bounds) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await submit(gateway, job("1"), job("2"))
            claim = await claim_one(worker, start=True)
            with pytest.raises(QueueFull) as caught:
                await submit(gateway, job("3"))
            assert caught.value.retry_after_s > 0
            with pytest.raises(UnknownJob):
                await gateway.state("3")
            await answer(worker, claim)
            await submit(gateway, job("3"))
            assert ids(await worker.claim(ALL)) == ["2", "3"]


async def test_a_full_queue_says_how_long_its_work_will_take(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_jobs=3)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await learn_pace(gateway, worker, 2000.0)
            await submit(gateway, job("1"), job("2"), job("3"))
            with pytest.raises(QueueFull) as caught:
                await submit(gateway, job("4"))
            assert caught.value.retry_after_s == pytest.approx(6.0, rel=0.1)


async def test_results_that_are_kept_are_bounded_too(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_result_bytes=8, result_ttl_s=30.0)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await answer(worker, await run_one(gateway, worker, "1"))
            with pytest.raises(QueueFull) as caught:
                await submit(gateway, job("2"), keep_result=True)
            assert caught.value.retry_after_s > 0
            await submit(gateway, job("3"), keep_result=False)
            assert (await gateway.state("1")).status == "succeeded"
            await participants.elapse(31.0)
            await submit(gateway, job("2"), keep_result=True)


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


# --- The memory broker alone ----------------------------------------------------------------------


async def test_memory_does_not_keep_a_whole_batch_alive_for_one_result():
    broker = MemoryBroker()
    batch = np.ones((1000, 3), np.float32)
    claim = await run_one(broker, broker, "1")
    whole = outcome(0.0)
    row = Outcome(MODEL, (batch[5],), True, whole.timings, whole.batch_size, CONTEXT)
    await broker.complete([(claim, row)])
    (kept,) = (await broker.state("1")).outcome.outputs
    assert not np.shares_memory(kept, batch)


async def test_memory_does_not_keep_answers_that_nobody_comes_for():
    clock = Clock()
    broker = MemoryBroker(Bounds(result_ttl_s=30.0), clock)
    await answer(broker, await run_one(broker, broker, "1", keep_result=False))
    clock.now += 31.0
    with pytest.raises(UnknownJob):
        await broker.state("1")


async def test_memory_knows_without_asking_that_it_is_full():
    broker = MemoryBroker(Bounds(max_jobs=1))
    assert broker.fault is None
    assert broker.pressure() is None
    claim = await run_one(broker, broker, "1")
    assert broker.pressure().retry_after_s > 0
    await answer(broker, claim)
    assert broker.pressure() is None
