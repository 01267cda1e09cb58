"""What became of every job, from the log that Redis keeps of all writes: no answer escapes it."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_JOB = re.compile(rb"^\{[^}]*\}:job:([0-9A-Za-z]+)$")
_FINAL = ("succeeded", "failed", "cancelled")


@dataclass
class JobRecord:
    """One job.

    Attributes:
        ends: every final status it was given, in order.
        num_accepted: how often it was put into the queue as new.
        num_deliveries: how often it was handed to a worker.
        num_crashes: how often a worker died while running it.
        is_forgotten: whether it was dropped without an end, as what nobody waits for may be.
    """

    ends: list[str] = field(default_factory=list)
    num_accepted: int = 0
    num_deliveries: int = 0
    num_crashes: int = 0
    is_forgotten: bool = False


class Ledger:
    """The history of all jobs of a Redis that appends to a file.

    Arguments:
        directory: of Redis.
    """

    def __init__(self, directory: Path) -> None:
        self.jobs: dict[str, JobRecord] = {}
        for words in _commands(directory):
            found = _JOB.match(words[1]) if len(words) > 1 else None
            if found:
                job = self.jobs.setdefault(found[1].decode(), JobRecord())
                _take_note(job, words[0].upper(), words[2:])

    @property
    def ends(self) -> Counter[str]:
        """How many jobs ended in each way; those that ended twice, or never, count as that."""
        return Counter(
            "+".join(job.ends) or ("forgotten" if job.is_forgotten else "never")
            for job in self.jobs.values()
        )

    def total(self, attribute: str) -> int:
        """A count, summed over the jobs."""
        return sum(getattr(job, attribute) for job in self.jobs.values())


def _take_note(job: JobRecord, command: bytes, words: list[bytes]) -> None:
    if command in (b"HSET", b"HMSET"):
        values = dict(zip(words[::2], words[1::2], strict=True))
        job.num_accepted += b"bytes" in values
        status = values.get(b"status", b"").decode()
        if status in _FINAL:
            job.ends.append(status)
    elif command in (b"DEL", b"UNLINK"):
        job.is_forgotten = True
    elif command == b"HINCRBY":
        job.num_deliveries += words[0] == b"token"
        job.num_crashes += words[0] == b"crashes"


def _commands(directory: Path) -> Iterator[list[bytes]]:
    """Every command in the append-only file: one file before Redis 7, numbered parts since."""
    parts = sorted(directory.glob("appendonlydir/*.incr.aof"), key=_number) or [
        directory / "appendonly.aof"
    ]
    for part in parts:
        with part.open("rb") as file:
            while words := _command(file):
                yield words


def _command(file: BinaryIO) -> list[bytes]:
    """The next command; none at the end, or where Redis is still writing."""
    count = file.readline()
    if not count.endswith(b"\n"):
        return []
    words = [_word(file) for _ in range(int(count[1:]))]
    whole = [word for word in words if word is not None]
    return whole if len(whole) == len(words) else []


def _word(file: BinaryIO) -> bytes | None:
    length = file.readline()
    if not length.endswith(b"\n"):
        return None
    word = file.read(int(length[1:]) + 2)
    return word[:-2] if word.endswith(b"\r\n") else None


def _number(path: Path) -> int:
    return int(path.name.split(".")[-3])
