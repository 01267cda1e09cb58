"""The frames of a rollout that somebody wants, and room for no others."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class _Places(NamedTuple):
    """Rows that want the frame of one step, and where it goes."""

    rows: Tensor
    entries: Tensor


class WantedFrames:
    """Collects frames as they come, those of one row after those of the other.

    A batch of requests for few frames each, all of them different, takes as much memory as their
    answers.

    Arguments:
        steps: numbers of the wanted steps, per row.
        device: where the frames are.

    Attributes:
        outputs: what was taken, of shape (frame, ...).
        num_frames: per row.
    """

    def __init__(self, steps: Sequence[Sequence[int]], device: torch.device) -> None:
        self.outputs: list[Tensor] = []
        self.num_frames = [len(each) for each in steps]
        rows = [row for row, each in enumerate(steps) for _ in each]
        flat = torch.tensor([step for each in steps for step in each])
        order = torch.argsort(flat, stable=True)
        numbers, counts = torch.unique_consecutive(flat[order], return_counts=True)
        # To the device once, not in every step.
        of_rows, of_entries = (
            torch.split(each.to(device), counts.tolist())
            for each in (torch.tensor(rows)[order], order)
        )
        places = map(_Places, of_rows, of_entries)
        self._places = dict(zip(numbers.tolist(), places, strict=True))

    def take(self, step: int, frame: Sequence[Tensor]) -> None:
        """Keep of a frame, with a batch dimension, the rows that want it."""
        places = self._places.get(step)
        if places is None:
            return
        if not self.outputs:
            num_frames = sum(self.num_frames)
            self.outputs = [output.new_empty(num_frames, *output.shape[1:]) for output in frame]
        for kept, output in zip(self.outputs, frame, strict=True):
            kept.index_copy_(0, places.entries, output.index_select(0, places.rows))
