"""What every store of sessions promises: the first of two changes counts, nothing lives on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from brokers import Clock
from certisolve_server.broker.redis.sessions import RedisSessionStore
from certisolve_server.errors import (
    QueueUnavailable,
    SessionConflict,
    SessionsFull,
    UnknownSession,
)
from certisolve_server.sessions import AbstractSessionStore, MemorySessionStore, Record
from redis_server import RedisServer

pytestmark = pytest.mark.anyio

MAX_BYTES = 100
#: Opens the store as one more process sees it.
Join = Callable[[], Awaitable[AbstractSessionStore]]


@asynccontextmanager
async def in_memory(clock: Clock) -> AsyncIterator[Join]:
    store = MemorySessionStore(MAX_BYTES, clock)

    async def join() -> AbstractSessionStore:
        return store

    yield join


@asynccontextmanager
async def in_redis(clock: Clock) -> AsyncIterator[Join]:
    with TemporaryDirectory() as directory, RedisServer(Path(directory)) as server:
        opened: list[RedisSessionStore] = []

        async def join() -> AbstractSessionStore:
            # Holds two sessions of 30 bytes beside Redis.
            store = RedisSessionStore(server.url, MAX_BYTES, held_bytes=60, clock=clock)
            opened.append(store)
            return store

        yield join
        for store in opened:
            await store.close()


ALL: dict[str, Callable[[Clock], AbstractAsyncContextManager[Join]]] = {
    "memory": in_memory,
    "redis": in_redis,
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ALL.values(), ids=ALL)
async def join(request, clock) -> AsyncIterator[Join]:
    async with request.param(clock) as join:
        yield join


async def test_what_is_kept_is_read_everywhere(join) -> None:
    here, there = await join(), await join()
    data = bytes(range(30))
    await here.create("a", data, 60.0)
    assert await here.read("a") == await there.read("a") == Record(0, data)
    await there.replace("a", 0, b"later")
    assert await here.read("a") == await there.read("a") == Record(1, b"later")


async def test_the_first_of_two_changes_counts_and_the_other_is_told(join) -> None:
    here, there = await join(), await join()
    await here.create("a", b"0", 60.0)
    await here.replace("a", 0, b"1")
    with pytest.raises(SessionConflict):
        await there.replace("a", 0, b"other")
    assert await there.read("a") == Record(1, b"1")
    await there.replace("a", 1, b"2")
    with pytest.raises(SessionConflict):
        await here.replace("a", 1, b"late")


async def test_what_is_deleted_is_unknown(join) -> None:
    here, there = await join(), await join()
    await here.create("a", b"0", 60.0)
    await there.read("a")
    await here.delete("a")
    for store in (here, there):
        with pytest.raises(UnknownSession):
            await store.read("a")
        with pytest.raises(UnknownSession):
            await store.replace("a", 0, b"1")
        with pytest.raises(UnknownSession):
            await store.delete("a")


async def test_a_session_is_forgotten_after_its_time_without_a_call(join, clock) -> None:
    store = await join()
    await store.create("short", b"0", 10.0)
    await store.create("long", b"0", 60.0)
    clock.now += 9
    await store.read("short")  # begins anew
    clock.now += 9
    await store.replace("short", 0, b"1")
    clock.now += 9
    assert await store.read("short") == Record(1, b"1")
    clock.now += 11
    with pytest.raises(UnknownSession):
        await store.read("short")
    with pytest.raises(UnknownSession):
        await store.replace("short", 1, b"2")
    assert await store.read("long") == Record(0, b"0")


async def test_all_sessions_have_a_bound_of_bytes(join, clock) -> None:
    store = await join()
    await store.create("a", bytes(60), 30.0)
    await store.create("b", bytes(40), 90.0)
    with pytest.raises(SessionsFull) as raised:
        await store.create("c", b"0", 60.0)
    assert raised.value.retry_after_s == pytest.approx(30.0)
    # What a session has already counts once.
    await store.replace("a", 0, bytes(50))
    with pytest.raises(SessionsFull):
        await store.replace("a", 1, bytes(61))
    assert await store.read("a") == Record(1, bytes(50))
    await store.create("c", bytes(10), 60.0)
    await store.delete("b")
    await store.create("d", bytes(40), 60.0)


async def test_what_is_forgotten_makes_room(join, clock) -> None:
    store = await join()
    await store.create("a", bytes(100), 10.0)
    clock.now += 11
    await store.create("b", bytes(100), 10.0)
    assert await store.read("b") == Record(0, bytes(100))


async def test_more_sessions_than_a_process_holds_are_read_all_the_same(join) -> None:
    store = await join()
    for name in "abc":
        await store.create(name, name.encode() * 30, 60.0)
    for name in "abcabc":
        assert await store.read(name) == Record(0, name.encode() * 30)


async def test_a_redis_out_of_reach_is_told_and_forgets_nothing(tmp_path) -> None:
    with RedisServer(tmp_path, ("--appendonly", "yes", "--appendfsync", "always")) as server:
        store = RedisSessionStore(server.url, MAX_BYTES)
        await store.create("a", b"0", 60.0)
        server.stop()
        with pytest.raises(QueueUnavailable):
            await store.read("a")
        server.start()
        assert await store.read("a") == Record(0, b"0")
        await store.close()
