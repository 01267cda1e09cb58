"""HTTP/1.1 with keep-alive and safetensors bodies, at the least cost per request.

A general client spends more time on a request than the server does. This one writes bytes that
were prepared once, and reads of the reply the status, the length and the batch size.
"""

import asyncio
import json
import re
from typing import cast
from urllib.parse import quote

from certisolve.wire import SAFETENSORS, encode_safetensors

from .door import AbstractConnection, AbstractDoor, Answer, SolveInputs

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# The reply's metadata is JSON in a JSON string, so that its quotes are escaped.
_BATCH_SIZE = re.compile(rb'batch_size\\?": ?(\d+)')
_STATUS_OK = b"200"


class HttpDoor(AbstractDoor):
    """POST /v1/models/{model}/solve."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def prepare(self, model: str, version: str | None, inputs: SolveInputs) -> bytes:
        metadata: dict[str, object] = {"parameters": dict(inputs.parameters)}
        if version is not None:
            metadata["version"] = version
        body = encode_safetensors(inputs.arrays, metadata)
        head = (
            f"POST /v1/models/{quote(model, safe='')}/solve HTTP/1.1\r\n"
            f"Host: {self._host}:{self._port}\r\n"
            f"Content-Type: {SAFETENSORS}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def connect(self) -> "HttpConnection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(HttpConnection, self._host, self._port)
        return connection


class HttpConnection(asyncio.Protocol, AbstractConnection):
    """One keep-alive connection; replies without a Content-Length are not understood."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._received = bytearray()
        self._expected = 0

    async def send(self, request: bytes) -> Answer:
        if self._transport is None or self._transport.is_closing():
            return Answer("connection_failed")
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    async def aclose(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._expected:
            self._expected = _reply_length(self._received)
        if self._expected and len(self._received) >= self._expected:
            answer = _read_answer(self._received)
            self._received.clear()
            self._expected = 0
            self._resolve(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._resolve(Answer("connection_failed"))

    def _resolve(self, answer: Answer) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(answer)


def _reply_length(received: bytearray) -> int:
    """Bytes of the whole reply; 0 while its head is incomplete."""
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        return 0
    length = _LENGTH.search(received, 0, head_end)
    return head_end + len(_HEAD_END) + (int(length[1]) if length else 0)


def _read_answer(reply: bytearray) -> Answer:
    start = reply.find(_HEAD_END) + len(_HEAD_END)
    if reply[9:12] == _STATUS_OK:
        header_end = start + 8 + int.from_bytes(reply[start : start + 8], "little")
        found = _BATCH_SIZE.search(reply, start, header_end)
        return Answer("ok", int(found[1])) if found else Answer("not_a_solution")
    try:
        return Answer(str(json.loads(reply[start:])["code"]))
    except (ValueError, KeyError, TypeError):
        return Answer(f"http_{reply[9:12].decode('ascii', 'replace')}")
