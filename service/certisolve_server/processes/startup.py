"""Steps that the processes share on their way up and down; without torch."""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
from collections.abc import Callable

from certisolve_server.broker import AbstractBroker
from certisolve_server.broker.base import Bounds
from certisolve_server.broker.redis import RedisBroker, RedisSessionStore, UnsafeRedis
from certisolve_server.catalog import Catalog
from certisolve_server.dataplane import Limits
from certisolve_server.doors import StartupError
from certisolve_server.errors import QueueUnavailable
from certisolve_server.sessionplane import SessionLimits, SessionPlane
from certisolve_server.sessions import AbstractSessionStore
from certisolve_server.sessions.opening import SessionDefaults
from certisolve_server.settings import Settings
from certisolve_server.telemetry import Metrics, Tracing, TracingUnavailable

_MEMORY = "memory://"


def bounds_of(settings: Settings) -> Bounds:
    """The bounds of the queue."""
    return Bounds(
        max_jobs=settings.max_queued_requests,
        max_bytes=settings.max_queued_bytes,
        max_result_bytes=settings.max_result_bytes,
        result_ttl_s=settings.result_ttl_s,
        lease_s=settings.lease_s,
        max_deliveries=settings.max_deliveries,
        max_certifications=settings.max_queued_certifications,
    )


def limits_of(settings: Settings) -> Limits:
    """The limits of the data plane."""
    return Limits(
        max_body_bytes=settings.max_body_bytes,
        max_wait_s=settings.max_wait_s,
        max_certify_s=settings.max_certify_s,
        certificate_cache_bytes=settings.certificate_cache_bytes,
    )


def sessions_of(
    settings: Settings,
    catalog: Catalog,
    broker: AbstractBroker,
    store: AbstractSessionStore,
    metrics: Metrics,
    tracing: Tracing,
) -> SessionPlane:
    """Sessions of the models of `catalog`, computed through `broker`, kept in `store`."""
    limits = SessionLimits(
        max_body_bytes=settings.max_body_bytes,
        max_wait_s=settings.max_wait_s,
        defaults=SessionDefaults(
            ttl_s=settings.session_ttl_s, max_noise_gain=settings.max_noise_gain
        ),
    )
    return SessionPlane(catalog, broker, store, limits, metrics, tracing=tracing)


def open_session_store(settings: Settings) -> RedisSessionStore:
    """The sessions of the fleet around the queue; not connected yet."""
    return RedisSessionStore(settings.broker, settings.max_session_bytes, settings.queue)


def process_name(settings: Settings) -> str:
    """The name that was given, or one that no other process on this or another host has."""
    return settings.name or f"{socket.gethostname().partition('.')[0]}-{os.getpid()}"


def open_broker(
    settings: Settings,
    name: str,
    command: str,
    *,
    on_expired: Callable[[str], None] = lambda stage: None,
) -> RedisBroker:
    """The queue in Redis, as the process `name` sees it; not connected yet.

    Args:
        settings: where Redis is, and its bounds.
        name: of the process.
        command: that needs it, for the message.
        on_expired: told the stage in which a claimed job's deadline passed.

    Raises:
        StartupError: the settings name no Redis.
    """
    if settings.broker == _MEMORY:
        raise StartupError(
            f"`certisolve {command}` needs --broker redis://host:port/db; "
            "`certisolve serve` is everything in one process, without Redis"
        )
    # An answer must not reach the namesake that a restart has put in this process's place.
    unique = f"{name}.{secrets.token_hex(4)}"
    return RedisBroker(
        settings.broker,
        unique,
        bounds=bounds_of(settings),
        prefix=settings.queue,
        shared_memory=settings.shared_memory,
        on_expired=on_expired,
    )


async def check_broker(broker: RedisBroker) -> None:
    """Refuse a Redis that would lose accepted work; one out of reach may come later.

    Raises:
        StartupError: too old, or set up to drop keys.
    """
    try:
        await broker.check()
    except UnsafeRedis as error:
        raise StartupError(str(error)) from error
    except QueueUnavailable:
        pass  # the log has it, and readiness says it until Redis is back


def open_tracing(settings: Settings, service: str, instance: str) -> Tracing:
    """Where spans go.

    Raises:
        StartupError: they cannot go there.
    """
    try:
        return Tracing.open(settings.otlp_endpoint, service, instance)
    except TracingUnavailable as error:
        raise StartupError(str(error)) from error


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers in loops
            loop.add_signal_handler(number, stop)


def tune_garbage_collector() -> None:
    """Look neither at what start-up left for good, nor after every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
