"""Sessions: a model that predicts while measurements correct it, with and without `await`."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from ._arrays import Array, Tensor
from ._calls import Call, Reply, check_timeout
from ._errors import CertisolveError, NotFound
from ._results import Solution
from ._session_calls import (
    Manner,
    SessionInfo,
    build_close,
    build_get,
    build_observe,
    build_predict,
    build_snapshot,
    read_forecast,
    read_session,
    read_snapshot,
)


class Session:
    """A session on the server; `Client.session`, `restore_session` and `attach_session` return one.

    Leaving the `with` block closes it. Without one it lives on, until it is closed or nobody has
    called for its time to live; `Client.attach_session` finds it again by its id.

    Attributes:
        info: where it stood at the last call of this handle.
    """

    def __init__(self, info: SessionInfo, *, send: Callable[[Call], Reply], manner: Manner) -> None:
        self.info = info
        self._send = send
        self._manner = manner

    @property
    def id(self) -> str:
        """Names the session on the server."""
        return self.info.id

    @property
    def t(self) -> float:
        """Time of its state, by the session's clock."""
        return self.info.t

    def observe(
        self,
        t: float | Sequence[float] | Array,
        values: Mapping[str, Tensor],
        *,
        mask: Mapping[str, Tensor] | None = None,
        timeout: float | None = None,
    ) -> SessionInfo:
        """Correct the session by what was measured.

        An observation that is lost on its way is sent again; the server counts it once.

        Args:
            t: when it was measured, after the session's time; several measurements in one call are
                taken in turn, and count all or none.
            values: by the names and with the axes of the model's frames; with several times, an
                axis of them in front.
            mask: of the shape of the values, true where something was measured; what is left out
                was measured whole. Where nothing was measured, the forecast stands.
            timeout: seconds this call may take in all; None for the session's.

        Raises:
            InvalidRequest: what cannot be observed, or not then; `field` and `detail` say why.
            SessionConflict: another call changed the session meanwhile.
            ForecastDiverged: the forecast that would be corrected is not finite.
            NotFound: the session was closed, or forgotten.
        """
        call = build_observe(self.id, t, values, mask, _within(self._manner, timeout))
        self.info = read_session(self._send(call))
        return self.info

    def predict(
        self, t: float | Sequence[float] | Array, *, timeout: float | None = None
    ) -> Solution:
        """A forecast from where the session stands; it stays there.

        Args:
            t: times of the session's clock, ascending, after that of its state.
            timeout: seconds this call may take in all; None for the session's.

        Raises:
            InvalidRequest: a time that cannot be reached.
            NotFound: the session was closed, or forgotten.
        """
        return read_forecast(self._send(build_predict(self.id, t, _within(self._manner, timeout))))

    def refresh(self) -> SessionInfo:
        """Ask the server where the session stands; its time to live begins anew.

        Raises:
            NotFound: the session was closed, or forgotten.
        """
        self.info = read_session(self._send(build_get(self.id, self._manner)))
        return self.info

    def snapshot(self) -> bytes:
        """The session as bytes, for `Client.restore_session`: safetensors.

        Raises:
            NotFound: the session was closed, or forgotten.
        """
        return read_snapshot(self._send(build_snapshot(self.id, self._manner)))

    def close(self) -> None:
        """End the session; one that is gone already stays gone."""
        with contextlib.suppress(NotFound):
            self._send(build_close(self.id, self._manner))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What happened inside matters more than a server that cannot be told.
        with contextlib.suppress(CertisolveError) if kind else contextlib.nullcontext():
            self.close()


class AsyncSession:
    """As `Session`, with `await`.

    Attributes:
        info: where it stood at the last call of this handle.
    """

    def __init__(
        self, info: SessionInfo, *, send: Callable[[Call], Awaitable[Reply]], manner: Manner
    ) -> None:
        self.info = info
        self._send = send
        self._manner = manner

    @property
    def id(self) -> str:
        """Names the session on the server."""
        return self.info.id

    @property
    def t(self) -> float:
        """Time of its state, by the session's clock."""
        return self.info.t

    async def observe(
        self,
        t: float | Sequence[float] | Array,
        values: Mapping[str, Tensor],
        *,
        mask: Mapping[str, Tensor] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Session.observe`
    ) -> SessionInfo:
        """As `Session.observe`."""
        call = build_observe(self.id, t, values, mask, _within(self._manner, timeout))
        self.info = read_session(await self._send(call))
        return self.info

    async def predict(
        self,
        t: float | Sequence[float] | Array,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Session.predict`
    ) -> Solution:
        """As `Session.predict`."""
        return read_forecast(
            await self._send(build_predict(self.id, t, _within(self._manner, timeout)))
        )

    async def refresh(self) -> SessionInfo:
        """As `Session.refresh`."""
        self.info = read_session(await self._send(build_get(self.id, self._manner)))
        return self.info

    async def snapshot(self) -> bytes:
        """As `Session.snapshot`."""
        return read_snapshot(await self._send(build_snapshot(self.id, self._manner)))

    async def close(self) -> None:
        """As `Session.close`."""
        with contextlib.suppress(NotFound):
            await self._send(build_close(self.id, self._manner))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(CertisolveError) if kind else contextlib.nullcontext():
            await self.close()


def _within(manner: Manner, timeout: float | None) -> Manner:
    return manner if timeout is None else replace(manner, timeout_s=check_timeout(timeout))
