"""One operator after another."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import product_up

from .operator import LinearOperator, require


@dataclass(frozen=True, eq=False)
class Composition(LinearOperator):
    """x -> A_n ... A_1 x, the first of `parts` applied first; |A B| <= |A| |B|.

    Operators of one structure are better fused into one, which loses nothing; see `Spectral`.
    """

    parts: tuple[LinearOperator, ...]

    def __post_init__(self) -> None:
        require(bool(self.parts), "nothing to compose")
        for first, second in pairwise(self.parts):
            require(first.outputs == second.inputs, "an operator takes what the one before gives")

    @property
    def inputs(self) -> int:
        return self.parts[0].inputs

    @property
    def outputs(self) -> int:
        return self.parts[-1].outputs

    def norm_bound(self, norm: Norm) -> float:
        bound = torch.tensor(1.0, dtype=torch.float64)
        for part in self.parts:
            bound = product_up(bound, torch.tensor(part.norm_bound(norm), dtype=torch.float64))
        return float(bound)

    def apply(self, x: Interval) -> Interval:
        for part in self.parts:
            x = part.apply(x)
        return x
