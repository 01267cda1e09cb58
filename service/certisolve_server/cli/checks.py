"""What `doctor` looks at: each check gives findings and changes nothing."""

import asyncio
import importlib.util
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from certisolve_server.jobs import Artifact

_CONNECT_TIMEOUT_S = 1.0
_ANSWER_TIMEOUT_S = 2.0
_MEND = "export it again, or remove it"


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        section: software, devices, ports, repository or server.
        level: `error` when serving is impossible; `warning` when something optional is missing.
        fix: what to do; empty when there is nothing to do.
    """

    section: str
    name: str
    level: Literal["ok", "warning", "error"]
    detail: str
    fix: str = ""


_REQUIRED = ("certisolve-server", "certisolve", "fastapi", "uvicorn", "grpcio", "numpy")


def check_software() -> Iterator[Finding]:
    """Python and the packages that serving stands on."""
    yield Finding("software", "python", "ok", platform.python_version())
    for package in _REQUIRED:
        yield _package("software", package, "error", f"pip install {package}")
    yield _package("software", "torch", "error", "pip install 'certisolve-server[cpu]'")
    yield _onnxruntime()
    yield _package("software", "matplotlib", "warning", "pip install 'certisolve-server[plot]'")
    yield _redis()


def check_devices() -> Iterator[Finding]:
    """Where programs can run."""
    if importlib.util.find_spec("torch") is None:
        yield Finding("devices", "cpu", "error", "torch is not installed")
        return
    import torch

    yield Finding("devices", "cpu", "ok", f"{torch.get_num_threads()} compute threads")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        yield Finding("devices", f"cuda:{index}", "ok", f"{properties.name}, {memory}")


def check_port(name: str, flag: str, port: int) -> Finding:
    """Whether `serve` can listen on a loopback port, else who answers there."""
    try:
        socket.create_connection(("127.0.0.1", port), _CONNECT_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return Finding("ports", name, "ok", f"{port} is free")
    except OSError as error:
        return Finding("ports", name, "warning", f"{port}: {error.strerror or error}")
    scheme = "http" if name == "HTTP" else "grpc"
    if _models_at(f"{scheme}://127.0.0.1:{port}") is not None:
        return Finding("ports", name, "ok", f"{port}: a certisolve server answers")
    return Finding(
        "ports", name, "error", f"{port} is taken by another program", f"serve with {flag} 0"
    )


def check_repository(root: Path) -> Iterator[Finding]:
    """The artifacts on disk, their digests and their archives."""
    from certisolve_server.artifacts import ArtifactError, scan

    fix = "build the bundled models with `make models`, or pass --models DIR"
    try:
        found = scan(root)
    except ArtifactError:
        yield Finding("repository", str(root), "error", "no such directory", fix)
        return
    findings = [_artifact(artifact) for artifact in found.artifacts]
    yield from findings
    for path, fault in found.faults.items():
        yield Finding("repository", path, "warning", fault, _MEND)
    if not any(finding.level == "ok" for finding in findings):
        yield Finding("repository", str(root), "error", "no artifact fit to serve", fix)


def check_server(url: str) -> Finding:
    """Whether a certisolve server answers at `url`."""
    names = _models_at(url)
    if names is None:
        return Finding("server", url, "error", "no certisolve server answers", "certisolve serve")
    return Finding("server", url, "ok", f"serves {', '.join(names) or 'no models'}")


def check_queue(url: str) -> Finding:
    """Whether the Redis at `url` can be reached, and would keep what it accepts."""
    from certisolve_server.broker.redis import RedisBroker, UnsafeRedis
    from certisolve_server.errors import QueueUnavailable

    async def check() -> Finding:
        broker = RedisBroker(url, "doctor")
        try:
            await broker.check()
        except UnsafeRedis as error:
            return Finding("queue", "redis", "error", str(error))
        except QueueUnavailable as error:
            return Finding("queue", "redis", "error", error.detail, "start it, or mend the URL")
        finally:
            await broker.close()
        return Finding("queue", "redis", "ok", "answers, and drops nothing")

    try:
        return asyncio.run(check())
    except ValueError as error:
        return Finding("queue", "redis", "error", str(error), "redis://host:port/db")


def _artifact(artifact: "Artifact") -> Finding:
    from certisolve_server.artifacts import UnsafeProgram, check_pt2

    manifest = artifact.manifest
    name, program = f"{manifest.name}/{manifest.version}", manifest.program
    try:
        if program.format == "torch.export":
            check_pt2(Path(artifact.directory) / program.file)
    except UnsafeProgram as error:
        return Finding("repository", name, "warning", str(error), _MEND)
    return Finding("repository", name, "ok", artifact.manifest.title)


def _package(section: str, package: str, missing: Literal["warning", "error"], fix: str) -> Finding:
    try:
        return Finding(section, package, "ok", version(package))
    except PackageNotFoundError:
        return Finding(section, package, missing, "not installed", fix)


def _onnxruntime() -> Finding:
    for package in ("onnxruntime", "onnxruntime-gpu"):
        finding = _package("software", package, "warning", "")
        if finding.level == "ok":
            return finding
    return Finding(
        "software",
        "onnxruntime",
        "warning",
        "not installed: ONNX models cannot be served",
        "pip install 'certisolve-server[cpu]', or [gpu]",
    )


def _redis() -> Finding:
    path = shutil.which("redis-server")
    if path is None:
        detail = "not on PATH: `serve` does not need it"
        return Finding("software", "redis-server", "warning", detail, "install Redis 7")
    # It prints one line, in which the word with the version starts with v=.
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    found = [word[2:] for word in asked.stdout.split() if word.startswith("v=")]
    return Finding("software", "redis-server", "ok", found[0] if found else "version unknown")


def _models_at(url: str) -> list[str] | None:
    """The names of the models at `url`; None when no certisolve server answers."""
    from certisolve import CertisolveError, Client, RetryPolicy

    try:
        with Client(url, timeout=_ANSWER_TIMEOUT_S, retry=RetryPolicy(max_attempts=1)) as client:
            return [info.name for info in client.models()]
    except (CertisolveError, ValueError):
        return None
