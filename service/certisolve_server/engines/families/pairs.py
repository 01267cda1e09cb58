"""Pairs of slot and layer that move in one pass, as places in flattened tensors."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .cascade import Move


class Pairs(NamedTuple):
    """What a pass gathers and scatters: of every slot the layers that are due.

    Attributes:
        x: places of their states among those of all layers.
        y: places of their observers among those of all observers.
        first: of every slot, its first pair.
        moving_x: pairs that lead to another state, and `to_x`, where that goes.
        moving_y: pairs that move an observer, and `to_y`, which one.
        entering: places of the measurements that enter, and `to_layers`, where they go.
        gains: of shape (pair,).
        dt_x: of shape (pair, 1).
        dt_y: of shape (pair, 1).
    """

    x: Tensor
    y: Tensor
    first: Tensor
    moving_x: Tensor
    to_x: Tensor
    moving_y: Tensor
    to_y: Tensor
    entering: Tensor
    to_layers: Tensor
    gains: Tensor
    dt_x: Tensor
    dt_y: Tensor


class Lengths(NamedTuple):
    """Of the second dimension of tensors that begin with (slot, ...)."""

    x: int
    y: int
    measurements: int


def pairs_of(
    moves: Sequence[Move], lengths: Lengths, like: Tensor, padded: Callable[[int], int]
) -> Pairs:
    """The pairs of a pass, on the device and in the element type of `like`.

    Args:
        moves: of the slots in front.
        lengths: of the tensors that are flattened.
        like: any of these.
        padded: from a number of pairs to that which is run; the last pair is repeated.
    """
    table = np.array([(len(m.gains), m.first, m.dt_x, m.dt_y, m.opens) for m in moves])
    counts = table[:, 0].astype(np.int64)
    first, dt_x, dt_y, opens = table.repeat(counts, axis=0).T[1:]
    starts, slots = counts.cumsum() - counts, np.arange(len(moves)).repeat(counts)
    layers = np.arange(len(slots)) - starts.repeat(counts) + first.astype(np.int64)
    x, y = slots * lengths.x + layers, slots * lengths.y + layers
    moving_x, moving_y = dt_x.nonzero()[0], dt_y.nonzero()[0]
    due = [(s, m.measurement) for s, m in enumerate(moves) if m.measurement is not None]
    entering = np.array([s * lengths.measurements + number for s, number in due], np.int64)
    to_layers = np.array([s * lengths.x for s, _ in due], np.int64)
    to_x, to_y = x[moving_x] + 1, (y + opens.astype(np.int64))[moving_y]
    gains = np.concatenate([move.gains for move in moves])
    if missing := padded(len(x)) - len(x):
        x, y, gains, dt_x, dt_y = (
            np.pad(each, (0, missing), "edge") for each in (x, y, gains, dt_x, dt_y)
        )
    places = (x, y, starts, moving_x, to_x, moving_y, to_y, entering, to_layers)
    numbers = (gains, dt_x[:, None], dt_y[:, None])
    return Pairs(
        *[torch.from_numpy(each).to(like.device) for each in places],
        *[torch.from_numpy(each).to(like) for each in numbers],
    )
