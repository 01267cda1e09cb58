"""Server-sent events, as the HTML standard parses them; no I/O.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import codecs
import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One event.

    Attributes:
        name: `message` when the server gave none.
        data: its data lines, joined by newlines.
    """

    name: str
    data: str


class EventParser:
    """Reads events from a stream that arrives in pieces of any length.

    `id` and `retry` are not read: every stream starts with the current state, and the client has
    its own policy of coming back.
    """

    def __init__(self) -> None:
        self._line = b""
        self._ended_in_cr = False
        self._at_start = True
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        events: list[Event] = []
        for line in self._lines(chunk):
            if line:
                self._read(line.decode("utf-8", "replace"))
                continue
            if self._data:
                events.append(Event(self._name or "message", "\n".join(self._data)))
            self._name, self._data = "", []
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        if not chunk:
            return []
        if self._ended_in_cr:
            # The second half of a CRLF ended nothing but what the first half had ended.
            chunk = chunk.removeprefix(b"\n")
        self._ended_in_cr = chunk.endswith(b"\r")
        *lines, self._line = _LINE_END.split(self._line + chunk)
        if lines and self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        return lines

    def _read(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        # A comment is a line whose field has no name.
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
