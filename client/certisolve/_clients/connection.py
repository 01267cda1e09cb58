"""A connection to a server: what is there, and jobs of it."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from certisolve._calls import (
    Call,
    Reply,
    build_model,
    build_models,
    check_tenant,
    check_timeout,
    read_model,
    read_models,
)
from certisolve._certificate import Certificate
from certisolve._clock import Clock, SystemClock
from certisolve._config import DEFAULT_TIMEOUT_S
from certisolve._jobs import AsyncJob, Job, apoll, poll, rest_of
from certisolve._open import open_async_transport, open_transport
from certisolve._results import JobInfo, ModelInfo, Solution
from certisolve._retry import RetryPolicy
from certisolve._sending import asender, sender
from certisolve._solves import Defaults
from certisolve._transports.base import AsyncTransport, Transport

#: What a call may be answered with that would rather wait than become a job.
T = TypeVar("T", Solution, Certificate)


class Connection:
    """Holds what every call of a client needs; see `Client` for the arguments."""

    def __init__(
        self,
        url: str,
        *,
        tenant: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._defaults = Defaults(check_tenant(tenant), check_timeout(timeout))
        self._retry = retry or RetryPolicy()
        self._transport = transport or open_transport(url)
        self._clock = clock or SystemClock()
        self._send = sender(self._transport.send, self._retry, self._clock)

    def models(self) -> list[ModelInfo]:
        """Every version of every model on the server."""
        return read_models(self._send(build_models(self._defaults.timeout_s)))

    def model(self, name: str, version: str | None = None) -> ModelInfo:
        """One version of a model, the newest unless named.

        Raises:
            NotFound: no such model or version.
        """
        return read_model(self._send(build_model(name, version, self._defaults.timeout_s)))

    def job(self, job_id: str) -> Job[Any]:
        """A handle on a job submitted earlier, perhaps by another process; asks no server."""
        return Job(
            job_id,
            send=self._send,
            stream=self._transport.stream,
            clock=self._clock,
            retry=self._retry,
            timeout_s=self._defaults.timeout_s,
        )

    def close(self) -> None:
        """Release the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, call: Call, read: Callable[[Reply], T | JobInfo]) -> T:
        """What a call ends with, also where it became a job because it took the server too long."""
        started_at = self._clock.monotonic()
        answer = read(self._send(call))
        if not isinstance(answer, JobInfo):
            return answer
        polls = rest_of(call, answer, started_at, self._clock.monotonic())
        ended: T = poll(self._send, self._clock, polls)
        return ended


class AsyncConnection:
    """As `Connection`, with `await`."""

    def __init__(
        self,
        url: str,
        *,
        tenant: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        transport: AsyncTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._defaults = Defaults(check_tenant(tenant), check_timeout(timeout))
        self._retry = retry or RetryPolicy()
        self._transport = transport or open_async_transport(url)
        self._clock = clock or SystemClock()
        self._send = asender(self._transport.asend, self._retry, self._clock)

    async def models(self) -> list[ModelInfo]:
        """As `Client.models`."""
        return read_models(await self._send(build_models(self._defaults.timeout_s)))

    async def model(self, name: str, version: str | None = None) -> ModelInfo:
        """As `Client.model`."""
        return read_model(await self._send(build_model(name, version, self._defaults.timeout_s)))

    def job(self, job_id: str) -> AsyncJob[Any]:
        """As `Client.job`; asks no server, so there is nothing to await."""
        return AsyncJob(
            job_id,
            send=self._send,
            stream=self._transport.astream,
            clock=self._clock,
            retry=self._retry,
            timeout_s=self._defaults.timeout_s,
        )

    async def aclose(self) -> None:
        """As `Client.close`."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _answer(self, call: Call, read: Callable[[Reply], T | JobInfo]) -> T:
        """What a call ends with, also where it became a job because it took the server too long."""
        started_at = self._clock.monotonic()
        answer = read(await self._send(call))
        if not isinstance(answer, JobInfo):
            return answer
        polls = rest_of(call, answer, started_at, self._clock.monotonic())
        ended: T = await apoll(self._send, self._clock, polls)
        return ended
