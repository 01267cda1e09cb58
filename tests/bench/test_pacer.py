import asyncio
import time

import pytest

from certisolve_server.bench.pacer import paced


@pytest.mark.anyio
async def test_due_times_come_in_order_and_not_early():
    start = time.perf_counter()
    due_at = [start + 0.002 * index for index in range(20)]
    async with paced(due_at) as queue:
        seen = [(await queue.get(), time.perf_counter()) for _ in due_at]
        assert await queue.get() is None
    assert [due for due, _ in seen] == due_at
    assert all(at >= due for due, at in seen)


@pytest.mark.anyio
async def test_leaving_early_stops_the_thread():
    async with asyncio.timeout(5):
        async with paced([time.perf_counter() + 3600]) as queue:
            assert queue.empty()
