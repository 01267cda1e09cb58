"""A process that proves, as the worker that started it sees it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, NamedTuple

from certisolve_server.certification import channel

_MODULE = "certisolve_server.certification.main"
#: Where a process writes what its operator should see.
_STDERR = 2


class ProverOptions(NamedTuple):
    """How processes are started that prove.

    Attributes:
        threads: of the computation; 0 leaves it to torch.
        max_bytes: of memory; 0 for no limit.
        command: what runs one; its arguments are a file descriptor, threads and bytes.
    """

    threads: int = 1
    max_bytes: int = 0
    command: Sequence[str] = (sys.executable, "-m", _MODULE)


class ProverDied(Exception):
    """The process ended by itself, or memory ran out and the kernel took it."""


class ProverProcess:
    """One process, started by the first job, and again by the first after it was killed.

    Arguments:
        options: how it is started.
    """

    def __init__(self, options: ProverOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._burials: set[asyncio.Future[Any]] = set()

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    async def open(self) -> None:
        """Return once a process is there that can prove.

        Raises:
            ProverDied: it does not start.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        ours, theirs = socket.socketpair()
        # Starting a process waits for it to be there.
        starting = asyncio.ensure_future(asyncio.to_thread(_start, self._options, theirs))
        try:
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            ours.close()
            self._end(_end_started(starting))
            raise
        except OSError as error:
            ours.close()
            raise ProverDied(f"it cannot be started: {error}") from error
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        message = await self._read()
        if message.kind != channel.READY:
            raise ProverDied("it does not speak as this worker does")

    async def prove(self, job: bytes) -> AsyncGenerator[channel.Message, None]:
        """What it says of a job; the last message is of the kind DONE or REFUSED.

        Args:
            job: a message, see `channel.encode_job`.

        Raises:
            ProverDied: there will be no last one.
        """
        assert self._writer is not None, "opened before"
        try:
            self._writer.write(job)
            await self._writer.drain()
        except ConnectionError as error:
            raise ProverDied(str(error)) from error
        while True:
            message = await self._read()
            yield message
            if message.kind in (channel.DONE, channel.REFUSED):
                return

    def kill(self) -> None:
        """End it at once, whatever it does; there may be none."""
        process, self._process = self._process, None
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None
        if process is not None:
            process.kill()
            self._end(asyncio.to_thread(process.wait))

    async def buried(self) -> None:
        """Return once nothing is left of processes that were killed."""
        await asyncio.gather(*self._burials)

    def _end(self, ending: Coroutine[Any, Any, object]) -> None:
        burial = asyncio.ensure_future(ending)
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)

    async def _read(self) -> channel.Message:
        assert self._reader is not None, "opened before"
        try:
            return await channel.read(self._reader)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ProverDied("the process ended") from error


def _start(options: ProverOptions, theirs: socket.socket) -> "subprocess.Popen[bytes]":
    with theirs:
        fd = theirs.fileno()
        return subprocess.Popen(
            [*options.command, str(fd), str(options.threads), str(options.max_bytes)],
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            # Signals of a terminal are for the worker; no device is touched.
            start_new_session=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )


async def _end_started(starting: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    process = await starting
    process.kill()
    await asyncio.to_thread(process.wait)
