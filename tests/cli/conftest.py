"""The command line as people call it, against a running server."""

import pytest
from typer.testing import CliRunner

from certisolve_server.cli import app


@pytest.fixture
def call(monkeypatch):
    """Run a command; its result has exit_code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CERTISOLVE_URL", raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def refuse(call):
    """Run a command that must fail; the one line it says."""

    def run(*arguments, exit_code=1):
        result = call(*arguments)
        assert result.exit_code == exit_code, result.output
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("error ")
        return lines[0]

    return run


@pytest.fixture(params=["http", "grpc"])
def url(request, server):
    return server.url(request.param)


@pytest.fixture
def nobody(free_port):
    """An address at which nobody listens."""
    return f"http://127.0.0.1:{free_port}"


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
