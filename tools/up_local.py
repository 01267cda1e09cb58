"""Start the services of docker-compose.yml as plain processes; Ctrl-C stops them.

Variables of the compose file (REDIS_PORT, WORKER_THREADS, ...) are taken from the environment.
"""

import argparse
import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compose_file import ComposeError, Port, Process, as_processes, levels, read_services

ROOT = Path(__file__).parent.parent
#: Services that the others do without when their program is missing.
OPTIONAL = frozenset({"prometheus"})
#: What reads better in a terminal than in a container's log.
DEFAULTS = {"LOG_FORMAT": "text"}
_COLOURS = (36, 32, 33, 35, 34, 31)
# As Docker does it: doubled from restart to restart, forgotten after a quiet while.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _QUIET_S = 0.1, 60.0, 10.0
_LATE_S = 30.0
_LONGEST_LINE = 1 << 24


class Console:
    """Prints lines under the name of the service that wrote them."""

    def __init__(self, names: Sequence[str], *, colour: bool) -> None:
        self._width = max(map(len, names), default=0)
        self._colour = colour
        self._colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}

    def line(self, name: str, text: str) -> None:
        """Print a line of the service `name`."""
        prefix = f"{name:<{self._width}} |"
        if self._colour:
            prefix = f"\033[{self._colours.get(name, 1)}m{prefix}\033[0m"
        print(prefix, text, flush=True)  # noqa: T201


class Supervisor:
    """Keeps one process running, and its output on the console."""

    def __init__(self, process: Process, console: Console) -> None:
        self.process = process
        self._console = console
        self._child: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Start it, and again whenever it ends, until `stop`."""
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            started_at = time.monotonic()
            await self._run_once()
            if self._stopping.is_set() or not self.process.service.restart:
                return
            if time.monotonic() - started_at > _QUIET_S:
                pause_s = _FIRST_PAUSE_S
            self._say(f"started again in {pause_s:.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def listening(self) -> None:
        """Wait until its first port takes connections."""
        port = self.process.service.ports[0].published
        late_at = time.monotonic() + _LATE_S
        while not await _is_open(port):
            if time.monotonic() > late_at:
                self._say(f"does not listen on 127.0.0.1:{port} yet")
                late_at += _LATE_S
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Ask it to end; kill it, and what it started, when its time is up."""
        self._stopping.set()
        child = self._child
        if child is None or child.returncode is not None:
            return
        _signal(child.pid, signal.SIGTERM, group=False)
        try:
            await asyncio.wait_for(child.wait(), self.process.service.grace_s)
        except TimeoutError:
            self._say(f"killed: it did not end within {self.process.service.grace_s:.0f} s")
            _signal(child.pid, signal.SIGKILL, group=True)
            await child.wait()

    def kill(self) -> None:
        """End it now."""
        self._stopping.set()
        if self._child is not None and self._child.returncode is None:
            _signal(self._child.pid, signal.SIGKILL, group=True)

    async def _run_once(self) -> None:
        # In a session of its own: a Ctrl-C in the terminal is for this program alone.
        child = self._child = await asyncio.create_subprocess_exec(
            *self.process.argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.process.service.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        self._say(f"started pid={child.pid}")
        if self._stopping.is_set():  # asked to while it was being started
            _signal(child.pid, signal.SIGTERM, group=False)
        assert child.stdout is not None
        reading = asyncio.create_task(self._read(child.stdout))
        code = await child.wait()
        _signal(child.pid, signal.SIGKILL, group=True)  # what it started and left behind
        await reading
        self._say(f"ended code={code}")

    async def _read(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            self._say(line.decode(errors="replace").rstrip())

    def _say(self, text: str) -> None:
        self._console.line(self.process.name, text)


async def up(processes: Sequence[Process], console: Console) -> None:
    """Run until SIGINT or SIGTERM; a second one kills what is left."""
    supervisors = {process.name: Supervisor(process, console) for process in processes}
    stopping = asyncio.Event()
    _on_signals(stopping, supervisors)
    try:
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(_start(supervisors, tasks, console))
            await stopping.wait()
            starting.cancel()
            for level in reversed(levels([process.service for process in processes])):
                await asyncio.gather(*(supervisors[service.name].stop() for service in level))
    finally:
        for supervisor in supervisors.values():
            supervisor.kill()


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _start(
    supervisors: Mapping[str, Supervisor], tasks: asyncio.TaskGroup, console: Console
) -> None:
    for supervisor in supervisors.values():
        for name, healthy in supervisor.process.service.depends_on.items():
            if healthy:
                await supervisors[name].listening()
        tasks.create_task(supervisor.run())
    await asyncio.gather(*(supervisor.listening() for supervisor in supervisors.values()))
    for name, supervisor in supervisors.items():
        ports = ", ".join(f"127.0.0.1:{p.published}" for p in supervisor.process.service.ports)
        console.line(name, f"listens on {ports}")
    console.line("up-local", "everything is up; Ctrl-C stops it")


def _on_signals(stopping: asyncio.Event, supervisors: Mapping[str, Supervisor]) -> None:
    def on_signal() -> None:
        if stopping.is_set():
            for supervisor in supervisors.values():
                supervisor.kill()
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, number)


def find_programs(processes: Sequence[Process]) -> tuple[list[Process], list[str]]:
    """The processes whose program is here, with its path, and what to say about the others."""
    found, faults = [], []
    for process in processes:
        program = _program(process.argv[0])
        if program is None:
            faults.append(f"{process.name} is not started: no {process.argv[0]} on PATH")
        else:
            found.append(replace(process, argv=(program, *process.argv[1:])))
    return found, faults


def _program(name: str) -> str | None:
    places = (Path(sys.executable).parent, ROOT / ".tools")
    near = next((place / name for place in places if os.access(place / name, os.X_OK)), None)
    return str(near) if near else shutil.which(name)


def taken_ports(processes: Sequence[Process]) -> Iterator[str]:
    """What to do about each port that another program holds."""
    for process in processes:
        for port in process.service.ports:
            if not _is_free(port):
                mend = f" or set {port.variable}" if port.variable else ""
                yield (
                    f"port {port.published} of {process.name} is taken; stop what holds it{mend}"
                )


def _is_free(port: Port) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port.published))
        except OSError:
            return False
    return True


