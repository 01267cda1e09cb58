"""The queue of a case and the processes around it, for every broker."""

from collections.abc import AsyncIterator

import anyio
import pytest

from brokers import Clock, Participants, all_brokers
from certisolve_server.broker import AbstractBroker, Bounds


@pytest.fixture(params=all_brokers.values(), ids=all_brokers)
def queue(request):
    """Makes a queue with bounds of the case's own."""
    return lambda bounds: request.param(bounds, Clock())


@pytest.fixture
async def participants(queue) -> AsyncIterator[Participants]:
    # A case that hangs has lost what it waits for.
    async with queue(Bounds()) as participants:
        with anyio.fail_after(20):
            yield participants


@pytest.fixture
async def gateway(participants) -> AbstractBroker:
    return await participants.join("gateway")


@pytest.fixture
async def worker(participants) -> AbstractBroker:
    return await participants.join("worker")
