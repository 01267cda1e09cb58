"""A picture of a solution while it is computed."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from certisolve import Frame, Manifest, Solution, Timings

from .plot import draw


class LivePicture:
    """Draws what there is of a solution, now and then, over the picture before.

    Whoever looks at the file sees a whole picture at any time.

    Arguments:
        path: of the picture, whose suffix is its format.
        manifest: of the model.
        inputs: what was sent.
        pause_s: seconds between two pictures, each of which takes some tenths.
    """

    def __init__(
        self, path: Path, manifest: Manifest, inputs: Mapping[str, Any], pause_s: float = 1.0
    ) -> None:
        self._path = path
        self._manifest = manifest
        self._inputs = inputs
        self._pause_s = pause_s
        self._drawn_at = time.monotonic()

    def show(self, frames: Sequence[Frame]) -> None:
        """Draw the frames so far, unless there is a picture of a moment ago.

        Raises:
            ValueError: an unknown format, or a field of more than two dimensions.
            OSError: the file cannot be written.
        """
        if time.monotonic() < self._drawn_at + self._pause_s:
            return
        unfinished = self._path.with_name(f".{self._path.name}")
        caption = f"{len(frames)} of {frames[-1].num_frames} frames"
        draw(unfinished, _so_far(frames), self._manifest, self._inputs, caption=caption)
        unfinished.replace(self._path)
        self._drawn_at = time.monotonic()


def _so_far(frames: Sequence[Frame]) -> Solution:
    last = frames[-1]
    return Solution(
        fields={name: np.stack([frame.fields[name] for frame in frames]) for name in last.fields},
        axes={name: ("t", *axes) for name, axes in last.axes.items()},
        t=np.array([frame.t for frame in frames]),
        coords=last.coords,
        status="ok",
        diagnostics=None,
        timings_ms=Timings(0.0, 0.0, 0.0),
        batch_size=0,
        model=last.model,
    )
