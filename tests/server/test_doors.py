"""The doors of a server, before anybody has gone through them."""

import asyncio
import socket

import httpx
import pytest

from certisolve_server.broker import Bounds, MemoryBroker
from certisolve_server.catalog import Catalog
from certisolve_server.dataplane import DataPlane, Limits
from certisolve_server.doors import open_doors
from certisolve_server.settings import Settings
from certisolve_server.telemetry import Metrics

pytestmark = pytest.mark.anyio


async def test_who_knows_the_address_is_never_refused() -> None:
    dataplane = DataPlane(
        Catalog(), MemoryBroker(Bounds()), Limits(max_body_bytes=1024, max_wait_s=1.0), Metrics()
    )
    async with open_doors(Settings(port=0, grpc_port=0), dataplane) as doors:
        # Nobody accepts yet: the connection waits.
        address = httpx.URL(doors.addresses.http)
        early = await asyncio.to_thread(socket.create_connection, (address.host, address.port), 5)
        serving = asyncio.create_task(doors.serve())
        with early:
            early.settimeout(5)
            await asyncio.to_thread(
                early.sendall, b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n"
            )
            assert (await asyncio.to_thread(early.recv, 1024)).startswith(b"HTTP/1.1 200")
        doors.stop()
        await serving
