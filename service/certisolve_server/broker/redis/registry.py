"""Who is alive around a queue: workers announce themselves, gateways listen.

key                  type    TTL        holds
P:worker:<name>      STRING  lifetime   the card of a worker, as JSON
P:workers            ZSET    -          workers -> when they count as gone, Unix seconds
P:manifests          HASH    -          digest -> manifest, as JSON
P:announced          ZSET    -          digest -> when it was last announced, Unix seconds
P:fleet              STREAM  -          an entry whenever a card changes; wakes the gateways
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping

from certisolve_server.broker.base import Bounds
from certisolve_server.broker.fleet import Fleet, WorkerCard
from certisolve_server.errors import QueueUnavailable

from .connection import COMMAND_TIMEOUT_S, UNREACHABLE, UNUSABLE, Connection, execute, open_client

#: A worker that has been silent for this long counts as gone; it speaks three times as often.
LIFETIME_S = 6.0
#: Manifests of models that no worker has announced for this long are forgotten.
_REMEMBER_S = 86_400.0


class RedisRegistry:
    """The list of workers around one queue.

    Arguments:
        url: `redis://host:port/db`.
        prefix: of all keys.
    """

    def __init__(self, url: str, prefix: str = "certisolve") -> None:
        self._connection = Connection(url, prefix, Bounds(), None)
        self._listener = open_client(url)
        self._manifests: dict[str, str] = {}
        self._said: bytes = b""
        self._last = "$"

    async def announce(self, card: WorkerCard, manifests: Mapping[str, str]) -> None:
        """Say that a worker is alive, and for `LIFETIME_S` from now.

        Args:
            card: of the worker.
            manifests: JSON by digest, of its models.

        Raises:
            QueueUnavailable: out of reach.
        """
        now, text, key = time.time(), card.to_json(), self._connection.key
        pipe = self._connection.client.pipeline(transaction=True)
        pipe.set(key("worker", card.name), text, px=int(1e3 * LIFETIME_S))
        pipe.zadd(key("workers"), {card.name: now + LIFETIME_S})
        pipe.zremrangebyscore(key("workers"), "-inf", now)
        for digest, manifest in manifests.items():
            pipe.zadd(key("announced"), {digest: now})
            pipe.hsetnx(key("manifests"), digest, manifest)
        if text != self._said:
            pipe.xadd(key("fleet"), {"worker": card.name}, maxlen=16)
        await self._execute(pipe)
        self._said = text

    async def withdraw(self, name: str) -> None:
        """Say that a worker is gone.

        Raises:
            QueueUnavailable: out of reach.
        """
        key = self._connection.key
        pipe = self._connection.client.pipeline(transaction=True)
        pipe.delete(key("worker", name))
        pipe.zrem(key("workers"), name)
        pipe.xadd(key("fleet"), {"worker": name}, maxlen=16)
        await self._execute(pipe)

    async def fleet(self) -> Fleet:
        """Who is alive now.

        Raises:
            QueueUnavailable: out of reach.
        """
        now, key = time.time(), self._connection.key
        names = await self._connection.command("ZRANGEBYSCORE", key("workers"), now, "+inf")
        keys = [key("worker", name.decode()) for name in names]
        cards = await self._connection.command("MGET", *keys) if keys else []
        await self._read_manifests(now)
        workers = tuple(WorkerCard.from_json(card) for card in cards if card is not None)
        return Fleet(workers, dict(self._manifests))

    async def wait_for_change(self) -> None:
        """Return when a card has changed, or after a third of a lifetime: workers go silently."""
        fleet, block_ms = self._connection.key("fleet"), int(1e3 * LIFETIME_S / 3)
        try:
            reply = await execute(
                self._listener,
                "XREAD",
                "COUNT",
                16,
                "BLOCK",
                block_ms,
                "STREAMS",
                fleet,
                self._last,
                timeout_s=LIFETIME_S / 3 + COMMAND_TIMEOUT_S,
            )
        except UNUSABLE:
            await asyncio.sleep(LIFETIME_S / 6)
            return
        for _, entries in reply or ():
            self._last = entries[-1][0]

    async def close(self) -> None:
        """Give the connections back."""
        with contextlib.suppress(*UNREACHABLE):
            await self._listener.aclose()
            await self._connection.close()

    async def _read_manifests(self, now: float) -> None:
        key, command = self._connection.key, self._connection.command
        recent = await command("ZRANGEBYSCORE", key("announced"), now - _REMEMBER_S, "+inf")
        digests = [digest.decode() for digest in recent]
        new = [digest for digest in digests if digest not in self._manifests]
        texts = await command("HMGET", key("manifests"), *new) if new else []
        found = {d: text.decode() for d, text in zip(new, texts, strict=True) if text is not None}
        known = {**self._manifests, **found}
        self._manifests = {digest: known[digest] for digest in digests if digest in known}
        await self._forget(now)

    async def _forget(self, now: float) -> None:
        key, command = self._connection.key, self._connection.command
        old = await command("ZRANGEBYSCORE", key("announced"), "-inf", now - _REMEMBER_S)
        if old:
            await command("HDEL", key("manifests"), *old)
            await command("ZREM", key("announced"), *old)

    async def _execute(self, pipe: object) -> None:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await pipe.execute()  # type: ignore[attr-defined]  # redis is untyped
        except UNUSABLE as error:  # a full memory included: a worker works on unannounced
            raise QueueUnavailable("the registry cannot be reached", retry_after_s=1.0) from error
