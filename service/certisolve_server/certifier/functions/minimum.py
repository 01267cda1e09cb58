"""min(x, y)."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from .function import BinaryFunction
from .maximum import steps


@dataclass(frozen=True)
class Minimum(BinaryFunction):
    """The smaller of two numbers, -max(-x, -y)."""

    def value(self, x: Interval, y: Interval) -> Interval:
        return x.minimum(y)

    def derivatives(self, x: Interval, y: Interval) -> tuple[Interval, Interval]:
        return steps(-x, -y)
