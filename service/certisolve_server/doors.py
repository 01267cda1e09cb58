"""HTTP and gRPC in one event loop, without torch."""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

import grpc
import uvicorn

from .api.app import create_app
from .api.certify_rpc import certifier_service
from .api.rpc import MoreServices, create_server
from .api.session_rpc import session_service
from .dataplane import DataPlane
from .sessionplane import SessionPlane
from .settings import Settings

_SHUTDOWN_GRACE_S = 5.0
#: Connections that wait to be accepted, as many as uvicorn lets.
_BACKLOG = 2048


class StartupError(Exception):
    """The server cannot start; the message says why and what to do."""


class Addresses(NamedTuple):
    """Where the doors are."""

    http: str
    grpc: str


@contextlib.asynccontextmanager
async def open_doors(
    settings: Settings,
    dataplane: DataPlane,
    more: Sequence[MoreServices] = (),
    *,
    sessions: SessionPlane | None = None,
) -> AsyncIterator["Doors"]:
    """Listen on both ports; on leaving, finish what is under way, with a time limit.

    Args:
        settings: host and ports.
        dataplane: what answers.
        more: gRPC services beside those of the data plane.
        sessions: what answers for sessions; None for a server without.

    Raises:
        StartupError: a port is taken, or the address is refused.
    """
    _check_host(settings)
    with _listen(settings.host, settings.port) as http_socket:
        with_sessions = () if sessions is None else (session_service(sessions),)
        rpc = create_server(dataplane, (certifier_service(dataplane), *with_sessions, *more))
        grpc_port = _bind_grpc(rpc, settings)
        await rpc.start()
        http = _HttpServer(_uvicorn_config(dataplane, sessions))
        port = http_socket.getsockname()[1]
        addresses = Addresses(_url(settings.host, port), _authority(settings.host, grpc_port))
        try:
            yield Doors(http, http_socket, rpc, addresses)
        finally:
            await rpc.stop(_SHUTDOWN_GRACE_S)


class Doors:
    """Listening sockets and the servers on them."""

    def __init__(
        self,
        http: uvicorn.Server,
        http_socket: socket.socket,
        rpc: grpc.aio.Server,
        addresses: Addresses,
    ) -> None:
        self.addresses = addresses
        self._http = http
        self._socket = http_socket
        self._rpc = rpc
        self._closing = asyncio.Event()

    async def serve(self) -> None:
        """Answer until `stop`; then finish what is under way, with a time limit."""
        async with asyncio.TaskGroup() as tasks:
            serving = self._http.serve(sockets=[self._socket])
            tasks.create_task(serving).add_done_callback(lambda _: self._closing.set())
            await self._closing.wait()
            await self._rpc.stop(_SHUTDOWN_GRACE_S)

    def stop(self) -> None:
        """Take no more requests."""
        self._http.should_exit = True
        self._closing.set()


class _HttpServer(uvicorn.Server):
    """Leaves signals to the composition root, which has more to stop than HTTP."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(dataplane: DataPlane, sessions: SessionPlane | None) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(dataplane, sessions),
        access_log=False,
        proxy_headers=False,
        log_config=None,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=int(_SHUTDOWN_GRACE_S),
    )


def _check_host(settings: Settings) -> None:
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(settings.host).is_loopback:
            return
    if settings.host != "localhost" and not settings.allow_remote:
        raise StartupError(
            f"--host {settings.host} would serve strangers without authentication; "
            "pass --allow-remote if that is meant"
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, event loops set TCP_NODELAY, so that replies go out at once.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Whoever is told the address may come before the event loop gets to accept.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartupError(
                f"port {port} is taken; stop what holds it or pass --port"
            ) from error
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _bind_grpc(server: grpc.aio.Server, settings: Settings) -> int:
    try:
        return server.add_insecure_port(_authority(settings.host, settings.grpc_port))
    except RuntimeError as error:
        raise StartupError(
            f"port {settings.grpc_port} is taken; stop what holds it or pass --grpc-port"
        ) from error


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(host: str, port: int) -> str:
    return f"http://{_authority(host, port)}"
