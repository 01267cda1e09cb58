"""A matrix."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval, matmul, operator_norm
from certisolve_server.certifier.arithmetic.norms import Norm

from .operator import LinearOperator, require


@dataclass(frozen=True, eq=False)
class Dense(LinearOperator):
    """x -> A x, A exact or enclosed, (outputs, inputs)."""

    weight: Interval

    def __post_init__(self) -> None:
        require(self.weight.ndim == 2, f"a matrix, not a tensor {self.weight.shape}")

    @property
    def inputs(self) -> int:
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    def norm_bound(self, norm: Norm) -> float:
        return float(operator_norm(self.weight, norm, norm))

    def apply(self, x: Interval) -> Interval:
        return matmul(x, self.weight.rearranged(lambda ends: ends.mT))
