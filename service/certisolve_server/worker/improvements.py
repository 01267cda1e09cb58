"""Certificates of one job that get better: told now and then, the best one kept."""

import asyncio
import time

import numpy as np
import orjson

from certisolve_server.certification import channel
from certisolve_server.jobs import Frame

from .held import Held

#: Between two that are told: to one who reads them as they come, and to those who look in.
_PAUSE_S, _LONG_PAUSE_S = 0.1, 0.5


class Improvements:
    """The certificates that a prover tells of a job, until it is closed.

    Arguments:
        held: the job.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._pause_s = _PAUSE_S if held.job.work.stream else _LONG_PAUSE_S
        self._began = time.monotonic()
        self._told_at = -self._pause_s
        self._count = 0
        self._newest: bytes | None = None
        self._whole: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None

    def put(self, payload: bytes) -> None:
        """Take in one that is better, and tell it soon, without its evidence, unless another comes.

        Args:
            payload: of a message: the certificate without its evidence, and whole.
        """
        self._newest, self._whole = channel.split(payload)
        if self._timer is None:
            due_s = max(0.0, self._told_at + self._pause_s - self._elapsed_s)
            self._timer = asyncio.get_running_loop().call_later(due_s, self._tell)

    def close(self) -> None:
        """Tell no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cut_short(self, why: str) -> bytes | None:
        """The best as the answer, of a search without an end of its own; None without a bound."""
        if self._whole is None:
            return None
        said = orjson.loads(self._whole)
        if said["upper"] is None:
            return None
        methods = {**said["methods"], "search": f"was cut short: {why}"}
        return orjson.dumps({**said, "status": "budget_exhausted", "methods": methods})

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _tell(self) -> None:
        self._timer = None
        assert self._newest is not None, "told once it is there"
        self._told_at = self._elapsed_s
        outputs = (np.frombuffer(self._newest, np.uint8),)
        frame = Frame(self._count, self._told_at, outputs)
        self._count += 1
        self._held.source.tell(self._held.claim, frame)
