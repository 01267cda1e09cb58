"""Patience with a queue that is out of reach."""

import asyncio
import logging

from certisolve_server.errors import QueueUnavailable

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0


class Outage:
    """Pauses that grow from failure to failure; the log hears of the first and of the end."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_PAUSE_S
        self._lasts = False

    async def wait(self, error: Exception) -> None:
        """Pause after a failure."""
        if not self._lasts:
            self._lasts = True
            known = isinstance(error, QueueUnavailable)
            _log.warning("queue_out_of_reach error=%s", error, exc_info=None if known else error)
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)

    def over(self) -> None:
        """Take note of a success."""
        if self._lasts:
            _log.warning("queue_back")
            self._lasts = False
            self._pause_s = _FIRST_PAUSE_S
