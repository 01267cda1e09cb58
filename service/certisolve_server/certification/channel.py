"""Messages between a worker and its provers: a kind, a length, and bytes, over a socket."""

import json
import socket
from asyncio import StreamReader
from collections.abc import Mapping
from typing import Any, NamedTuple

_LENGTH_BYTES = 8

#: To a prover: a job. From it: it is ready; a certificate that may get better; the last one; a
#: refusal.
JOB, READY, BETTER, DONE, REFUSED = b"j", b"r", b"b", b"d", b"x"


class Message(NamedTuple):
    """What was said."""

    kind: bytes
    payload: bytes


def encode(kind: bytes, *parts: bytes) -> bytes:
    """A message; of several parts, all but the last say their length."""
    *heads, last = parts or (b"",)
    payload = b"".join(_measured(part) for part in heads) + last
    return kind + _measured(payload)


def split(payload: bytes) -> tuple[bytes, bytes]:
    """The two parts of a payload that has two."""
    end = _LENGTH_BYTES + int.from_bytes(payload[:_LENGTH_BYTES], "little")
    return payload[_LENGTH_BYTES:end], payload[end:]


def encode_job(header: Mapping[str, Any], record: bytes) -> bytes:
    """A job for a prover.

    Args:
        header: where its artifact lies, and how long to search.
        record: of the job, as it travels through queues.
    """
    return encode(JOB, json.dumps(header).encode(), record)


async def read(reader: StreamReader) -> Message:
    """The next message.

    Raises:
        IncompleteReadError: the other end is gone.
        ConnectionError: likewise.
    """
    head = await reader.readexactly(1 + _LENGTH_BYTES)
    return Message(head[:1], await reader.readexactly(int.from_bytes(head[1:], "little")))


def receive(connection: socket.socket) -> Message | None:
    """The next message, as a prover reads it; None when the worker is gone."""
    head = _receive_exactly(connection, 1 + _LENGTH_BYTES)
    if head is None:
        return None
    payload = _receive_exactly(connection, int.from_bytes(head[1:], "little"))
    return None if payload is None else Message(head[:1], payload)


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    buffer = bytearray()
    while len(buffer) < count:
        try:
            chunk = connection.recv(min(count - len(buffer), 1 << 20))
        except ConnectionError:
            return None
        if not chunk:
            return None
        buffer += chunk
    return bytes(buffer)


def _measured(part: bytes) -> bytes:
    return len(part).to_bytes(_LENGTH_BYTES, "little") + part
