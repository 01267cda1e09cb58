"""Large records in POSIX shared memory, between processes of one machine.

A segment is a file on the memory file system, named after its queue and its job. Who wrote an input
removes it when the job has ended; who reads an answer removes it at once, since a mapping outlives
its name. What the dead leave behind is swept once its job has ended and a minute has passed.
"""

import hashlib
import mmap
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_DIRECTORY = Path("/dev/shm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TTL_S = 60.0
_REFERENCE = b"@shm:"
_MAX_CHUNKS = 1024  # of one system call, on Linux
_JOB_ID = re.compile(r"-([0-9A-Za-z]+)-(?:in|out)-[0-9a-f]+$")

Chunk = bytes | memoryview


class SegmentLost(Exception):
    """A segment is not there any more."""


class Segments:
    """The segments of one queue on this machine.

    Arguments:
        queue: whose; other queues' segments are left alone.
    """

    def __init__(self, queue: str) -> None:
        self._prefix = f"certisolve-{hashlib.sha256(queue.encode()).hexdigest()[:12]}-"
        self.host = _HOST

    def write(self, job_id: str, side: str, chunks: Sequence[Chunk]) -> bytes | None:
        """Put a record into a new segment; a reference to it, None if there is no room.

        Args:
            job_id: whose.
            side: `in` or `out`.
            chunks: of the record.
        """
        # A suffix of its own: a late answer must not meet the segment of the one that counts.
        name = f"{self._prefix}{job_id}-{side}-{secrets.token_hex(4)}"
        try:
            descriptor = os.open(_DIRECTORY / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError:
            return None
        try:
            _write(descriptor, chunks)
        except OSError:
            self._remove(name)
            return None
        finally:
            os.close(descriptor)
        return _REFERENCE + name.encode()

    def read(self, record: bytes, *, remove: bool = False) -> bytes | memoryview:
        """The record itself, or the segment it refers to.

        Args:
            record: as it came through the queue.
            remove: delete the segment's name; what is returned stays readable.

        Raises:
            SegmentLost: it is gone.
        """
        if not record.startswith(_REFERENCE):
            return record
        name = self._name(record)
        try:
            descriptor = os.open(_DIRECTORY / name, os.O_RDONLY)
        except OSError as error:
            raise SegmentLost("its fields were in shared memory, which is gone") from error
        try:
            mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        if remove:
            self._remove(name)
        return memoryview(mapping)

    def remove(self, record: bytes) -> None:
        """Delete the segment a record refers to, if it does and it is there."""
        if record.startswith(_REFERENCE):
            self._remove(self._name(record))

    def old(self) -> Iterator[tuple[str, bytes]]:
        """Job and reference of every segment that is older than a minute."""
        if not self.host:
            return
        born_before = time.time() - _TTL_S
        for path in _DIRECTORY.glob(f"{self._prefix}*"):
            found = _JOB_ID.search(path.name)
            if found and _born_at(path) < born_before:
                yield found[1], _REFERENCE + path.name.encode()

    def _name(self, record: bytes) -> str:
        # The queue says which file is read: only ever one of this queue's, in this directory.
        name = record[len(_REFERENCE) :].decode(errors="replace")
        if not name.startswith(self._prefix) or "/" in name:
            raise SegmentLost("a reference to something that is no segment of this queue")
        return name

    def _remove(self, name: str) -> None:
        (_DIRECTORY / name).unlink(missing_ok=True)


def _host() -> str:
    """Names those who can read each other's segments; empty where there is no shared memory.

    The same boot, the same mount of the memory file system (containers have their own), and the
    same user, for segments are readable to nobody else.
    """
    try:
        facts = (_BOOT_ID.read_text().strip(), _DIRECTORY.stat().st_dev, os.getuid())
    except (OSError, AttributeError):
        return ""
    writable = os.access(_DIRECTORY, os.W_OK) and hasattr(os, "writev")
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12] if writable else ""


def _write(descriptor: int, chunks: Sequence[Chunk]) -> None:
    """Write all chunks; half as long as through a mapping, whose every page would be a fault."""
    rest = [memoryview(chunk) for chunk in chunks]
    while rest:
        written = os.writev(descriptor, rest[:_MAX_CHUNKS])
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


def _born_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


# At import: an event loop must not wait for a file.
_HOST = _host()
