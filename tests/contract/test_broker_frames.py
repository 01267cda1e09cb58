"""Frames of a streamed job reach their reader: each once, in order, and none is lost."""

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import anyio
import numpy as np
import pytest

from broker_jobs import ALL, CONTEXT, LEASE_S, MODEL, claim_one, job, outcome
from brokers import Participants
from certisolve_server.broker import AbstractBroker, Bounds, Claim
from certisolve_server.errors import Cancelled, OutOfRange, UnknownJob
from certisolve_server.jobs import Frame, Outcome, SolveJob, Timings, Work

pytestmark = pytest.mark.anyio

NUM_FRAMES = 6
TIMES = tuple(0.25 * step for step in range(1, NUM_FRAMES + 1))


def streamed(job_id: str = "1", steps: int = NUM_FRAMES) -> SolveJob:
    """A job of as many frames as steps."""
    work = Work(steps=tuple(range(1, steps + 1)), stream=True)
    return replace(job(job_id), work=work, context=replace(CONTEXT, t=TIMES[:steps]))


def frame(index: int, value: float = 0.0) -> Frame:
    """A frame of two outputs that say which it is."""
    return Frame(index, TIMES[index], (np.full(3, index + value, np.float32), np.full(2, -index)))


def whole(claim: Claim, value: float = 0.0, count: int = NUM_FRAMES) -> Outcome:
    """The answer: `count` frames, told as ended early if these are not all."""
    frames = [frame(index, value) for index in range(count)]
    return Outcome(
        model=MODEL,
        outputs=tuple(np.stack(rows) for rows in zip(*(f.outputs for f in frames), strict=True)),
        finite=True,
        timings=Timings(0.0, 0.0, 1.0),
        batch_size=1,
        context=claim.job.context,
        t=None if count == NUM_FRAMES else TIMES[:count],
        ending=None if count == NUM_FRAMES else "diverged",
    )


async def publish(worker: AbstractBroker, claim: Claim, *indices: int, value: float = 0.0) -> None:
    await worker.publish([(claim, frame(index, value)) for index in indices])


async def complete(worker: AbstractBroker, claim: Claim, **kind) -> None:
    assert await worker.complete([(claim, whole(claim, **kind))]) == 0


async def start_one(gateway: AbstractBroker, worker: AbstractBroker, sent: SolveJob) -> Claim:
    await gateway.submit(sent, keep_result=False)
    return await claim_one(worker, start=True)


async def read(frames: AsyncIterator[Frame]) -> list[Frame]:
    return [each async for each in frames]


async def follow(frames: AsyncIterator[Frame], received: list[Frame]) -> None:
    """Add frames to `received` as they come."""
    with contextlib.suppress(StopAsyncIteration):
        while True:
            received.append(await anext(frames))


def told(frames: Sequence[Frame]) -> list[tuple[int, float, float]]:
    """Index, time and first value of frames."""
    return [(f.index, f.t, float(f.outputs[0][0])) for f in frames]


def expected(*indices: int, value: float = 0.0) -> list[tuple[int, float, float]]:
    return told([frame(index, value) for index in indices])


ALL_FRAMES = range(NUM_FRAMES)


