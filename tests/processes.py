"""Real server processes on free loopback ports."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 60.0


@dataclass(frozen=True)
class Server:
    """A `certisolve serve` that answers.

    Attributes:
        http: `http://127.0.0.1:<port>`.
        grpc: `grpc://127.0.0.1:<port>`.
        log: lines of standard error so far.
    """

    http: str
    grpc: str
    process: subprocess.Popen[str]
    log: list[str]

    def url(self, scheme: str) -> str:
        """The address for `http` or `grpc`."""
        return {"http": self.http, "grpc": self.grpc}[scheme]

    def stop(self) -> int:
        """Send SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def serving(models: Path, *flags: str) -> Iterator[Server]:
    """A server of the repository `models`, stopped on leaving."""
    command = [sys.executable, "-m", "certisolve_server", "serve", "--models", str(models)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--grpc-port", "0", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    try:
        yield _wait_until_ready(process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _wait_until_ready(process: subprocess.Popen[str]) -> Server:
    log: list[str] = []
    found: dict[str, str] = {}
    ready = threading.Event()

    def read() -> None:
        for line in process.stderr or ():
            log.append(line)
            match = re.search(r"(HTTP|gRPC) +(?:http://)?(127\.0\.0\.1:\d+)", line)
            if match:
                found[match[1]] = match[2]
            if len(found) == 2:
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    ready.wait(_START_S)
    if len(found) < 2:
        raise RuntimeError(f"the server did not start:\n{''.join(log)}")
    return Server(f"http://{found['HTTP']}", f"grpc://{found['gRPC']}", process, log)
