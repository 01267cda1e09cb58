"""The door to a server for asyncio: every verb of `Client`, with `await`."""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from ._arguments import check_name
from ._arrays import Array, Tensor
from ._calls import (
    Call,
    Priority,
    build_model,
    build_models,
    check_tenant,
    check_timeout,
    read_model,
    read_models,
)
from ._certificate import Certificate
from ._certify import Question, build_certify
from ._clock import Clock, SystemClock
from ._config import DEFAULT_TIMEOUT_S
from ._derivatives import Derivative, Where, build_derivative, read_derivative
from ._job_calls import read_certify, read_job, read_solve
from ._jobs import AsyncJob, apoll, draw_key, rest_of
from ._open import open_async_transport
from ._results import ModelInfo, Solution
from ._retry import RetryPolicy
from ._sending import asender
from ._session_calls import Manner, build_get, build_open, build_restore, read_session
from ._sessions import AsyncSession
from ._solves import Asked, Defaults, build_solve
from ._streams import AsyncStream
from ._transports.base import AsyncTransport


class AsyncClient:
    """A certisolve server, for asyncio: as `Client`, with `await`.

    Args:
        url: as for `Client`.
        tenant: as for `Client`.
        timeout: as for `Client`.
        retry: as for `Client`.
        transport: as for `Client`.
        clock: as for `Client`.
    """

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

    async def solve(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        parameters: Mapping[str, float] | None = None,
        t: float | Sequence[float] | Array | None = None,
        steps: int | None = None,
        save_every: int | None = None,
        resume_from: int | None = None,
        version: str | None = None,
        tolerance: float | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        diagnostics: bool = True,
        priority: Priority = "normal",
        idempotency_key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Client.solve`
    ) -> Solution:
        """As `Client.solve`."""
        asked: Asked = {
            "parameters": parameters,
            "t": t,
            "steps": steps,
            "save_every": save_every,
            "resume_from": resume_from,
            "version": version,
            "tolerance": tolerance,
            "rtol": rtol,
            "atol": atol,
            "diagnostics": diagnostics,
            "priority": priority,
            "timeout": timeout,
        }
        call = build_solve("solve", model, inputs, asked, self._defaults, idempotency_key)
        started_at = self._clock.monotonic()
        answer = read_solve(await self._send(call))
        if isinstance(answer, Solution):
            return answer
        polls = rest_of(call, answer, started_at, self._clock.monotonic())
        solution: Solution = await apoll(self._send, self._clock, polls)
        return solution

    async def submit_solve(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        idempotency_key: str | None = None,
        **asked: Unpack[Asked],
    ) -> AsyncJob[Solution]:
        """As `Client.submit_solve`."""
        key = draw_key() if idempotency_key is None else idempotency_key
        call = build_solve("submit_solve", model, inputs, asked, self._defaults, key)
        return self.job(read_job(await self._send(call)).info.id)

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        **asked: Unpack[Asked],
    ) -> AsyncStream:
        """As `Client.stream`; asks no server yet, so there is nothing to await."""
        call = build_solve("stream", model, inputs, asked, self._defaults)
        return AsyncStream(
            call, stream=self._transport.astream, clock=self._clock, retry=self._retry
        )

    async def jvp(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        tangents: Mapping[str, Tensor],
        *,
        parameter_tangents: Mapping[str, Tensor] | None = None,
        **where: Unpack[Where],
    ) -> Derivative:
        """As `Client.jvp`."""
        call = build_derivative(
            "jvp", model, inputs, tangents, parameter_tangents, where, self._defaults
        )
        return read_derivative(call, await self._send(call))

    async def vjp(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        cotangents: Mapping[str, Tensor],
        **where: Unpack[Where],
    ) -> Derivative:
        """As `Client.vjp`."""
        call = build_derivative("vjp", model, inputs, cotangents, None, where, self._defaults)
        return read_derivative(call, await self._send(call))

    async def certify(
        self, model: str, *, idempotency_key: str | None = None, **question: Unpack[Question]
    ) -> Certificate:
        """As `Client.certify`."""
        call = build_certify("certify", model, question, self._defaults, idempotency_key)
        started_at = self._clock.monotonic()
        answer = read_certify(await self._send(call))
        if isinstance(answer, Certificate):
            return answer
        polls = rest_of(call, answer, started_at, self._clock.monotonic())
        certificate: Certificate = await apoll(self._send, self._clock, polls)
        return certificate

    async def submit_certify(
        self, model: str, *, idempotency_key: str | None = None, **question: Unpack[Question]
    ) -> AsyncJob[Certificate]:
        """As `Client.submit_certify`."""
        key = draw_key() if idempotency_key is None else idempotency_key
        call = build_certify("submit_certify", model, question, self._defaults, key)
        return self.job(read_job(await self._send(call)).info.id)

    async def certify_stream(
        self, model: str, **question: Unpack[Question]
    ) -> AsyncGenerator[Certificate, None]:
        """As `Client.certify_stream`, for `async for`."""
        job = await self.submit_certify(model, **question)
        try:
            async with contextlib.aclosing(job.certificates()) as certificates:
                async for certificate in certificates:
                    yield certificate
        except GeneratorExit:
            await job.cancel()
            raise

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

    async def session(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        t: float = 0.0,
        parameters: Mapping[str, float] | None = None,
        version: str | None = None,
        horizon_steps: int | None = None,
        gain: float | None = None,
        automatic_gain: bool = False,
        max_noise_gain: float | None = None,
        ttl: float | None = None,
        priority: Priority = "normal",
        timeout: float | None = None,  # noqa: ASYNC109 - as `Client.session`
    ) -> AsyncSession:
        """As `Client.session`: `async with await client.session(...) as session:`."""
        manner = self._manner(priority, timeout)
        call = build_open(
            model,
            inputs,
            manner,
            parameters=parameters,
            t=t,
            version=version,
            horizon_steps=horizon_steps,
            gain=gain,
            automatic_gain=automatic_gain,
            max_noise_gain=max_noise_gain,
            ttl_s=ttl,
        )
        return await self._session(call, manner)

    async def restore_session(
        self,
        snapshot: bytes,
        *,
        priority: Priority = "normal",
        timeout: float | None = None,  # noqa: ASYNC109 - as `Client.restore_session`
    ) -> AsyncSession:
        """As `Client.restore_session`."""
        manner = self._manner(priority, timeout)
        return await self._session(build_restore(snapshot, manner), manner)

    async def attach_session(
        self,
        session_id: str,
        *,
        priority: Priority = "normal",
        timeout: float | None = None,  # noqa: ASYNC109 - as `Client.attach_session`
    ) -> AsyncSession:
        """As `Client.attach_session`."""
        manner = self._manner(priority, timeout)
        return await self._session(build_get(check_name("session_id", session_id), manner), manner)

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

    async def _session(self, call: Call, manner: Manner) -> AsyncSession:
        info = read_session(await self._send(call))
        return AsyncSession(info, send=self._send, manner=manner)

    def _manner(self, priority: Priority, timeout: float | None) -> Manner:
        timeout_s = self._defaults.timeout_s if timeout is None else check_timeout(timeout)
        return Manner(self._defaults.tenant, priority, timeout_s)
