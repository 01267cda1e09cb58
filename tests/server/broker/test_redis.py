"""The queue in Redis: what it asks of Redis, and what it bears."""

import asyncio
import logging
import signal

import anyio
import numpy as np
import pytest

from certisolve_server.broker import Bounds, Capacity
from certisolve_server.broker.redis import RedisBroker, UnsafeRedis
from certisolve_server.errors import InternalError, QueueFull, QueueUnavailable
from certisolve_server.jobs import ModelKey, Outcome, SolveContext, SolveJob, Terms, Timings
from redis_server import DURABLE, RedisServer

pytestmark = pytest.mark.anyio

MODEL = ModelKey("m", "1", "digest")
CONTEXT = SolveContext((), {"x": 4}, None, None, diagnostics=True)
ANY = Capacity({MODEL: 8})


def job(job_id: str, size: int = 4, **terms) -> SolveJob:
    field = np.full(size, float(job_id), np.float32)
    return SolveJob(job_id, MODEL, (field,), (), 1.7e9, CONTEXT, Terms(**terms))


def doubled(claim) -> Outcome:
    outputs = tuple(2 * array for array in claim.job.inputs)
    return Outcome(MODEL, outputs, True, Timings(0.0, 0.0, 1.0), 1, CONTEXT)


async def work(broker: RedisBroker) -> None:
    while True:
        try:
            claims = await broker.claim(ANY, start=True)
            await broker.complete([(claim, doubled(claim)) for claim in claims])
        except QueueUnavailable:
            await asyncio.sleep(0.02)


async def solve(gateway: RedisBroker, each: SolveJob) -> float:
    await gateway.submit(each, keep_result=False)
    return float((await gateway.result(each.id)).outputs[0][0])


async def test_a_redis_that_evicts_is_refused_with_the_fix(tmp_path):
    options = ("--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb")
    with RedisServer(tmp_path, options) as server:
        broker = RedisBroker(server.url, "gateway")
        with pytest.raises(UnsafeRedis, match="config set maxmemory-policy noeviction"):
            await broker.check()
        await broker.close()


async def test_a_redis_without_a_log_is_warned_of(tmp_path, caplog):
    with RedisServer(tmp_path) as server:
        broker = RedisBroker(server.url.replace("://", "://:secret@"), "gateway")
        with caplog.at_level(logging.WARNING), pytest.raises((QueueUnavailable, UnsafeRedis)):
            await broker.check()  # it has no password, and says so
        assert "secret" not in caplog.text
        await broker.close()
        broker = RedisBroker(server.url, "gateway")
        await broker.check()
        assert "redis_without_aof" in caplog.text
        await broker.close()


async def test_a_redis_that_is_set_up_well_is_taken_without_a_word(tmp_path, caplog):
    with RedisServer(tmp_path, DURABLE) as server:
        broker = RedisBroker(server.url, "gateway")
        with caplog.at_level(logging.WARNING):
            await broker.check()
        assert caplog.text == ""
        assert broker.fault is None
        await broker.close()


async def test_nobody_there_is_a_named_refusal(tmp_path):
    broker = RedisBroker("redis://127.0.0.1:1/0", "gateway")
    async with broker:
        with pytest.raises(QueueUnavailable, match="cannot be reached"):
            await broker.submit(job("1"), keep_result=True)
        assert broker.fault is not None


@pytest.mark.parametrize("keep_result", [True, False], ids=["kept", "not-kept"])
async def test_answers_survive_a_crash_of_redis(tmp_path, keep_result):
    with RedisServer(tmp_path, DURABLE) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            for number in range(20):
                await gateway.submit(job(str(number)), keep_result=keep_result)
            server.stop(signal.SIGKILL)
            server.start()
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                answers = [await gateway.result(str(number)) for number in range(20)]
            working.cancel()
    assert [outcome.outputs[0][0] for outcome in answers] == [2.0 * n for n in range(20)]


async def test_who_waits_is_answered_even_if_redis_forgets_everything(tmp_path):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            await gateway.submit(job("7"), keep_result=False)
            waiting = asyncio.create_task(gateway.result("7"))
            await asyncio.sleep(0)
            server.stop(signal.SIGKILL)
            server.start()
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                assert (await waiting).outputs[0][0] == 14.0
            working.cancel()


async def test_an_answer_computed_during_an_outage_is_delivered_after_it(tmp_path):
    with RedisServer(tmp_path, DURABLE) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            await gateway.submit(job("3"), keep_result=False)
            [claim] = await worker.claim(ANY, start=True)
            server.stop(signal.SIGKILL)
            completing = asyncio.create_task(worker.complete([(claim, doubled(claim))]))
            await asyncio.wait([completing], timeout=0.2)
            assert not completing.done()
            server.start()
            with anyio.fail_after(20):
                assert await completing == 0
                assert (await gateway.result("3")).outputs[0][0] == 6.0


