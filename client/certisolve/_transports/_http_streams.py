"""Bodies that arrive as a stream, to replies; no I/O."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import httpx

from certisolve._calls import Call, Reply, read_problem
from certisolve._errors import InvalidReply
from certisolve.sequence import SAFETENSORS_SEQ, SequenceError, Unpacker
from certisolve.wire import WireError, decode_safetensors

from ._http_codec import EVENT_STREAM, TimeLimit, decode_object
from ._sse import Event, EventParser

#: How a stream is ended in favour of a new one.
STREAM_IS_OLD = "the time of the stream is up"
#: How a stream is ended that says nothing.
STREAM_IS_SILENT = "nothing came"
#: Events that say where a job stands; others are of a later release.
_JOB_EVENTS = frozenset({"status", "bound", "succeeded", "failed", "cancelled"})


class StreamAnswers(ABC):
    """Reads one streamed body as it arrives, while the call's time lasts.

    Attributes:
        media_type: of the body.
        what: it holds, for people.
        late: what is said when the time is up.
        restarts: whether the time runs from the last reply, not from the beginning.
    """

    media_type: str
    what: str
    late: str
    restarts: bool

    def __init__(self, call: Call) -> None:
        self._limit = TimeLimit(call)

    def add(self, chunk: bytes) -> Iterator[Reply]:
        """The replies that `chunk` completes.

        Raises:
            ServerError: the server says why it cannot go on.
            RequestTimeout: the call's time is up.
            InvalidReply: a part of the stream is not certisolve's.
        """
        for reply in self._read(chunk):
            yield reply
            if self.restarts:
                # From here: what the caller did with the reply is not the server's time.
                self._limit.restart()
        self._limit.check(self.late)

    def accepts(self, response: httpx.Response) -> bool:
        """Whether the response is such a body; if not, an `Answer` tells what is wrong."""
        content_type: str = response.headers.get("Content-Type", "")
        return response.status_code == 200 and content_type.startswith(self.media_type)

    def refuse(self, reply: Reply) -> InvalidReply:
        """The exception for a reply where a stream was expected."""
        return InvalidReply(
            f"the reply is not certisolve's: {self.what} expected, got {sorted(reply.body)}"
        )

    @abstractmethod
    def _read(self, chunk: bytes) -> Iterator[Reply]: ...


class JobEvents(StreamAnswers):
    """Changes of a job, as server-sent events."""

    media_type = EVENT_STREAM
    what = "events"
    late = STREAM_IS_OLD
    restarts = False

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._parser = EventParser()

    def _read(self, chunk: bytes) -> Iterator[Reply]:
        for event in self._parser.feed(chunk):
            if event.name == "problem":
                raise read_problem(_decode_event(event))
            if event.name in _JOB_EVENTS:
                yield Reply({}, _decode_event(event))


class SolutionParts(StreamAnswers):
    """Parts of a solution, as a sequence of safetensors documents."""

    media_type = SAFETENSORS_SEQ
    what = "parts of a solution"
    late = STREAM_IS_SILENT
    restarts = True

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._unpacker = Unpacker()

    def _read(self, chunk: bytes) -> Iterator[Reply]:
        try:
            for document in self._unpacker.feed(chunk):
                reply = Reply(*decode_safetensors(document))
                if reply.body.get("event") == "error":
                    raise read_problem(reply.body)
                yield reply
        except (SequenceError, WireError) as error:
            raise InvalidReply(f"the stream is not certisolve's: {error}") from error


def stream_answers(call: Call) -> StreamAnswers:
    """What reads the body that answers a call."""
    return SolutionParts(call) if call.operation == "stream" else JobEvents(call)


def _decode_event(event: Event) -> dict[str, object]:
    try:
        return decode_object(event.data.encode())
    except ValueError as error:
        raise InvalidReply(f"the event {event.name!r} is not certisolve's: {error}") from error
