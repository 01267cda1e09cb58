"""max(x, 0)."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from .function import Function
from .straight import straight_but_at


@dataclass(frozen=True)
class Relu(Function):
    """The rectifier; its slopes at 0 are all from 0 to 1."""

    def value(self, x: Interval) -> Interval:
        return x.maximum(0.0)

    def derivative(self, x: Interval) -> Interval:
        return Interval((x.lower > 0).double(), (x.upper >= 0).double())

    def second_derivative(self, x: Interval) -> Interval:
        return straight_but_at(x, 0.0)