async def test_a_full_redis_refuses_work_and_still_ends_what_it_has(tmp_path):
    options = ("--maxmemory", "8mb", "--maxmemory-policy", "noeviction")
    with RedisServer(tmp_path, options) as server:
        async with (
            RedisBroker(server.url, "gateway", bounds=Bounds(max_bytes=1 << 40)) as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            accepted: list[int] = []

            async def submit_on_and_on():
                for number in range(200):
                    await gateway.submit(job(str(number), 16_000), keep_result=False)
                    accepted.append(number)

            with pytest.raises(QueueFull, match="memory"):
                await submit_on_and_on()
            assert len(accepted) > 10
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                answers = [await gateway.result(str(number)) for number in accepted]
            working.cancel()
    assert [outcome.outputs[0][0] for outcome in answers] == [2.0 * n for n in accepted]


@pytest.mark.parametrize("size", [4, 200_000], ids=["inline", "shared-memory"])
async def test_large_fields_leave_nothing_behind(tmp_path, size):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway", shared_memory=True) as gateway,
            RedisBroker(server.url, "worker", shared_memory=True) as worker,
        ):
            gateway.set_local_models(frozenset({MODEL}))
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                assert await solve(gateway, job("5", size)) == 10.0
                await gateway.submit(job("6", size), keep_result=True)
                assert (await gateway.result("6")).outputs[0][0] == 12.0
            working.cancel()
            await gateway.submit(job("7", size), keep_result=False)
            await gateway.cancel("7")
            assert gateway._segments is not None
            assert await asyncio.to_thread(_segment_names, gateway._segments) == []


async def test_a_result_that_is_to_be_kept_after_all_is_kept_in_redis(tmp_path):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway", shared_memory=True) as gateway,
            RedisBroker(server.url, "worker", shared_memory=True) as worker,
        ):
            gateway.set_local_models(frozenset({MODEL}))
            await gateway.submit(job("5", 200_000), keep_result=False)
            [claim] = await worker.claim(ANY, start=True)
            assert await gateway.keep("5")
            await worker.complete([(claim, doubled(claim))])
            other = await gateway.state("5")
            assert other.outcome is not None
            assert other.outcome.outputs[0][-1] == 10.0
            await gateway.result("5")
            assert gateway._segments is not None
            assert await asyncio.to_thread(_segment_names, gateway._segments) == []


async def test_submissions_that_meet_share_a_round(tmp_path):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                numbers = range(300)
                answers = await asyncio.gather(*(solve(gateway, job(str(n))) for n in numbers))
            working.cancel()
            depth = await gateway.depth()
    assert answers == [2.0 * n for n in numbers]
    assert (depth.num_jobs, depth.num_bytes) == (0, 0)


async def test_a_caller_that_leaves_while_submitting_leaves_no_job(tmp_path):
    with RedisServer(tmp_path) as server:
        async with RedisBroker(server.url, "gateway") as gateway:
            listeners = set(gateway._tasks)
            submitting = asyncio.create_task(gateway.submit(job("1"), keep_result=False))
            await asyncio.sleep(0)
            submitting.cancel()
            with anyio.fail_after(10):
                await asyncio.gather(submitting, return_exceptions=True)
                [cancelling] = [task for task in gateway._tasks if task not in listeners]
                await cancelling
            assert (await gateway.depth()).num_jobs == 0


async def test_nothing_is_left_in_redis_but_what_is_meant_to_stay(tmp_path):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                for number in range(30):
                    await solve(gateway, job(str(number), tenant=f"t{number}"))
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            keys = await gateway._connection.command("KEYS", "*")
    kinds = {key.decode().split(":")[1] for key in keys}
    assert kinds <= {"job", "counters", "vtime", "pace", "idle", "replies", "wake"}


def _segment_names(segments) -> list[str]:
    from pathlib import Path

    return [path.name for path in Path("/dev/shm").glob(f"{segments._prefix}*")]


async def test_a_job_that_is_kept_after_all_outlives_redis_and_its_gateway(tmp_path):
    with RedisServer(tmp_path, DURABLE) as server:
        async with RedisBroker(server.url, "gateway") as gateway:
            await gateway.submit(job("4"), keep_result=False)
            assert await gateway.keep("4")
        server.stop(signal.SIGKILL)
        server.start()
        async with (
            RedisBroker(server.url, "another gateway") as another,
            RedisBroker(server.url, "worker") as worker,
        ):
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                assert (await another.result("4")).outputs[0][0] == 8.0
            working.cancel()


async def test_what_nobody_waits_for_is_forgotten_after_a_crash(tmp_path):
    with RedisServer(tmp_path, DURABLE) as server:
        async with RedisBroker(server.url, "gateway") as gateway:
            await gateway.submit(job("4"), keep_result=False)
        server.stop(signal.SIGKILL)
        server.start()
        async with (
            RedisBroker(server.url, "another gateway") as another,
            RedisBroker(server.url, "worker") as worker,
        ):
            assert (await another.depth()).num_jobs == 1
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(20):
                assert await solve(another, job("5")) == 10.0
            working.cancel()
            assert (await another.depth()).num_jobs == 0


async def test_a_script_that_redis_refuses_is_an_error_and_the_next_one_runs(tmp_path, caplog):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            key = gateway._connection.key("lanes")
            await gateway._connection.command("SET", key, "of another type")
            with anyio.fail_after(10), pytest.raises(InternalError, match="refused"):
                await gateway.submit(job("1"), keep_result=False)
            assert "WRONGTYPE" in caplog.text
            await gateway._connection.command("DEL", key)
            working = asyncio.create_task(work(worker))
            with anyio.fail_after(10):
                assert await solve(gateway, job("2")) == 4.0
            working.cancel()


async def test_more_jobs_than_one_command_names_are_claimed_at_once(tmp_path):
    with RedisServer(tmp_path) as server:
        async with (
            RedisBroker(server.url, "gateway") as gateway,
            RedisBroker(server.url, "worker") as worker,
        ):
            count = 4050  # two words each: more than Lua unpacks
            await asyncio.gather(
                *(gateway.submit(job(str(n)), keep_result=True) for n in range(count))
            )
            with anyio.fail_after(20):
                claims = await worker.claim(Capacity({MODEL: count}), start=True)
            assert len(claims) == count
