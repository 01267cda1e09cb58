"""A fleet of its own for a measurement or a test: Redis, a gateway and workers on loopback."""

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .local_server import LocalServer, local_process, stop

_START_TIMEOUT_S = 20.0
_POLL_S = 0.01
#: As deployed: what was accepted is neither dropped nor lost with the process.
_SAFE = ("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", "")
_TAKEN = re.compile("Address already in use")
_ATTEMPTS = 5


@dataclass(frozen=True)
class LocalRedis:
    """A running redis-server.

    Attributes:
        url: of database 0.
        process: signals go here.
    """

    url: str
    process: "subprocess.Popen[bytes]"


@dataclass(frozen=True)
class LocalFleet:
    """A running fleet.

    Attributes:
        redis: the queue.
        gateway: the way in.
        workers: each with doors of its own.
    """

    redis: LocalRedis
    gateway: LocalServer
    workers: tuple[LocalServer, ...]


@contextlib.contextmanager
def local_fleet(
    repository: Path,
    *,
    redis: LocalRedis | None = None,
    queue: str = "certisolve",
    num_workers: int = 1,
    shared_memory: bool = True,
    options: Sequence[str] = (),
    worker_options: Sequence[str] = (),
) -> Iterator[LocalFleet]:
    """Serve `repository` through a queue while the context lasts.

    Args:
        repository: of artifacts.
        redis: which to use; None for one of the fleet's own.
        queue: prefix of the keys.
        num_workers: how many.
        shared_memory: whether large fields travel beside Redis.
        options: further ones of gateway and workers.
        worker_options: further ones of workers alone.

    Raises:
        RuntimeError: a process did not start; the message is what it said.
    """
    environment = {"CERTISOLVE_SHARED_MEMORY": str(shared_memory).lower()}
    with contextlib.ExitStack() as stack:
        redis = redis or stack.enter_context(local_redis())
        shared = ("--broker", redis.url, "--queue", queue, *options)
        models = ("--models", str(repository), *worker_options)
        # The gateway last: once it is ready, it knows the models.
        workers = tuple(
            stack.enter_context(local_process("worker", [*shared, *models], environment))
            for _ in range(num_workers)
        )
        gateway = stack.enter_context(local_process("gateway", shared, environment))
        yield LocalFleet(redis, gateway, workers)


@contextlib.contextmanager
def local_redis(appendfsync: str = "everysec") -> Iterator[LocalRedis]:
    """Run a redis-server that keeps what it is given, in a folder that goes with the context.

    Args:
        appendfsync: how often it waits for the disk.

    Raises:
        RuntimeError: there is none on PATH, or it did not start; the message is what it said.
    """
    executable = shutil.which("redis-server")
    if executable is None:
        raise RuntimeError("no redis-server on PATH")
    with tempfile.TemporaryDirectory() as directory:
        fixed = ("--bind", "127.0.0.1", "--dir", directory, "--appendfsync", appendfsync)
        redis = _start([executable, *fixed, *_SAFE], Path(directory) / "log")
        try:
            yield redis
        finally:
            stop(redis.process)


def _start(command: Sequence[str], log: Path) -> LocalRedis:
    for _ in range(_ATTEMPTS):
        port = _free_port()
        with log.open("wb") as said:
            process = subprocess.Popen([*command, "--port", str(port)], stdout=said, stderr=said)
        if _wait_until_ready(process, port):
            return LocalRedis(f"redis://127.0.0.1:{port}/0", process)
        stop(process)
        # Redis takes no port 0: between looking for a free one and taking it, it may go.
        if not _TAKEN.search(log.read_text(errors="replace")):
            break
    raise RuntimeError(f"redis-server did not start: {log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < give_up_at:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), _START_TIMEOUT_S) as connection,
        ):
            connection.sendall(b"PING\r\n")
            # Not while it loads, and not from another server on the port.
            if connection.recv(16) == b"+PONG\r\n" and process.poll() is None:
                return True
        time.sleep(_POLL_S)
    return False
