"""A real redis-server of one's own."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ports import free_port

_START_TIMEOUT_S = 20.0
_POLL_S = 0.005
#: As deployed: nothing accepted is dropped, everything is on disk before it is acknowledged.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")


class RedisServer:
    """One redis-server on a loopback port of its own.

    Arguments:
        directory: where it keeps its files.
        options: further ones of redis-server.
    """

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self._directory = directory
        self._options = tuple(options)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        """Where it keeps its files."""
        return self._directory

    @property
    def url(self) -> str:
        """The address of database 0."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start, or start again on what is on disk; returns once it answers."""
        executable = shutil.which("redis-server")
        if executable is None:
            pytest.fail("no redis-server on PATH: run `make test`, which brings one")
        fixed = ("--port", str(self._port), "--bind", "127.0.0.1", "--save", "")
        command = [executable, *fixed, "--dir", str(self._directory), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                pytest.fail(f"redis-server did not start: {' '.join(command)}")
            time.sleep(_POLL_S)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it; with SIGKILL as a crash would."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False
