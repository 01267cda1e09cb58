"""A server of its own for a measurement or a test: `certisolve serve` on free loopback ports."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = ("-m", "certisolve_server")
_BANNER = re.compile(r"HTTP +(http://\S+).*gRPC +(\S+)", re.DOTALL)
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True)
class LocalServer:
    """A running server.

    Attributes:
        http: `http://127.0.0.1:port`.
        grpc: `grpc://127.0.0.1:port`.
        process: of the server; signals go here.
        log: the descriptor of what it says.
    """

    http: str
    grpc: str
    process: "subprocess.Popen[bytes]"
    log: int

    def url(self, scheme: str) -> str:
        """The address for `http` or `grpc`."""
        return {"http": self.http, "grpc": self.grpc}[scheme]

    def said(self) -> str:
        """Everything the server has written so far."""
        return _read(self.log)


@contextlib.contextmanager
def local_server(repository: Path, options: Sequence[str] = ()) -> Iterator[LocalServer]:
    """Serve `repository` while the context lasts.

    Args:
        repository: of artifacts.
        options: further ones of `certisolve serve`.

    Raises:
        RuntimeError: the server did not start; the message is what it said.
    """
    with local_process("serve", ["--models", str(repository), *options]) as server:
        yield server


@contextlib.contextmanager
def local_process(
    command: str, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[LocalServer]:
    """Run a command of certisolve that has doors, `serve`, `gateway` or `worker`.

    Args:
        command: which.
        options: of the command, without ports.
        environment: added to this process's.

    Raises:
        RuntimeError: it did not start; the message is what it said.
    """
    ports = ("--port", "0", "--grpc-port", "0")
    words = [sys.executable, *_PROGRAM, command, *ports, *options]
    env = {**os.environ, **(environment or {})}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=log, env=env)
        try:
            yield _wait_until_ready(process, log.fileno())
        finally:
            stop(process)


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: int) -> LocalServer:
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        running = process.poll() is None
        text = _read(log)
        banner = _BANNER.search(text)
        if banner:
            return LocalServer(banner[1], f"grpc://{banner[2]}", process, log)
        if not running:
            raise RuntimeError(f"the server did not start: {text.strip()}")
        time.sleep(_POLL_S)
    raise RuntimeError(f"the server was not ready after {_START_TIMEOUT_S:g} s: {_read(log)}")


def _read(log: int) -> str:
    # The server writes through the same open file, so this must not move its position.
    return os.pread(log, 1 << 20, 0).decode(errors="replace")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process, with force if need be."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
