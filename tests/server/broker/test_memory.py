"""The queue in memory: what it keeps, and what it knows by itself."""

import numpy as np
import pytest

from broker_jobs import CONTEXT, MODEL, answer, outcome, run_one
from brokers import Clock
from certisolve_server.broker import Bounds, MemoryBroker
from certisolve_server.errors import UnknownJob
from certisolve_server.jobs import Outcome

pytestmark = pytest.mark.anyio


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
