"""Operators side by side."""

from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import sum_up

from .operator import LinearOperator, require


@dataclass(frozen=True, eq=False)
class Sum(LinearOperator):
    """x -> A_1 x + ... + A_n x; |A + B| <= |A| + |B|.

    Operators of one structure are better fused into one, which loses nothing; see `Spectral`.
    """

    parts: tuple[LinearOperator, ...]

    def __post_init__(self) -> None:
        require(bool(self.parts), "nothing to add")
        sizes = {(part.inputs, part.outputs) for part in self.parts}
        require(len(sizes) == 1, "operators of different sizes are not added")

    @property
    def inputs(self) -> int:
        return self.parts[0].inputs

    @property
    def outputs(self) -> int:
        return self.parts[0].outputs

    def norm_bound(self, norm: Norm) -> float:
        bound = torch.tensor(0.0, dtype=torch.float64)
        for part in self.parts:
            bound = sum_up(bound, torch.tensor(part.norm_bound(norm), dtype=torch.float64))
        return float(bound)

    def apply(self, x: Interval) -> Interval:
        total = self.parts[0].apply(x)
        for part in self.parts[1:]:
            total = total + part.apply(x)
        return total
