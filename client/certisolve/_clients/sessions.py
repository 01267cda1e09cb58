"""Sessions, in which a model predicts while measurements correct it."""

from collections.abc import Mapping

from certisolve._arguments import Priority, check_name
from certisolve._arrays import Tensor
from certisolve._calls import Call, check_timeout
from certisolve._session_calls import Manner, build_get, build_open, build_restore, read_session
from certisolve._sessions import AsyncSession, Session

from .certifying import AsyncCertifyingClient, CertifyingClient


class SessionClient(CertifyingClient):
    """A client with all that it does."""

    def session(
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
        timeout: float | None = None,
    ) -> Session:
        """Begin a session: the model predicts while measurements correct it.

        Use it as a `with` block, at whose end the session is closed; without one it lives until
        `close`, or until nobody has called for its time to live.

        Args:
            model: name of a model that advances in time.
            inputs: its state at `t`: by the names and with the axes of the manifest; a frame, or a
                history of frames, that of `t` last. Of feedback models the first measurement.
            t: time of the inputs, by the session's clock.
            parameters: scalars of the equation; those left out take their defaults.
            version: of the model; None for the newest.
            horizon_steps: feedback models: steps ahead that `predict` can reach; None for the
                manifest's.
            gain: feedback models: factor on the gains of the manifest; None for 1.
            automatic_gain: feedback models: choose the largest gain up to 1 whose noise gain is
                within `max_noise_gain`.
            max_noise_gain: feedback models: a larger noise gain is refused; None for the server's.
            ttl: seconds without a call after which the session is forgotten; None for the
                server's.
            priority: of its calls among those of the tenant.
            timeout: seconds that each call may take in all; None for the client's.

        Raises:
            TypeError: an input is not an array of numbers.
            ValueError: an argument is out of its range.
            InvalidRequest: the model cannot take this, or its noise gain would be too large.
            NotFound: no such model or version.
            Overloaded: sessions take all the memory they may, over all retries.

        Example:
            >>> with client.session("spiral-feedback", {"x": x0}, automatic_gain=True) as session:
            ...     session.observe(0.01, {"x": x1})
            ...     forecast = session.predict([0.1, 0.5])
        """
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
        return self._session(call, manner)

    def restore_session(
        self, snapshot: bytes, *, priority: Priority = "normal", timeout: float | None = None
    ) -> Session:
        """A session that begins where a snapshot was taken, here or on another server of the model.

        Raises:
            InvalidRequest: not a snapshot of a session of the model.
        """
        manner = self._manner(priority, timeout)
        return self._session(build_restore(snapshot, manner), manner)

    def attach_session(
        self, session_id: str, *, priority: Priority = "normal", timeout: float | None = None
    ) -> Session:
        """A handle on a session that there is, perhaps opened by another process.

        Raises:
            NotFound: no such session, or it was closed or forgotten.
        """
        manner = self._manner(priority, timeout)
        return self._session(build_get(check_name("session_id", session_id), manner), manner)

    def _session(self, call: Call, manner: Manner) -> Session:
        info = read_session(self._send(call))
        return Session(info, send=self._send, manner=manner)

    def _manner(self, priority: Priority, timeout: float | None) -> Manner:
        timeout_s = self._defaults.timeout_s if timeout is None else check_timeout(timeout)
        return Manner(self._defaults.tenant, priority, timeout_s)


class AsyncSessionClient(AsyncCertifyingClient):
    """As `SessionClient`, with `await`."""

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

    async def _session(self, call: Call, manner: Manner) -> AsyncSession:
        info = read_session(await self._send(call))
        return AsyncSession(info, send=self._send, manner=manner)

    def _manner(self, priority: Priority, timeout: float | None) -> Manner:
        timeout_s = self._defaults.timeout_s if timeout is None else check_timeout(timeout)
        return Manner(self._defaults.tenant, priority, timeout_s)
