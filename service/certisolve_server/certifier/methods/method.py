"""What a way to a bound is, to those that run it and to those that check it."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.witness import Witness

#: What a bound is proven from: numbers, strings, lists and dictionaries, as in JSON.
Evidence: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Bound:
    """A proven upper bound, with what proves it again.

    Raises:
        NotCertified: it is NaN, infinite or negative, which bounds nothing.
    """

    upper: float
    evidence: Evidence = field(default_factory=dict)

    def __post_init__(self) -> None:
        # True only of a number: each comparison with NaN is false.
        if not 0.0 <= self.upper < math.inf:
            raise NotCertified(f"{self.upper} is no finite bound")


@dataclass
class Board:
    """What all methods together know by now; each reads it, the portfolio writes it.

    Attributes:
        upper: the least proven bound.
        lower: the largest size of change that was seen and proven.
        left_s: seconds until the end.
        most_cuts: of the set.
    """

    left_s: Callable[[], float] = lambda: math.inf
    upper: float = math.inf
    lower: float = 0.0
    most_cuts: int = sys.maxsize


class Method(Protocol):
    """One way to a bound: sound on its own, run in slices, checked without its search."""

    @property
    def name(self) -> str:
        """As in certificates."""

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | Witness | None]:
        """Ever better bounds; None where a slice of about 0.1 s is over without one.

        Witnesses of what was seen on the way may come in between.

        Ends when it has nothing to add. Closing it stops it.

        Raises:
            NotCertified: it does not hold here, or finds no finite bound.
            UnsupportedOperator: likewise, because of an operator.
        """

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """The bound that the evidence proves, without a search.

        Raises:
            NotCertified: it proves none.
        """
