"""One matrix at all points of a grid: a convolution with a kernel of one tap."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval, matmul, operator_norm
from certisolve_server.certifier.arithmetic.norms import Norm

from .operator import LinearOperator, require


@dataclass(frozen=True, eq=False)
class Pointwise(LinearOperator):
    """W kron I on (channels, points), W exact or enclosed; all its norms are those of W."""

    weight: Interval
    points: int

    def __post_init__(self) -> None:
        require(self.weight.ndim == 2, f"a matrix, not a tensor {self.weight.shape}")
        require(self.points > 0, "a grid has points")

    @property
    def inputs(self) -> int:
        return self.weight.shape[1] * self.points

    @property
    def outputs(self) -> int:
        return self.weight.shape[0] * self.points

    def norm_bound(self, norm: Norm) -> float:
        return float(operator_norm(self.weight, norm, norm))

    def apply(self, x: Interval) -> Interval:
        field = x.rearranged(lambda ends: ends.reshape(*ends.shape[:-1], -1, self.points))
        return matmul(self.weight, field).rearranged(lambda ends: ends.flatten(-2))
