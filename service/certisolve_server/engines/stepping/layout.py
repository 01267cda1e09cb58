"""Who stands where: rows of tensors that change places, in as few copies as it takes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .stepper import Rows


class Group(NamedTuple):
    """Rows that are to be taken in.

    Attributes:
        rows: one per slot; more are padding.
        slots: where they go.
    """

    rows: Rows
    slots: Sequence[int]


def arrange(rows: Rows, sources: Sequence[int | None], joining: Sequence[Group]) -> Rows:
    """Rows laid out anew, by one gather of those that stay and a scatter of each group.

    Args:
        rows: that stand; empty if there are none.
        sources: per new row, which of `rows` it is; None for one that joins or is nobody's.
        joining: groups that come.
    """
    if not rows:
        if not joining:
            return {}
        # The first group is where the others join; what it leaves open is nobody's, or theirs.
        rows, slots = joining[0]
        places = {slot: row for row, slot in enumerate(slots)}
        sources = [places.get(slot) for slot in range(len(sources))]
        joining = joining[1:]
    taken = take(rows, [source or 0 for source in sources])
    for group in joining:
        taken = put(taken, group)
    return taken


def take(rows: Rows, sources: Sequence[int]) -> Rows:
    """These rows, in this order; without a copy where it is the one in which they stand."""
    if all(row == source for row, source in enumerate(sources)):
        size = len(sources)
        return {n: values if len(values) == size else values[:size] for n, values in rows.items()}
    index = _index(sources, rows)
    return {name: values.index_select(0, index) for name, values in rows.items()}


def put(rows: Rows, group: Group) -> Rows:
    """The rows with a group's in their places."""
    index, size = _index(group.slots, rows), len(group.slots)
    return {
        name: values.index_copy(0, index, group.rows[name][:size]) for name, values in rows.items()
    }


def _index(numbers: Sequence[int], rows: Rows) -> Tensor:
    device = next(iter(rows.values())).device
    return torch.tensor(numbers, device=device)
