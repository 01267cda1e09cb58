"""The state of a chain while fields are gone through: each as a linear map of what there is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from certisolve_server.certifier.arithmetic import Interval, concatenate, matmul
from certisolve_server.certifier.errors import NotCertified


@dataclass(frozen=True, eq=False)
class Row:
    """A field as a map of the columns before it.

    Args:
        size: of the field.
        place: where it stands among the columns, if it is a part of them; else -1.
        matrix: (..., size, columns), if it is not.
    """

    size: int
    place: int
    matrix: Interval | None = None


@dataclass(frozen=True, eq=False)
class State:
    """Fields as maps of a state h and of the values v of a function that came after it.

    Args:
        rows: by the number of the field; columns are those of h, then of v.
        width: of h.
        values: size of v, 0 without a function.
    """

    rows: Mapping[int, Row]
    width: int
    values: int = 0

    @classmethod
    def of_fields(cls, sizes: Mapping[int, int]) -> "State":
        """A state that consists of fields, one after the other."""
        rows, start = {}, 0
        for number, size in sizes.items():
            rows[number] = Row(size, start)
            start += size
        return cls(rows, start)

    @property
    def sizes(self) -> Mapping[int, int]:
        """Of each field."""
        return {number: row.size for number, row in self.rows.items()}

    def read(self, terms: Mapping[int, Interval]) -> Interval:
        """Sum_j A_j h_j as a matrix, (..., rows, columns)."""
        parts = [self._columns(a, self.rows[number]) for number, a in terms.items()]
        if not parts:
            raise NotCertified("a layer takes nothing")
        read = parts[0]
        for part in parts[1:]:
            read = read + part
        return read

    def with_rows(self, number: int, terms: Mapping[int, Interval]) -> "State":
        """With a field that is a linear map of others."""
        matrix = self.read(terms)
        return replace(self, rows={**self.rows, number: Row(matrix.shape[-2], -1, matrix)})

    def with_function(self, number: int, size: int) -> "State":
        """With the values of a function behind the state."""
        rows = {
            known: replace(row, matrix=None if row.matrix is None else _wider(row.matrix, size))
            for known, row in self.rows.items()
        }
        return State({**rows, number: Row(size, self.width)}, self.width, size)

    def without(self, numbers: set[int]) -> "State":
        """Without fields that are not needed any more."""
        rows = {number: row for number, row in self.rows.items() if number not in numbers}
        return replace(self, rows=rows)

    def step(self) -> tuple[Interval | None, Interval | None]:
        """(S, G): the fields are S h + G v; None for 0 and for the identity."""
        rows = list(self.rows.values())
        if len(rows) == 1 and rows[0].matrix is None and rows[0].place == self.width:
            return None, None
        whole = [self._columns(_identity(row.size), row) for row in rows]
        batch = np.broadcast_shapes(*(each.shape[:-2] for each in whole))
        whole = [
            each.rearranged(lambda ends: ends.expand(*batch, *ends.shape[-2:])) for each in whole
        ]
        stacked = concatenate(whole, -2)
        width = self.width
        skip = stacked.rearranged(lambda ends: ends[..., :width].contiguous())
        mix = stacked.rearranged(lambda ends: ends[..., width:].contiguous())
        return (skip if bool(skip.magnitude.any()) else None), mix

    def _columns(self, a: Interval, row: Row) -> Interval:
        """A times a field, over all columns."""
        if row.matrix is not None:
            return matmul(a, row.matrix)
        before, after = row.place, self.width + self.values - row.place - row.size
        return a.rearranged(lambda ends: torch.nn.functional.pad(ends, (before, after)))


def _identity(size: int) -> Interval:
    return Interval.exact(torch.eye(size, dtype=torch.float64))


def _wider(matrix: Interval, size: int) -> Interval:
    return matrix.rearranged(lambda ends: torch.nn.functional.pad(ends, (0, size)))
