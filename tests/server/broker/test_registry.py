"""Workers are found while they live, and their models for a while after."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from certisolve_server.broker.fleet import Placement, WorkerCard
from certisolve_server.broker.redis import RedisBroker, RedisRegistry
from certisolve_server.catalog import Catalog
from certisolve_server.errors import QueueUnavailable
from certisolve_server.jobs import ModelKey
from certisolve_server.processes.gateway import Directory
from helpers import field_manifest
from redis_server import RedisServer

pytestmark = pytest.mark.anyio

DOUBLE = ModelKey("double", "1", "d" * 64)
MANIFESTS = {DOUBLE.digest: field_manifest("double").to_json()}


@pytest.fixture
def redis(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def registry(redis) -> AsyncIterator[RedisRegistry]:
    registry = RedisRegistry(redis.url)
    yield registry
    await registry.close()


def card(name: str = "a", *, ready: bool = True, host: str = "here", state: str = "serving"):
    placement = Placement(DOUBLE, ready, "" if ready else "golden outputs differ")
    return WorkerCard(name, "cpu", f"127.0.0.1:{len(name)}", host, state, (placement,))


async def directory(redis, registry, catalog: Catalog, clock=lambda: 0.0) -> Directory:
    broker = RedisBroker(redis.url, "gateway")
    found = Directory(registry, catalog, broker, clock)
    await found.refresh()
    await broker.close()
    return found


def test_a_card_survives_the_way_there_and_back():
    assert WorkerCard.from_json(card().to_json()) == card()


async def test_an_announced_worker_is_found_with_its_models(registry):
    await registry.announce(card(), MANIFESTS)
    fleet = await registry.fleet()
    assert fleet.workers == (card(),)
    assert fleet.manifests == MANIFESTS


async def test_a_worker_that_withdrew_is_gone_and_its_models_are_remembered(registry):
    await registry.announce(card(), MANIFESTS)
    await registry.withdraw("a")
    fleet = await registry.fleet()
    assert fleet.workers == ()
    assert fleet.manifests == MANIFESTS


async def test_a_change_is_heard_at_once(registry, redis):
    listener = RedisRegistry(redis.url)
    heard = asyncio.create_task(listener.wait_for_change())
    async with asyncio.timeout(1.5):  # without a word it would return after two seconds
        while not heard.done():
            await registry.announce(card(state=f"state {id(object())}"), MANIFESTS)
            await asyncio.wait([heard], timeout=0.02)
    await listener.close()


async def test_a_catalog_names_the_workers_of_each_model(registry, redis):
    await registry.announce(card("a"), MANIFESTS)
    await registry.announce(card("bb"), MANIFESTS)
    await registry.announce(card("ccc", state="starting"), MANIFESTS)
    catalog = Catalog()
    await directory(redis, registry, catalog)
    entry = catalog.find("double")
    assert entry.ready
    assert sorted(worker.name for worker in entry.workers) == ["a", "bb"]


async def test_a_model_outlives_its_last_worker_for_a_minute(registry, redis):
    now = 0.0
    await registry.announce(card(), MANIFESTS)
    catalog = Catalog()
    found = await directory(redis, registry, catalog, lambda: now)
    await registry.withdraw("a")
    now = 59.0
    await found.refresh()
    assert catalog.find("double").ready
    assert catalog.find("double").workers == ()
    now = 61.0
    await found.refresh()
    assert not catalog.find("double").ready


async def test_a_model_that_no_worker_could_load_says_why(registry, redis):
    await registry.announce(card(ready=False), MANIFESTS)
    catalog = Catalog()
    await directory(redis, registry, catalog)
    assert not catalog.find("double").ready
    assert catalog.find("double").fault == "golden outputs differ"


async def test_a_catalog_stays_as_it_is_while_redis_is_away(registry, redis):
    await registry.announce(card(), MANIFESTS)
    catalog = Catalog()
    found = await directory(redis, registry, catalog)
    redis.stop()
    await found.refresh()
    assert catalog.find("double").ready
    with pytest.raises(QueueUnavailable):
        await registry.announce(card(), MANIFESTS)


async def test_shared_memory_is_for_models_of_this_machine_alone(registry, redis):
    broker = RedisBroker(redis.url, "gateway", shared_memory=True)
    found = Directory(registry, Catalog(), broker)
    await registry.announce(card("a", host=broker.host), MANIFESTS)
    await found.refresh()
    assert broker._records.local_models == ({DOUBLE} if broker.host else frozenset())
    await registry.announce(card("bb", host="elsewhere"), MANIFESTS)
    await found.refresh()
    assert broker._records.local_models == frozenset()
    await broker.close()


async def test_a_full_redis_leaves_a_worker_unannounced_and_alive(tmp_path):
    with RedisServer(tmp_path, ("--maxmemory", "1")) as server:
        registry = RedisRegistry(server.url)
        with pytest.raises(QueueUnavailable):
            await registry.announce(card(), MANIFESTS)
        await registry.close()