def _describe(processes: Sequence[Process], console: Console) -> None:
    for process in processes:
        settings = [f"{key}={value}" for key, value in process.service.environment.items()]
        console.line(process.name, shlex.join([*settings, *process.argv]))


def _prepare(processes: Sequence[Process]) -> None:
    for process in processes:
        for folder in (*process.folders, *(path.parent for path in process.files)):
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in process.files.items():
            path.write_text(text)


def main() -> int:
    """0 once everything was stopped, or when it could be started; 1 when it could not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="print what would be started")
    parser.add_argument("--data", type=Path, default=ROOT / ".up-local", help="folder for volumes")
    options = parser.parse_args()
    try:
        services = read_services(ROOT / "docker-compose.yml", DEFAULTS | dict(os.environ))
        processes = as_processes(services, ROOT, options.data.resolve())
    except ComposeError as error:
        print(f"docker-compose.yml: {error}", file=sys.stderr)  # noqa: T201
        return 1
    console = Console([s.name for s in services], colour=_wants_colour())
    processes, missing = find_programs(processes)
    faults = [*taken_ports(processes)]
    for fault in (*missing, *faults):
        print(fault, file=sys.stderr)  # noqa: T201
    if options.check:
        _describe(processes, console)
    absent = {service.name for service in services} - {process.name for process in processes}
    if faults or absent - OPTIONAL:
        return 1
    if not options.check:
        _prepare(processes)
        asyncio.run(up(processes, console))
    return 0


def _wants_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


if __name__ == "__main__":
    sys.exit(main())
