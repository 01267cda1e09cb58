"""Frames on their way through Redis, or beside it: what they leave behind, and what they bear."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import anyio
import numpy as np
import pytest

from certisolve_server.broker import Capacity, Claim
from certisolve_server.broker.redis import RedisBroker
from certisolve_server.broker.redis.replies import Replies
from certisolve_server.errors import QueueUnavailable
from certisolve_server.jobs import (
    Frame,
    ModelKey,
    Outcome,
    SolveContext,
    SolveJob,
    Timings,
    Work,
)
from redis_server import DURABLE, RedisServer

pytestmark = pytest.mark.anyio

MODEL = ModelKey("m", "1", "digest")
ANY = Capacity({MODEL: 8})
SMALL, LARGE = 4, 40_000


def job(count: int, size: int = SMALL, name: str = "1") -> SolveJob:
    context = SolveContext(
        tuple(float(step) for step in range(1, count + 1)), {"x": size}, None, None, True
    )
    work = Work(steps=tuple(range(1, count + 1)), stream=True)
    return SolveJob(name, MODEL, (np.zeros(size, np.float32),), (), 1.7e9, context, work=work)


def frame(claim: Claim, index: int) -> Frame:
    field = np.full(claim.job.inputs[0].shape, index, np.float32)
    return Frame(index, claim.job.context.t[index], (field,))


def whole(claim: Claim) -> Outcome:
    context = claim.job.context
    rows = [frame(claim, index).outputs[0] for index in range(len(context.t))]
    return Outcome(MODEL, (np.stack(rows),), True, Timings(0.0, 0.0, 1.0), 1, context)


async def start_one(gateway: RedisBroker, worker: RedisBroker, sent: SolveJob) -> Claim:
    await gateway.submit(sent, keep_result=False)
    [claim] = await worker.claim(ANY, start=True)
    return claim


async def insist(worker: RedisBroker, claim: Claim, index: int) -> None:
    """Publish a frame until it is heard, as a worker may."""
    while True:
        try:
            await worker.publish([(claim, frame(claim, index))])
        except QueueUnavailable:
            await asyncio.sleep(0.02)
        else:
            return


async def indices(frames: AsyncIterator[Frame]) -> list[int]:
    return [each.index async for each in frames if (each.outputs[0] == each.index).all()]


async def until(look: Callable[[], Awaitable[object]], seen: object) -> None:
    """Look until `seen` is seen."""
    while await look() != seen:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def segment_names(broker: RedisBroker) -> list[str]:
    assert broker._segments is not None
    return [path.name for path in Path("/dev/shm").glob(f"{broker._segments._prefix}*")]


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path) as running:
        yield running


@pytest.fixture
async def gateway(server):
    async with RedisBroker(server.url, "gateway", shared_memory=True) as broker:
        with anyio.fail_after(20):
            yield broker


@pytest.fixture
async def worker(server):
    async with RedisBroker(server.url, "worker", shared_memory=True) as broker:
        yield broker


async def test_large_frames_travel_in_shared_memory_and_leave_nothing_behind(gateway, worker):
    claim = await start_one(gateway, worker, job(3, LARGE))
    frames = gateway.frames("1")
    for index in range(2):
        await worker.publish([(claim, frame(claim, index))])
        read = await anext(frames)
        assert read.index == index
        assert (read.outputs[0] == index).all()
        assert await asyncio.to_thread(segment_names, gateway) == []
    key = gateway._connection.key("replies", "gateway")
    sizes = [
        len(entry[1][b"b"]) for entry in await worker._connection.command("XRANGE", key, "-", "+")
    ]
    assert sizes
    assert max(sizes) < 200
    await worker.complete([(claim, whole(claim))])
    assert await indices(frames) == [2]
    assert (await gateway.result("1")).finite
    assert await asyncio.to_thread(segment_names, gateway) == []


async def test_large_frames_that_nobody_reads_leave_nothing_behind(gateway, worker):
    cancelled = await start_one(gateway, worker, job(3, LARGE))
    await gateway.cancel("1")
    await worker.publish([(cancelled, frame(cancelled, 0))])  # fenced off
    assert await asyncio.to_thread(segment_names, gateway) == []
    claim = await start_one(gateway, worker, job(3, LARGE, "2"))
    gateway._forget("2")  # nobody waits here, which Redis does not know
    await worker.publish([(claim, frame(claim, 0))])
    await until(lambda: asyncio.to_thread(segment_names, gateway), [])


async def test_a_frame_whose_memory_is_gone_is_made_up_for(gateway, worker):
    claim = await start_one(gateway, worker, job(2, LARGE))
    record = worker._records.frame(claim, frame(claim, 0))
    worker._records.remove(record)
    await worker._connection.run("publish", claim.job.id, claim.token, record)
    await worker.publish([(claim, frame(claim, 1))])
    await worker.complete([(claim, whole(claim))])
    assert await indices(gateway.frames("1")) == [0, 1]


async def test_a_worker_hears_only_of_its_own_jobs(server, gateway, worker):
    await start_one(gateway, worker, job(2, name="1"))
    async with RedisBroker(server.url, "another worker") as another:
        await start_one(gateway, another, job(2, name="2"))
        await gateway.cancel("1")
        await gateway.cancel("2")
        assert list(await another.cancelled()) == ["2"]
        assert list(await worker.cancelled()) == ["1"]


async def test_frames_go_on_after_a_crash_of_redis(tmp_path):
    with RedisServer(tmp_path, DURABLE) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            claim = await start_one(gateway, worker, job(5))
            frames = gateway.frames("1")
            with anyio.fail_after(20):
                await worker.publish([(claim, frame(claim, 0)), (claim, frame(claim, 1))])
                assert [(await anext(frames)).index for _ in range(2)] == [0, 1]
                server.stop(signal.SIGKILL)
                with pytest.raises(QueueUnavailable):
                    await worker.publish([(claim, frame(claim, 2))])
                server.start()
                for index in (2, 3):
                    await insist(worker, claim, index)
                    assert (await anext(frames)).index == index
                await worker.complete([(claim, whole(claim))])
                assert await indices(frames) == [4]
                assert (await gateway.result("1")).finite


async def test_a_job_that_redis_forgot_is_streamed_again_from_where_its_reader_is(tmp_path):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            claim = await start_one(gateway, worker, job(5))
            frames = gateway.frames("1")
            with anyio.fail_after(20):
                await worker.publish([(claim, frame(claim, 0)), (claim, frame(claim, 1))])
                assert [(await anext(frames)).index for _ in range(2)] == [0, 1]
                server.stop(signal.SIGKILL)
                server.start()
                claim = await _claim_insistently(worker)
                for index in range(4):
                    await insist(worker, claim, index)
                assert [(await anext(frames)).index for _ in range(2)] == [2, 3]
                await worker.complete([(claim, whole(claim))])
                assert await indices(frames) == [4]


async def _claim_insistently(worker: RedisBroker) -> Claim:
    while True:
        try:
            [claim] = await worker.claim(ANY, start=True)
        except QueueUnavailable:
            await asyncio.sleep(0.02)
        else:
            return claim


async def test_frames_stay_out_of_the_append_only_file(tmp_path):
    mark = b"\xde\xad\xbe\xef" * 4
    with RedisServer(tmp_path, DURABLE) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            claim = await start_one(gateway, worker, job(2))
            sent = replace(frame(claim, 0), outputs=(np.frombuffer(mark, np.float32),))
            await worker.publish([(claim, sent)])
            assert (await anext(gateway.frames("1"))).outputs[0].tobytes() == mark
            logs = await asyncio.to_thread(_logs, server.directory)
            assert b"HSET" in logs
            assert mark not in logs


def _logs(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*.aof"))


async def test_what_a_gateway_has_read_is_deleted(gateway, worker):
    count = 1000
    claim = await start_one(gateway, worker, job(count))
    for first in range(0, count, 50):
        await worker.publish([(claim, frame(claim, first + n)) for n in range(50)])
    frames = gateway.frames("1")
    assert [(await anext(frames)).index for _ in range(count)] == list(range(count))
    key = gateway._connection.key("replies", "gateway")

    async def is_trimmed() -> bool:
        return await worker._connection.command("XLEN", key) <= 300

    await until(is_trimmed, True)


async def test_a_backlog_of_large_entries_is_read_in_small_parts(worker):
    count, size = 48, 2 << 20
    replies = Replies(worker._connection, "gateway", worker._records, lambda: None)
    key = worker._connection.key("replies", "gateway")
    for _ in range(count):
        entry = ("i", "1", "s", "running", "f", "frame", "b", bytes(size))
        await worker._connection.command("XADD", key, "*", *entry)
    left = [count]
    while await replies._read():
        left.append(await worker._connection.command("XLEN", key))
    assert left[-1] == 1  # the last one is deleted with the next
    parts = [before - after for before, after in pairwise(left)]
    assert max(parts) <= 16
    assert len(parts) > count // 16
    await replies.close()


async def test_frames_for_a_gateway_that_is_gone_do_not_pile_up(server, worker):
    async with RedisBroker(server.url, "gateway") as gone:
        claim = await start_one(gone, worker, job(9))
        key = gone._connection.key("replies", "gateway")
    await worker.publish([(claim, frame(claim, 0))])
    ttl_ms = await worker._connection.command("PTTL", key)
    assert 0 < ttl_ms <= 120_000
    await worker._connection.command("PEXPIRE", key, 50_000)
    await worker.publish([(claim, frame(claim, 1))])
    assert 0 < await worker._connection.command("PTTL", key) <= 50_000


async def test_a_full_redis_loses_frames_and_no_answer(tmp_path):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            claim = await start_one(gateway, worker, job(3, LARGE))
            await worker._connection.command("CONFIG", "SET", "maxmemory", "1mb")
            with anyio.fail_after(20):
                for index in range(3):
                    await worker.publish([(claim, frame(claim, index))])
                await worker.complete([(claim, whole(claim))])
                assert await indices(gateway.frames("1")) == [0, 1, 2]
