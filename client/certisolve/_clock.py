"""The time that retries and polls see; passed in, so that tests need not wait."""

import asyncio
import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """A monotonic clock that can be waited on, from either world."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""

    @abstractmethod
    def sleep(self, delay_s: float) -> None:
        """Block for `delay_s` seconds; used by `Client`."""

    @abstractmethod
    async def asleep(self, delay_s: float) -> None:
        """Suspend for `delay_s` seconds; used by `AsyncClient`."""


class SystemClock(Clock):
    """The operating system's."""

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, delay_s: float) -> None:
        time.sleep(delay_s)

    async def asleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
