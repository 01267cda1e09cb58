"""One Redis: its scripts, whether it can be reached, and whether it is set up to lose nothing."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from certisolve_server.broker.base import Bounds
from certisolve_server.errors import InternalError, QueueFull, QueueUnavailable

_log = logging.getLogger(__name__)
#: Longest time that Redis may take for a command, to connect included.
COMMAND_TIMEOUT_S = 5.0
#: Pause before the second and later attempts of a call that is repeated until it succeeds.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_OLDEST = (6, 2)

#: What a lost, refused or reset connection raises; a server that is still loading, or one that was
#: degraded to a replica, counts as lost.
UNREACHABLE = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError)
#: All that a Redis may do instead of answering; whoever listens for ever has to bear it.
UNUSABLE = (*UNREACHABLE, RedisError)


class UnsafeRedis(Exception):
    """Redis answers, but would lose accepted work; the message has the fix."""


class Connection:
    """Runs the queue's scripts on one Redis.

    Arguments:
        url: `redis://host:port/db`.
        prefix: of all keys.
        bounds: passed to every script.
        clock: Unix seconds, for tests; None for the clock of Redis, which all hosts share.
    """

    def __init__(
        self, url: str, prefix: str, bounds: Bounds, clock: Callable[[], float] | None
    ) -> None:
        self.url = url
        self._name = _without_password(url)
        self.prefix = f"{{{prefix}}}"
        self.fault: str | None = "not connected yet"
        self._bounds = json.dumps(asdict(bounds))
        self._clock = clock
        self.client = open_client(url)

    def key(self, *parts: str) -> str:
        """The name of a key."""
        return ":".join((self.prefix, *parts))

    async def run(self, name: str, *arguments: Any) -> Any:
        """What the script `name` replies.

        Raises:
            QueueUnavailable: out of reach; the script may have run.
            QueueFull: Redis has no memory left for it.
            InternalError: Redis refuses the script; the log has its reason.
        """
        script = _SCRIPTS[name]
        arguments = (self.prefix, self._conf(), *arguments)
        try:
            reply = await self._evaluate(script, arguments)
        except UNREACHABLE as error:
            raise self._unreachable(error) from error
        except OutOfMemoryError as error:
            raise QueueFull("the queue's memory is full", retry_after_s=1.0) from error
        except ResponseError as error:
            raise self._refused(name, error) from error
        self.reached()
        return reply

    async def run_until_done(self, name: str, *arguments: Any) -> Any:
        """As `run`, repeated for as long as Redis is out of reach: for scripts that bear it."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self.run(name, *arguments)
            except QueueUnavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def command(self, *words: Any) -> Any:
        """What a plain command replies.

        Raises:
            QueueUnavailable: out of reach.
            InternalError: Redis refuses the command; the log has its reason.
        """
        try:
            reply = await execute(self.client, *words)
        except UNREACHABLE as error:
            raise self._unreachable(error) from error
        except ResponseError as error:
            raise self._refused(str(words[0]), error) from error
        self.reached()
        return reply

    def reached(self) -> None:
        """Note that Redis answered."""
        if self.fault is not None:
            _log.info("redis_reached url=%s", self._name)
            self.fault = None

    async def check(self) -> None:
        """Look whether Redis would keep what it accepts.

        Raises:
            UnsafeRedis: too old, or set up to drop keys.
            QueueUnavailable: out of reach.
        """
        try:
            facts = {**await self._info("server"), **await self._info("memory")}
            persistence = await self._info("persistence")
        except UNREACHABLE as error:
            raise self._unreachable(error) from error
        except ResponseError as error:
            raise UnsafeRedis(f"{self._name} does not answer INFO: {error}") from error
        _check_facts(self._name, facts)
        if not persistence.get("aof_enabled"):
            _log.warning(
                "redis_without_aof url=%s accepted jobs are lost when it restarts; "
                "set appendonly yes",
                self._name,
            )
        self.reached()

    async def close(self) -> None:
        """Give the connections back."""
        await self.client.aclose()

    async def _info(self, section: str) -> dict[str, Any]:
        return dict(await execute(self.client, "INFO", section))

    def _conf(self) -> str:
        if self._clock is None:
            return self._bounds
        return f'{self._bounds[:-1]}, "now": {self._clock()!r}}}'

    async def _evaluate(self, script: "Script", arguments: tuple[Any, ...]) -> Any:
        try:
            return await execute(self.client, "EVALSHA", script.sha, 1, *arguments)
        except NoScriptError:  # a Redis that was restarted knows none
            return await execute(self.client, "EVAL", script.text, 1, *arguments)

    def _refused(self, what: str, error: Exception) -> InternalError:
        _log.error("redis_refused url=%s what=%s error=%s", self._name, what, error)
        return InternalError("the queue refused what it was asked; the log has its reason")

    def _unreachable(self, error: Exception) -> QueueUnavailable:
        if self.fault is None:
            _log.warning("redis_unreachable url=%s error=%s", self._name, error)
        self.fault = f"Redis at {self._name} cannot be reached"
        return QueueUnavailable(self.fault, retry_after_s=1.0)


class Script:
    """A Lua script and the name Redis knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _load_scripts() -> dict[str, Script]:
    """`lua/*.lua` by name, each after the functions that all share."""
    texts = {
        path.name.removesuffix(".lua"): path.read_text()
        for path in (resources.files(__package__) / "lua").iterdir()
        if path.name.endswith(".lua")
    }
    prelude = texts.pop("prelude")
    return {name: Script(f"{prelude}\n{text}") for name, text in texts.items()}


# At import: an event loop must not wait for a disk.
_SCRIPTS = _load_scripts()


def open_client(url: str) -> "aioredis.Redis":
    """A client that repeats nothing by itself: what may be repeated is decided here."""
    return aioredis.from_url(
        url,
        protocol=2,
        # Its own limit would make `asyncio.wait_for` swallow a cancellation now and then, up to
        # Python 3.11, and with it the end of a task; `execute` has one that does not.
        socket_timeout=None,
        socket_connect_timeout=COMMAND_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,  # saves a look into the file system for each connection
    )


def timed_out(error: QueueUnavailable) -> bool:
    """Whether Redis took the call and said nothing for as long as it is waited for."""
    return isinstance(error.__cause__, RedisTimeoutError | TimeoutError)


async def execute(
    client: "aioredis.Redis", *words: Any, timeout_s: float = COMMAND_TIMEOUT_S
) -> Any:
    """What a command replies.

    Raises:
        TimeoutError: nothing within `timeout_s` seconds; the connection is not used again.
    """
    async with asyncio.timeout(timeout_s):
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # as redis has


def _check_facts(name: str, facts: Mapping[str, Any]) -> None:
    version = tuple(int(part) for part in str(facts["redis_version"]).split(".")[:2])
    if version < _OLDEST:
        raise UnsafeRedis(f"{name} is Redis {facts['redis_version']}; 6.2 or newer is needed")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise UnsafeRedis(
            f"{name} has maxmemory-policy {policy}, under which it drops "
            "accepted work when its memory is full; run `redis-cli config set maxmemory-policy "
            "noeviction` and put the same into redis.conf"
        )


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
