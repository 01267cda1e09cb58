"""Why no smaller bound can hold: two inputs whose outputs differ by as much."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .errors import NotCertified
from .region import Point

#: Two inputs, or one and the direction in which the map changes there.
Kind: TypeAlias = Literal["pair", "direction"]


@dataclass(frozen=True, eq=False)
class Witness:
    """The Lipschitz constant is at least `lower`, as these inputs prove.

    Args:
        kind: `pair`: |f(x) - f(y)| >= lower |x - y|; `direction`: the derivative of f at x along v
            is at least lower |v| long.
        x: in the region.
        other: y, in the region too, or v.
        lower: proven from them with every rounding carried, not only measured.

    Raises:
        NotCertified: the bound is NaN, infinite or negative.
    """

    kind: Kind
    x: Point
    other: Point
    lower: float

    def __post_init__(self) -> None:
        # True only of a number.
        if not 0.0 <= self.lower < math.inf:
            raise NotCertified(f"{self.lower} is no lower bound")
