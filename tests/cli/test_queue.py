"""The commands around a queue in Redis, against a real one."""

import asyncio
import json

import numpy as np
import pytest

from certisolve_server.broker import Bounds, Capacity
from certisolve_server.broker.redis import RedisBroker
from certisolve_server.jobs import ModelKey, SolveContext, SolveJob
from redis_server import DURABLE, RedisServer

MODEL = ModelKey("burgers", "1", "digest")


@pytest.fixture
def redis(tmp_path):
    with RedisServer(tmp_path, DURABLE) as server:
        yield server


@pytest.fixture
def dead_job(redis) -> str:
    """A job that was running whenever its worker died."""

    async def die() -> None:
        bounds, now = Bounds(max_deliveries=1), 1.7e9
        broker = RedisBroker(redis.url, "w1", bounds=bounds, clock=lambda: now)
        async with broker:
            context = SolveContext((), {}, None, None, diagnostics=True)
            job = SolveJob("poison", MODEL, (np.ones(3, np.float32),), (), now, context)
            await broker.submit(job, keep_result=True)
            await broker.claim(Capacity({MODEL: 1}), start=True)
            now += bounds.lease_s + 1
            assert (await broker.reap()).num_dead == 1

    asyncio.run(die())
    return "poison"


def test_an_empty_queue_says_so(call, redis):
    result = call("queue", "status", "--broker", redis.url)
    assert result.exit_code == 0, result.output
    assert "0 jobs" in result.stdout
    assert "no worker is alive" in result.stdout
    assert "no job was put aside" in call("queue", "dead", "--broker", redis.url).stdout


def test_the_status_is_there_for_programs(call, redis, dead_job):
    document = json.loads(call("queue", "status", "--json", "--broker", redis.url).stdout)
    assert (document["num_jobs"], document["num_dead"], document["workers"]) == (0, 1, [])


def test_a_job_that_was_put_aside_is_listed_with_the_reason(call, redis, dead_job):
    result = call("queue", "dead", "--broker", redis.url)
    for text in (dead_job, "burgers", "it was running when its worker died, 1 times", "w1"):
        assert text in result.stdout
    [letter] = json.loads(call("queue", "dead", "--json", "--broker", redis.url).stdout)
    assert (letter["id"], letter["deliveries"]) == (dead_job, 1)


def test_a_job_that_was_put_aside_can_be_queued_again_once(call, refuse, redis, dead_job):
    assert f"/v1/jobs/{dead_job}" in call("queue", "replay", dead_job, "--broker", redis.url).stdout
    assert "1 jobs" in call("queue", "status", "--broker", redis.url).stdout
    assert "was put aside" in refuse("queue", "replay", dead_job, "--broker", redis.url)


def test_purging_forgets_one_or_all(call, refuse, redis, dead_job):
    assert "ghost" in refuse("queue", "purge", "ghost", "--broker", redis.url)
    assert "forgot 1" in call("queue", "purge", dead_job, "--broker", redis.url).stdout
    assert "forgot 0" in call("queue", "purge", "--yes", "--broker", redis.url).stdout


@pytest.mark.parametrize("command", ["status", "dead"])
def test_a_queue_out_of_reach_is_one_line(refuse, command):
    line = refuse("queue", command, "--broker", "redis://127.0.0.1:1/0")
    assert "cannot be reached" in line


def test_a_queue_in_memory_is_no_queue_to_ask(refuse):
    assert "--broker redis://" in refuse("queue", "status")


@pytest.mark.parametrize("process", ["gateway", "worker"])
def test_a_gateway_or_worker_without_a_redis_is_refused(refuse, small_models, process):
    assert "--broker redis://" in refuse(process)


def test_serve_does_not_take_a_redis(refuse, small_models):
    line = refuse("serve", "--models", small_models, "--broker", "redis://127.0.0.1:1/0")
    assert "certisolve gateway" in line


def test_doctor_says_whether_a_redis_keeps_what_it_accepts(call, redis, small_models, tmp_path):
    arguments = ("--json", "--models", small_models)
    result = call("doctor", *arguments, "--broker", redis.url)
    found = {f["section"]: f for f in json.loads(result.stdout)}
    assert found["queue"]["level"] == "ok"
    evicting = tmp_path / "evicting"
    evicting.mkdir()
    with RedisServer(evicting, ("--maxmemory-policy", "allkeys-lru")) as other:
        result = call("doctor", *arguments, "--broker", other.url)
    found = {f["section"]: f for f in json.loads(result.stdout)}
    assert found["queue"]["level"] == "error"
    assert "noeviction" in found["queue"]["detail"]
