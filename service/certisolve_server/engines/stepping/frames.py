"""The frames of one answer, on the host."""

from collections.abc import Sequence

import numpy as np

from certisolve_server.jobs import Frame

from .values import Array


class Frames:
    """Arrays as long as what was asked for, filled as frames come.

    Arguments:
        num_frames: that were asked for.
        told: whether each is wanted as soon as it is there.
    """

    def __init__(self, num_frames: int, *, told: bool) -> None:
        self._num_frames = num_frames
        self._told = told
        self._arrays: tuple[Array, ...] = ()
        self._fresh: list[Frame] = []
        self.times: list[float] = []

    @property
    def whole(self) -> bool:
        """Whether all are there."""
        return len(self.times) == self._num_frames

    @property
    def fresh(self) -> bool:
        """Whether some are to be told."""
        return bool(self._fresh)

    def reserve(self, like: Sequence[Array]) -> None:
        """Make room for frames of these shapes and types."""
        if not self._arrays:
            self._arrays = tuple(
                np.empty((self._num_frames, *frame.shape), frame.dtype) for frame in like
            )

    def put(self, t: float, frame: Sequence[Array]) -> None:
        """Copy the next frame in."""
        self.reserve(frame)
        index = len(self.times)
        for kept, values in zip(self._arrays, frame, strict=True):
            kept[index] = values
        self.times.append(t)
        if self._told:
            self._fresh.append(Frame(index, t, tuple(kept[index] for kept in self._arrays)))

    def take_fresh(self) -> list[Frame]:
        """Those that came since the last time; the arrays are views of the answer's."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def outputs(self) -> tuple[Array, ...]:
        """All that came, per output."""
        if self.whole:
            return self._arrays
        # A copy, so that room for frames that never came is given back.
        return tuple(kept[: len(self.times)].copy() for kept in self._arrays)
