"""What was proven: a value that stands for a theorem, and says which."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .errors import NotCertified
from .norms import Norms

#: The module of `methods` that found it.
Method: TypeAlias = Literal["mean_value", "splitting"]

#: Of what a bound holds: the map on real numbers, without the rounding of its execution.
Level: TypeAlias = Literal["real"]


@dataclass(frozen=True)
class BoxCertificate:
    """For all x, y in the box: |f(x) - f(y)| <= upper |x - y|.

    Args:
        norms: of differences of inputs and of outputs.
        lower_corner: of the box, by input, flattened in C order.
        upper_corner: likewise.
        upper: the bound, a finite float64.
        method: `mean_value` or `splitting`.
        splits: how many times a box was cut in two.
        graph: the digest of the graph that computes f.
        level: of what it holds; `real`: of the map on the reals whose constants are those of the
            program, exactly, not of its execution in float32.

    Raises:
        NotCertified: the bound is NaN, infinite or negative, which bounds nothing.
    """

    norms: Norms
    lower_corner: tuple[tuple[str, tuple[float, ...]], ...]
    upper_corner: tuple[tuple[str, tuple[float, ...]], ...]
    upper: float
    method: Method
    splits: int
    graph: str
    level: Level = "real"

    def __post_init__(self) -> None:
        # True only of a number: each comparison with NaN is false.
        if not 0.0 <= self.upper < math.inf:
            raise NotCertified(f"{self.method} gave {self.upper}, which is no finite bound")
