"""Reads the parts of a stream, and knows where it broke; no I/O."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._calls import COORDS, Call, Reply, read_model_ref, read_solution, reading
from ._errors import CertisolveError, ConnectionFailed, InvalidReply
from ._results import Frame, ModelRef, Solution
from ._retry import RetryPolicy


def join(frames: Sequence[Frame], summary: Solution) -> Solution:
    """The solution that frames and their summary add up to.

    Raises:
        ValueError: frames are missing.
    """
    names = list(summary.axes)
    advances = any(axes[:1] == ("t",) for axes in summary.axes.values())
    expected = summary.t.size if advances else 1
    if [frame.index for frame in frames] != list(range(expected)):
        raise ValueError(f"frames: all {expected} of the stream are needed, in order")
    columns = {name: [frame.fields[name] for frame in frames] for name in names}
    fields = {name: np.stack(parts) if advances else parts[0] for name, parts in columns.items()}
    for field in fields.values():
        field.flags.writeable = False
    return dataclasses.replace(summary, fields=fields)


@dataclasses.dataclass(frozen=True, slots=True)
class _Start:
    """What every frame of a stream shares; attributes as in `Frame`."""

    model: ModelRef
    num_frames: int
    axes: dict[str, tuple[str, ...]]
    coords: dict[str, Any]


class StreamReader:
    """The connections of one stream, each going on where the last one broke.

    Arguments:
        call: that asks for all frames.
        retry: when to connect again.
    """

    def __init__(self, call: Call, retry: RetryPolicy) -> None:
        self._call = call
        self._retry = retry
        self._failed = 0
        self._start: _Start | None = None
        self._told: list[tuple[int | None, float]] = []  # steps and times of frames
        self._left_out = 0
        self._summary: Solution | None = None

    @property
    def ended(self) -> bool:
        """Whether the summary is there."""
        return self._summary is not None

    def end(self) -> Solution:
        """The summary.

        Raises:
            RuntimeError: it is not there.
        """
        if self._summary is None:
            raise RuntimeError("the summary comes after the last frame of a stream")
        return self._summary

    def next_call(self) -> Call:
        """The request for all, or for what has not come yet."""
        if self._start is None:
            return self._call
        call = dataclasses.replace(self._call, version=self._start.model.version)
        # The last frame comes again: without one, nothing would be left to ask for after it.
        known = self._told[-2][0] if len(self._told) > 1 else None
        if known is None:
            self._left_out = 0
            return call
        self._left_out = len(self._told) - 1
        options = {**call.body.get("options", {}), "resume_from": known}
        return dataclasses.replace(call, body={**call.body, "options": options})

    def frame(self, reply: Reply) -> Frame | None:
        """The frame in a reply; None for one that was here before, and for other parts.

        Raises:
            InvalidReply: the reply lacks something, or another program answers now.
        """
        with reading("stream"):
            match reply.body["event"]:
                case "start":
                    self._take_start(reply)
                case "frame":
                    return self._read_frame(reply)
                case "summary":
                    self._summary = self._read_summary(reply)
        return None

    def cut_short(self) -> ConnectionFailed:
        """The error of a connection that ended too early, but did not break."""
        return ConnectionFailed(f"{self._call.model}: the stream ended before its summary")

    def delay_after(self, error: CertisolveError, uniform: float) -> float | None:
        """Seconds to wait before the next connection; None when `error` is final."""
        self._failed += 1
        return self._retry.delay(self._failed, error, uniform=uniform)

    def _take_start(self, reply: Reply) -> None:
        body = reply.body
        model = read_model_ref(body["model"])
        if self._start is None:
            axes = {name: tuple(names) for name, names in body["axes"].items()}
            coords = {name.removeprefix(COORDS): array for name, array in reply.tensors.items()}
            self._start = _Start(model, int(body["num_frames"]), axes, coords)
        elif model != self._start.model:
            raise InvalidReply(
                f"{model.name}: another program answers after the connection broke; begin anew"
            )

    def _read_frame(self, reply: Reply) -> Frame | None:
        start, body = self._start, reply.body
        if start is None:
            raise ValueError("a frame before the start")
        index = self._left_out + int(body["index"])
        if index < len(self._told):
            return None
        if index > len(self._told):
            raise ValueError(f"frame {index} after frame {len(self._told) - 1}")
        step = None if body["step"] is None else int(body["step"])
        self._told.append((step, float(body["t"])))
        self._failed = 0
        return Frame(
            index=index,
            num_frames=start.num_frames,
            step=step,
            t=float(body["t"]),
            fields=reply.tensors,
            axes=start.axes,
            coords=start.coords,
            model=start.model,
        )

    def _read_summary(self, reply: Reply) -> Solution:
        known = [t for _, t in self._told[: self._left_out]]
        return read_solution(reply.tensors, {**reply.body, "t": [*known, *reply.body["t"]]})
