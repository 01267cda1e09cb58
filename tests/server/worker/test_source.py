"""A worker's side of a broker: what it owes is said in the end, and nothing waits for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import numpy as np
import pytest

from broker_jobs import ALL, job
from certisolve_server.broker import Claim, MemoryBroker
from certisolve_server.jobs import Frame, Work
from certisolve_server.telemetry import Metrics
from certisolve_server.worker.source import Source
from remote_broker import RemoteBroker

pytestmark = pytest.mark.anyio


@pytest.fixture
def broker() -> RemoteBroker:
    return RemoteBroker(MemoryBroker())


@pytest.fixture
async def source(broker) -> AsyncIterator[Source]:
    made = Source(broker, lease_s=15.0, max_unreported=8, metrics=Metrics(), changed=lambda: None)
    reporting = asyncio.create_task(made.report_forever())
    with anyio.fail_after(20):
        yield made
    reporting.cancel()


async def claim_streamed(broker: RemoteBroker) -> Claim:
    await broker.submit(
        replace(job("1"), work=Work(steps=(1, 2, 3), stream=True)), keep_result=False
    )
    [claim] = await broker.claim(ALL, start=True)
    return claim


def frame(index: int) -> Frame:
    return Frame(index, 0.5 * index, (np.zeros(3),))


async def test_frames_that_could_not_be_told_go_with_the_next(broker, source):
    claim = await claim_streamed(broker)
    frames = broker.frames("1")
    source.tell(claim, frame(0))
    assert (await anext(frames)).index == 0
    broker.cut()
    source.tell(claim, frame(1))
    while not broker.num_refusals:
        await anyio.lowlevel.checkpoint()
    broker.mend()
    source.tell(claim, frame(2))
    assert [(await anext(frames)).index for _ in range(2)] == [1, 2]
