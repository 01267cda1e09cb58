"""Parts of solutions to the bytes of HTTP bodies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from certisolve import wire
from certisolve.sequence import SAFETENSORS_SEQ, SILENCE, pack
from certisolve_server.answers import Solution
from certisolve_server.errors import ServingError
from certisolve_server.jobs import Array
from certisolve_server.parts import Part, SolvedFrame, Start

from .codec import COORDS, encode_json, json_arrays, model_ref, solution_metadata
from .events import EVENT_STREAM
from .problems import problem_document


class Renderer(ABC):
    """Writes parts in one media type.

    Attributes:
        media_type: of the body.
        silence: what says that the server is still there.
    """

    media_type: str
    silence: bytes

    def part(self, part: Part) -> bytes:
        """A start, a frame or a summary."""
        return self._render(_described(part))

    def problem(self, error: ServingError) -> bytes:
        """Why there will be no more parts; the last thing that is written."""
        return self._render(_Description("error", problem_document(error)))

    @abstractmethod
    def _render(self, described: "_Description") -> bytes: ...


class EventRenderer(Renderer):
    """Server-sent events: a name, and JSON in which tensors are nested lists."""

    media_type = EVENT_STREAM
    silence = b": still here\n\n"

    def _render(self, described: "_Description") -> bytes:
        arrays = {key: json_arrays(value) for key, value in described.arrays.items()}
        # JSON in one line, so that it is one data line.
        data = encode_json({**described.document, **arrays})
        return b"event: %s\ndata: %s\n\n" % (described.event.encode(), data)


class SequenceRenderer(Renderer):
    """Safetensors documents, each behind its length; the name is the key `event` of its JSON."""

    media_type = SAFETENSORS_SEQ
    silence = SILENCE

    def _render(self, described: "_Description") -> bytes:
        fields, coords = (described.arrays.get(key, {}) for key in ("fields", "coords"))
        tensors = {**fields, **{COORDS + axis: points for axis, points in coords.items()}}
        document = encode_json({"event": described.event, **described.document})
        return pack(wire.encode_safetensors(tensors, document.decode()))


def choose_renderer(accept: str | None, request_type: str) -> Renderer:
    """For the first media type of `Accept` that parts can be written in, else the request's."""
    for choice in (accept or "").split(","):
        media_type = choice.partition(";")[0].strip().lower()
        if media_type in (wire.SAFETENSORS, SAFETENSORS_SEQ):
            return SequenceRenderer()
        if media_type == EVENT_STREAM:
            return EventRenderer()
    return SequenceRenderer() if request_type == wire.SAFETENSORS else EventRenderer()


class _Description(NamedTuple):
    """A part, before it is written.

    Attributes:
        event: its name.
        document: all of it but its arrays.
        arrays: `fields` and `coords`, by name.
    """

    event: str
    document: Mapping[str, Any]
    arrays: Mapping[str, Mapping[str, Array]] = {}


def _described(part: Part) -> _Description:
    match part:
        case Start():
            return _Description("start", _start_document(part), {"coords": part.coords})
        case SolvedFrame():
            document = {"index": part.index, "step": part.step, "t": part.t}
            return _Description("frame", document, {"fields": part.fields})
        case Solution():
            return _Description("summary", solution_metadata(part), {"coords": part.coords})


def _start_document(start: Start) -> dict[str, Any]:
    return {
        "model": model_ref(start.artifact),
        "num_frames": start.num_frames,
        "t": start.t,
        "axes": start.axes,
    }
