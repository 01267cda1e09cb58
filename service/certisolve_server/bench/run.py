"""One measurement from beginning to end, in an event loop of its own."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .door import AbstractDoor
from .load import Bounds, OnProgress, closed_loop, open_loop
from .measurement import Measurement
from .schedule import poisson_arrivals


@dataclass(frozen=True, slots=True)
class Load:
    """What a server is put under.

    Attributes:
        num_connections: users of a closed loop; most requests under way in an open one.
        bounds: when to stop.
        rate: mean requests per second of an open loop; None for a closed one.
        seed: of the arrival times.
        warm_up_s: seconds of the closed loop before anything is counted.
    """

    num_connections: int
    bounds: Bounds
    rate: float | None = None
    seed: int = 0
    warm_up_s: float = 0.5


def measure(
    door: AbstractDoor,
    requests: Sequence[bytes],
    load: Load,
    on_progress: OnProgress | None = None,
) -> Measurement:
    """What the server behind `door` makes of `load`.

    Args:
        door: where to.
        requests: prepared bodies, sent in turn.
        load: how much, how long.
        on_progress: called now and then with the number of answers.

    Raises:
        OSError: nobody listens.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_measure(door, requests, load, on_progress))


async def _measure(
    door: AbstractDoor, requests: Sequence[bytes], load: Load, on_progress: OnProgress | None
) -> Measurement:
    warm_up = Bounds(load.warm_up_s, load.bounds.max_requests, load.bounds.grace_s)
    if load.rate is None:
        if load.warm_up_s:
            await closed_loop(door, requests, load.num_connections, warm_up)
        return await closed_loop(door, requests, load.num_connections, load.bounds, on_progress)
    if load.warm_up_s:
        await closed_loop(door, requests, 1, warm_up)
    rng, bounds = np.random.default_rng(load.seed), load.bounds
    due_s = poisson_arrivals(rng, load.rate, bounds.duration_s, bounds.max_requests)
    return await open_loop(door, requests, due_s, load.num_connections, bounds, on_progress)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop
