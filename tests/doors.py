"""The four doors to a server: sync and async, over HTTP and gRPC, with one way to call them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from certisolve import AsyncClient, Client, Frame, ModelInfo, Solution
from certisolve_server.bench import LocalServer

Inputs = Mapping[str, Any]
#: Solves a list of inputs one after the other on one connection.
SolveAll = Callable[..., list[Solution]]


def solve_sync(url: str, model: str, requests: Sequence[Inputs], **options: Any) -> list[Solution]:
    """By `Client`."""
    with Client(url) as client:
        return [client.solve(model, inputs, **options) for inputs in requests]


def solve_async(url: str, model: str, requests: Sequence[Inputs], **options: Any) -> list[Solution]:
    """By `AsyncClient`."""

    async def solve() -> list[Solution]:
        async with AsyncClient(url) as client:
            return [await client.solve(model, inputs, **options) for inputs in requests]

    return asyncio.run(solve())


def models_sync(url: str) -> list[ModelInfo]:
    """By `Client`."""
    with Client(url) as client:
        return client.models()


def models_async(url: str) -> list[ModelInfo]:
    """By `AsyncClient`."""

    async def models() -> list[ModelInfo]:
        async with AsyncClient(url) as client:
            return await client.models()

    return asyncio.run(models())


#: Name -> URL scheme and call.
DOORS: dict[str, tuple[str, SolveAll]] = {
    "http-sync": ("http", solve_sync),
    "http-async": ("http", solve_async),
    "grpc-sync": ("grpc", solve_sync),
    "grpc-async": ("grpc", solve_async),
}


def solve_through(
    door: str, server: LocalServer, model: str, requests: Sequence[Inputs], **options: Any
) -> list[Solution]:
    """Solve `requests` one after the other through one of `DOORS`."""
    scheme, solve_all = DOORS[door]
    return solve_all(server.url(scheme), model, requests, **options)


class Streamed(NamedTuple):
    """What a stream told: its frames, and the solution that they add up to."""

    frames: list[Frame]
    solution: Solution


def stream_sync(url: str, model: str, inputs: Inputs, **options: Any) -> Streamed:
    """By `Client`."""
    with Client(url) as client, client.stream(model, inputs, **options) as stream:
        frames = list(stream)
        return Streamed(frames, stream.solution(frames))


def stream_async(url: str, model: str, inputs: Inputs, **options: Any) -> Streamed:
    """By `AsyncClient`."""

    async def read() -> Streamed:
        async with (
            AsyncClient(url) as client,
            client.stream(model, inputs, **options) as stream,
        ):
            frames = [frame async for frame in stream]
            return Streamed(frames, stream.solution(frames))

    return asyncio.run(read())


def stream_through(
    door: str, server: LocalServer, model: str, inputs: Inputs, **options: Any
) -> Streamed:
    """Stream a solution through one of `DOORS`."""
    scheme, solve_all = DOORS[door]
    stream = stream_async if solve_all is solve_async else stream_sync
    return stream(server.url(scheme), model, inputs, **options)
