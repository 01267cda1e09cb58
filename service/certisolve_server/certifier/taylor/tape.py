"""Affine maps of atoms, functions of single numbers, and products: what small graphs come to."""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.functions import Function


@dataclass(frozen=True)
class Source:
    """One matrix of an affine map.

    Args:
        atom: that it is applied to.
        matrix: (entries, entries of the atom).
        sizes: of its entries.
        errors: radii of its entries; None where they are exact.
    """

    atom: int
    matrix: Tensor
    sizes: Tensor
    errors: Tensor | None


@dataclass(frozen=True)
class Affine:
    """sum_a W_a atom_a + offset, flattened.

    Args:
        sources: at most one per atom.
        offset: (entries,), an interval.
        terms: how many products are summed into an entry.
    """

    sources: tuple[Source, ...]
    offset: Interval
    terms: int


@dataclass(frozen=True)
class Apply:
    """A function of each entry."""

    function: Function
    of: Affine


@dataclass(frozen=True)
class Multiply:
    """Products entry by entry."""

    left: Affine
    right: Affine


Step: TypeAlias = Apply | Multiply


@dataclass(frozen=True)
class Tape:
    """The steps in order: atom 0 is the input, flattened; step i gives atom i + 1."""

    inputs: int
    steps: tuple[Step, ...]
    output: Affine

    @property
    def widest(self) -> int:
        """The most entries of an atom or of the output."""
        of_steps = (step.of if isinstance(step, Apply) else step.left for step in self.steps)
        return max(each.offset.shape[0] for each in (*of_steps, self.output))