async def test_frames_arrive_as_they_were_computed_before_the_job_has_ended(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    assert claim.job.work.stream
    frames = gateway.frames("1")
    for index in ALL_FRAMES:
        sent = frame(index)
        await worker.publish([(claim, sent)])
        received = await anext(frames)
        assert (received.index, received.t) == (index, sent.t)
        for array, original in zip(received.outputs, sent.outputs, strict=True):
            assert array.dtype == original.dtype
            np.testing.assert_array_equal(array, original)
    assert (await gateway.state("1")).status == "running"
    await complete(worker, claim)
    with pytest.raises(StopAsyncIteration):
        await anext(frames)
    assert (await gateway.result("1")).outputs[0].shape == (NUM_FRAMES, 3)


async def test_frames_of_many_jobs_in_one_publication_find_their_readers(gateway, worker):
    for name in "123":
        await gateway.submit(streamed(name), keep_result=False)
    claims = await worker.claim(ALL, start=True)
    pairs = [(claim, index) for index in ALL_FRAMES for claim in claims]
    await worker.publish([(claim, frame(index, 100 * int(claim.job.id))) for claim, index in pairs])
    for claim in claims:
        await complete(worker, claim)
    for name in "123":
        frames = await read(gateway.frames(name))
        # What was told before the end may have been told or taken from the answer.
        assert [each.index for each in frames] == [*ALL_FRAMES]


async def test_a_reader_who_waits_gets_what_comes_at_once(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    received: list[Frame] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, gateway.frames("1"), received)
        await anyio.lowlevel.checkpoint()
        await publish(worker, claim, 0, 1, 2)
        while len(received) < 3:
            await anyio.lowlevel.checkpoint()
        await complete(worker, claim)
    assert told(received) == expected(*ALL_FRAMES)


async def test_frames_that_were_never_told_are_in_the_answer_and_reach_the_reader(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    await publish(worker, claim, 0, 1, 4)
    frames = gateway.frames("1")
    assert told([await anext(frames), await anext(frames)]) == expected(0, 1)
    await publish(worker, claim, 5)
    await complete(worker, claim, value=0.5)
    # Also 4 and 5, which came before what was missing.
    assert told(await read(frames)) == expected(2, 3, 4, 5, value=0.5)


async def test_frames_that_come_twice_or_late_are_told_once(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    frames = gateway.frames("1")
    await publish(worker, claim, 2, 1, 1)
    await publish(worker, claim, 0, 0, 1, 2, 3)
    assert told([await anext(frames) for _ in range(4)]) == expected(0, 1, 2, 3)
    await publish(worker, claim, 3, 2, 4)
    assert told([await anext(frames)]) == expected(4)
    await complete(worker, claim)
    await publish(worker, claim, 5)
    assert told(await read(frames)) == expected(5)


async def test_who_never_reads_blocks_nobody(gateway, worker):
    for name in "12":
        await gateway.submit(streamed(name), keep_result=False)
    claims = await worker.claim(ALL, start=True)
    for index in ALL_FRAMES:
        await worker.publish([(claim, frame(index)) for claim in claims])
    for claim in claims:
        await complete(worker, claim)
    assert (await gateway.result("1")).finite
    assert told(await read(gateway.frames("2"))) == expected(*ALL_FRAMES)


async def test_one_who_comes_after_the_end_reads_all_frames(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    await publish(worker, claim, 0, 1)
    await complete(worker, claim)
    assert (await gateway.state("1", wait_s=5.0)).status == "succeeded"
    assert told(await read(gateway.frames("1"))) == expected(*ALL_FRAMES)
    assert (await gateway.result("1")).finite


async def test_the_successor_of_a_dead_worker_goes_on_where_its_frames_ended(participants, gateway):
    worker = await participants.join("worker")
    claim = await start_one(gateway, worker, streamed())
    frames = gateway.frames("1")
    await publish(worker, claim, 0, 1, 2)
    assert told([await anext(frames) for _ in range(3)]) == expected(0, 1, 2)
    successor, again = await _take_over(participants, gateway)
    assert again.token > claim.token
    for index in ALL_FRAMES:
        await publish(successor, again, index, value=0.5)
    await complete(successor, again, value=0.5)
    assert told(await read(frames)) == expected(3, 4, 5, value=0.5)


async def test_frames_of_a_worker_that_lost_its_job_are_passed_over(participants, gateway, worker):
    zombie = await start_one(gateway, worker, streamed())
    frames = gateway.frames("1")
    await publish(worker, zombie, 0)
    await _take_over(participants, gateway)
    await publish(worker, zombie, 1, 2, value=13.0)
    successor = await participants.join("another successor")
    await participants.elapse(LEASE_S + 1)
    await gateway.reap()
    claim = await claim_one(successor, start=True)
    await publish(worker, zombie, 1, 2, value=13.0)
    await publish(successor, claim, 0, 1, value=0.5)
    assert told([await anext(frames), await anext(frames)]) == [
        *expected(0),
        *expected(1, value=0.5),
    ]
    await complete(successor, claim, value=0.5)
    assert told(await read(frames)) == expected(2, 3, 4, 5, value=0.5)


async def _take_over(
    participants: Participants, gateway: AbstractBroker
) -> tuple[AbstractBroker, Claim]:
    """Let the lease of the one job run out; another worker that has it then."""
    await participants.elapse(LEASE_S + 1)
    assert (await gateway.reap()).num_redelivered == 1
    successor = await participants.join("successor")
    return successor, await claim_one(successor, start=True)


async def test_an_answer_that_ended_early_has_the_frames_that_are_good(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    await publish(worker, claim, 0, 1)
    await complete(worker, claim, count=3)
    assert told(await read(gateway.frames("1"))) == expected(0, 1, 2)
    answer = await gateway.result("1")
    assert (answer.ending, answer.t) == ("diverged", TIMES[:3])


async def _fail(gateway: AbstractBroker, worker: AbstractBroker, claim: Claim) -> None:
    assert await worker.fail(claim, OutOfRange("too large"))


async def _cancel(gateway: AbstractBroker, worker: AbstractBroker, claim: Claim) -> None:
    await gateway.cancel(claim.job.id)


@pytest.mark.parametrize(("end", "error"), [(_fail, OutOfRange), (_cancel, Cancelled)])
async def test_a_reader_is_let_go_when_the_job_ends_without_an_answer(gateway, worker, end, error):
    claim = await start_one(gateway, worker, streamed())
    frames, received = gateway.frames("1"), []
    await publish(worker, claim, 0, 2)
    received.append(await anext(frames))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, frames, received)
        await anyio.lowlevel.checkpoint()
        await end(gateway, worker, claim)
    assert told(received) == expected(0)
    state = await gateway.state("1") if end is _cancel else None
    if state is not None:
        assert isinstance(state.error, error)
    else:
        with pytest.raises(error):
            await gateway.result("1")


async def test_a_job_that_is_cancelled_elsewhere_lets_its_reader_go(participants, gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    await publish(worker, claim, 0)
    frames = gateway.frames("1")
    assert told([await anext(frames)]) == expected(0)
    await (await participants.join("another gateway")).cancel("1")
    assert await read(frames) == []


async def test_of_a_model_that_does_not_advance_the_answer_is_the_one_frame(gateway, worker):
    sent = replace(job("1"), work=Work(stream=True))
    claim = await start_one(gateway, worker, sent)
    assert await worker.complete([(claim, outcome(7.0))]) == 0
    [only] = await read(gateway.frames("1"))
    assert (only.index, only.t, only.outputs[0].tolist()) == (0, CONTEXT.t[-1], [7.0] * 3)


async def test_frames_of_a_job_that_was_kept_after_all_reach_their_reader(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    frames = gateway.frames("1")
    await publish(worker, claim, 0)
    assert told([await anext(frames)]) == expected(0)
    assert await gateway.keep("1")
    await complete(worker, claim)
    assert told(await read(frames)) == expected(1, 2, 3, 4, 5)
    assert (await gateway.state("1")).outcome is not None


async def test_only_streamed_jobs_that_wait_for_their_answer_have_frames(gateway, worker):
    kept, plain = streamed("kept"), replace(streamed("plain"), work=Work(steps=(1, 2)))
    await gateway.submit(kept, keep_result=True)
    await gateway.submit(plain, keep_result=False)
    claims = await worker.claim(ALL, start=True)
    await worker.publish([(claim, frame(0)) for claim in claims])  # harms nobody
    for name in ("kept", "plain", "nobody's"):
        with pytest.raises(UnknownJob):
            await anext(gateway.frames(name))


async def test_once_the_end_was_read_there_are_no_frames(gateway, worker):
    claim = await start_one(gateway, worker, streamed())
    await complete(worker, claim)
    await gateway.result("1")
    with pytest.raises(UnknownJob):
        await anext(gateway.frames("1"))


@pytest.mark.parametrize("seed", range(4))
async def test_every_frame_is_read_once_and_in_order_whatever_becomes_of_it(queue, seed):
    rng = random.Random(seed)
    names = [str(number) for number in range(8)]

    async with queue(Bounds(lease_s=1.0, max_deliveries=100)) as participants:
        gateway = await participants.join("gateway")
        received: dict[str, list[int]] = {}

        async def follow(name: str) -> None:
            await gateway.submit(streamed(name), keep_result=False)
            indices = received[name] = []
            async for each in gateway.frames(name):
                indices.append(each.index)
                for _ in range(rng.randint(0, 5)):
                    await anyio.lowlevel.checkpoint()
            assert (await gateway.result(name)).finite

        with anyio.fail_after(60):
            async with anyio.create_task_group() as workers:
                for name in ("worker-a", "worker-b"):
                    workers.start_soon(_stream_carelessly, participants, name, rng)
                async with anyio.create_task_group() as readers:
                    for name in names:
                        readers.start_soon(follow, name)
                workers.cancel_scope.cancel()
    assert received == {name: [*ALL_FRAMES] for name in names}


async def _stream_carelessly(participants: Participants, name: str, rng: random.Random) -> None:
    """Take jobs and lose frames, repeat them, mix them up, or forget the job half way."""
    worker = await participants.join(name)
    while True:
        for claim in await worker.claim(ALL, start=True):
            for index in ALL_FRAMES:
                indices = rng.sample(ALL_FRAMES, rng.randint(0, 3))
                await publish(worker, claim, index, *indices)
            if rng.random() < 0.3:
                await participants.elapse(1.1)
                await worker.reap()
            await worker.complete([(claim, whole(claim))])
