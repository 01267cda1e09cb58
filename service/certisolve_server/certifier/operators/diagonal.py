"""A factor for each number."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm

from .operator import LinearOperator, require


@dataclass(frozen=True, eq=False)
class Diagonal(LinearOperator):
    """x_i -> d_i x_i; its norms are all the largest |d_i|, without rounding."""

    factors: Interval

    def __post_init__(self) -> None:
        require(self.factors.ndim == 1, f"a vector, not a tensor {self.factors.shape}")

    @property
    def inputs(self) -> int:
        return self.factors.shape[0]

    @property
    def outputs(self) -> int:
        return self.factors.shape[0]

    def norm_bound(self, norm: Norm) -> float:
        return float(self.factors.magnitude.max()) if self.inputs else 0.0

    def apply(self, x: Interval) -> Interval:
        return x * self.factors
