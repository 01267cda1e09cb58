"""Numbers in another order, some dropped, zeros between them: permutations, crops, padding."""

from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm

from .operator import LinearOperator, require


@dataclass(frozen=True, eq=False)
class Rearrangement(LinearOperator):
    """y_i = x_{source_i}, and y_i = 0 where the source is -1; no source occurs twice.

    So all norms are 1, or 0 where nothing is kept. Reshapes are rearrangements that keep the order.
    """

    source: Tensor
    size: int

    def __post_init__(self) -> None:
        kept = self.source[self.source >= 0]
        valid = bool(((self.source >= -1) & (self.source < self.size)).all())
        require(self.source.ndim == 1 and not self.source.is_floating_point(), "a list of places")
        require(valid, f"a source is not one of {self.size}")
        require(len(set(kept.tolist())) == kept.numel(), "a number is taken twice")

    @property
    def inputs(self) -> int:
        return self.size

    @property
    def outputs(self) -> int:
        return self.source.shape[0]

    def norm_bound(self, norm: Norm) -> float:
        return 1.0 if bool((self.source >= 0).any()) else 0.0

    def apply(self, x: Interval) -> Interval:
        kept = self.source >= 0
        places = self.source.clamp(min=0)
        if self.size == 0:
            return Interval.exact(torch.zeros((*x.shape[:-1], self.outputs), dtype=torch.float64))
        return x.rearranged(lambda ends: torch.where(kept, ends[..., places], 0.0))
