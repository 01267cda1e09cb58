"""`make test` brings a real redis-server; what needs a queue between processes builds on it."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest


def test_the_redis_on_path_answers(tmp_path: Path) -> None:
    executable = shutil.which("redis-server")
    if executable is None:
        pytest.fail("no redis-server on PATH: run `make test`, which brings one")
    address = tmp_path / "redis.sock"
    command = [executable, "--port", "0", "--unixsocket", str(address), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            assert any("eady to accept connections" in line for line in process.stdout)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(address))
                connection.sendall(b"PING\r\n")
                assert connection.recv(16) == b"+PONG\r\n"
        finally:
            process.terminate()
