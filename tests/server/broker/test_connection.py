"""The connection to Redis, as tasks that may be cancelled use it."""

import asyncio

import anyio
import pytest

from certisolve_server.broker.base import Bounds
from certisolve_server.broker.redis.connection import Connection
from redis_server import RedisServer

pytestmark = pytest.mark.anyio


async def test_a_command_can_be_cancelled_at_any_moment(tmp_path):
    with RedisServer(tmp_path) as server:
        connection = Connection(server.url, "test", Bounds(), None)
        for moment in range(40):
            asking = asyncio.create_task(connection.command("BLPOP", "nothing", 60))
            for _ in range(moment):
                await asyncio.sleep(0)
            asking.cancel()
            with anyio.fail_after(5):
                await asyncio.wait([asking])
            assert asking.cancelled()
        await connection.close()
