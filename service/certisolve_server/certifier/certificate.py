"""What was proven: a value that stands for a theorem, and says which."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .arithmetic import Interval
from .errors import Contradiction, NotCertified
from .problem import Problem
from .witness import Witness

#: Of what a bound holds: the map on real numbers, or its execution in the floats of the program.
Level: TypeAlias = Literal["real", "float"]

#: Whether the search goes on; whether it ended with the gap that was asked for or with nothing left
#: to do, by its budget, or without anything finite. Each finite bound is proven in any case.
Status: TypeAlias = Literal["improving", "certified", "budget_exhausted", "unbounded"]


@dataclass(frozen=True, eq=False)
class Certificate:
    """For all x, y in the region: |f(x) - f(y)| <= upper |x - y|, and no bound is below `lower`.

    Args:
        problem: f, the region and the norms.
        upper: proven; inf where nothing finite was.
        lower: proven by the witness; 0 without one.
        method: what gave the upper bound; empty where nothing did.
        evidence: what `verify` proves it from again, without the search.
        witness: of the lower bound.
        history: (seconds, upper, lower) of each improvement.
        notes: of each method the last bound it gave, or why it gave none.
        status: how the search ended.
        graph: the digest of the graph of f, or of the field of its flow.
        rules: the operators of the graph, each once, whose rules were used.
        enclosure: of the output on the region, flattened; None where there is none.
        level: of what the bound holds.
        rounding: at level `float`, the delta of |f(x) - f(y)| <= upper |x - y| + 2 delta for the
            map as it is executed.
        seed: of the attacks.
        elapsed_s: that the search took.

    Raises:
        NotCertified: a bound is NaN or negative.
        Contradiction: the lower bound is above the upper one; one of them is wrong.
    """

    problem: Problem
    upper: float
    lower: float
    method: str
    evidence: Mapping[str, Any]
    witness: Witness | None
    history: tuple[tuple[float, float, float], ...]
    notes: Mapping[str, str]
    status: Status
    graph: str
    rules: tuple[str, ...]
    enclosure: Interval | None = None
    level: Level = "real"
    rounding: float | None = None
    seed: int = 0
    elapsed_s: float = 0.0

    def __post_init__(self) -> None:
        # True only of numbers.
        if not (self.upper >= 0.0 and 0.0 <= self.lower < math.inf):
            raise NotCertified(f"{self.method} gave {self.upper}, the attack {self.lower}")
        if self.lower > self.upper:
            raise Contradiction(self.method, self.upper, self.lower)

    @property
    def gap(self) -> float:
        """Upper by lower; inf where nothing was proven of one of them."""
        if self.upper == self.lower:
            return 1.0
        return self.upper / self.lower if self.lower > 0 else math.inf
