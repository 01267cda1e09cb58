"""The jobs in a worker's hands: how they come, how they are held, and how they are lost."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from certisolve_server.broker.base import Capacity, Claim
from certisolve_server.errors import InternalError, ServingError
from certisolve_server.jobs import Pool

from .connection import Connection
from .records import Records, capacity_text, renewals, tokens
from .reports import Reports

#: Longest wait for a wake-up: a worker that was woken may have died before it claimed.
_WAKE_S = 1.0
#: Bytes of inputs that one claim takes into a worker.
_MAX_CLAIM_BYTES = 64 << 20
#: As many as lua/prelude.lua keeps for a worker.
_MAX_LOST = 4096
# What start.lua replies for a job.
_WANTED, _LATE = 1, 2


class Claims:
    """Takes jobs out of Redis, and holds them.

    Arguments:
        connection: to Redis.
        worker: its name, unlike any other's that is alive.
        records: of the worker.
        reports: end jobs that cannot be read.
        on_expired: told the stage, `queue` or `device`, in which a claimed job's deadline passed.
        spawn: runs what nobody waits for.
    """

    def __init__(
        self,
        connection: Connection,
        worker: str,
        records: Records,
        reports: Reports,
        on_expired: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._records = records
        self._reports = reports
        self._on_expired = on_expired
        self._spawn = spawn
        self._idle: set[Pool] = set()

    async def take(self, capacity: Capacity, *, start: bool) -> Sequence[Claim]:
        """Jobs of one lane, as soon as there are any."""
        wanted = capacity_text(capacity)
        while True:
            claims = await self._claim_now(wanted, capacity.pool, start)
            if claims:
                return claims
            await self._wait_for_wake(capacity.pool)

    async def start(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Mark jobs as running; those that may run."""
        wanted = await self._connection.run("start", *tokens(claims))
        for _ in range(wanted.count(_LATE)):
            self._on_expired("device")
        pairs = zip(claims, wanted, strict=True)
        return [claim._replace(started=True) for claim, answer in pairs if answer == _WANTED]

    async def renew(
        self, claims: Sequence[Claim], progress: Mapping[str, float]
    ) -> Sequence[Claim]:
        """Hold jobs for another lease and tell how far they are; those that are lost."""
        if not claims:
            return []
        ours = await self._connection.run("renew", *renewals(claims, progress))
        return [claim for claim, is_ours in zip(claims, ours, strict=True) if not is_ours]

    async def release(self, claims: Sequence[Claim]) -> None:
        """Hand jobs back."""
        if claims:
            await self._connection.run("release", *tokens(claims))

    async def lost(self, pool: Pool) -> Sequence[str]:
        """Ids of jobs that were cancelled or went to others, as soon as there are any."""
        lost, popped = self._connection.key("lost", self._name(pool)), None
        while popped is None:
            popped = await self._connection.command("BLPOP", lost, _WAKE_S)
        more = await self._connection.command("LPOP", lost, _MAX_LOST)
        return [job_id.decode() for job_id in (popped[1], *(more or ()))]

    def _name(self, pool: Pool) -> str:
        # Each pool sleeps and hears of losses under a name of its own.
        return self._worker if pool == "device" else f"{self._worker}~{pool}"

    async def _claim_now(self, wanted: str, pool: Pool, start: bool) -> list[Claim]:
        values = (
            self._name(pool),
            self._records.host,
            int(start),
            int(pool in self._idle),
            wanted,
            _MAX_CLAIM_BYTES,
        )
        asking = asyncio.ensure_future(self._connection.run("claim", *values))
        try:
            reply = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Whatever it was given must not wait for the end of its lease.
            self._spawn(self._give_back(asking, start))
            raise
        for _ in range(reply[0]):
            self._on_expired("queue")
        if len(reply) == 1:
            self._idle.add(pool)
        else:
            self._idle.discard(pool)
        return await self._read(reply, start)

    async def _read(self, reply: list[Any], start: bool) -> list[Claim]:
        claims = []
        for index in range(1, len(reply), 6):
            job_id, token, suspect, deadline, via, body = reply[index : index + 6]
            try:
                job = self._records.read_job(body, deadline)
            except InternalError as error:
                await self._reports.fail(job_id.decode(), token, error)
                continue
            claims.append(Claim(job, token, bool(suspect), start, via))
        return claims

    async def _give_back(self, asking: "asyncio.Future[Any]", start: bool) -> None:
        with contextlib.suppress(ServingError):
            await self.release(await self._read(await asking, start))

    async def _wait_for_wake(self, pool: Pool) -> None:
        wake = self._connection.key("wake", self._name(pool))
        await self._connection.command("BLPOP", wake, _WAKE_S)
