"""x s(x), s the logistic function; also known as swish."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .gated import SampledGate
from .logistic import ERROR, NEAR, logistic
from .pieces import Extremum
from .sampled import Sample


@dataclass(frozen=True)
class Silu(SampledGate):
    """x s(x); slopes are between -0.0998393201 and 1.0998393201."""

    # Where 1 + x s(-x) = 0.
    minimum: ClassVar = Extremum(-1.278464542761074, -1.2784645427610737)
    # Where the second derivative s'(x) (2 - x tanh(x / 2)) is 0; x tanh(x / 2) is even and grows
    # with |x|, so there are just two such places.
    steepest: ClassVar = Extremum(2.3993572805154675, 2.399357280515468)
    # Where the third derivative s'(x) (-3 t - x/2 + 3 x t^2 / 2), t = tanh(x / 2), is 0; as
    # 3 t / x + 1/2 - 3 t^2 / 2 falls on x > 0, there is one such place on each side of 0.
    curved: ClassVar = (
        Extremum(-3.435840993535111, -3.4358409935351104),
        Extremum(0.0, 0.0),
        Extremum(3.4358409935351104, 3.435840993535111),
    )
    far: ClassVar = NEAR

    @staticmethod
    def near_value(x: Interval) -> Interval:
        return x * library.sigmoid(x)

    @staticmethod
    def near_slope(x: Interval) -> Interval:
        """s(x) (1 + x s(-x))."""
        return library.sigmoid(x) * (1.0 + x * library.sigmoid(-x))

    @staticmethod
    def near_curvature(x: Interval) -> Interval:
        """s(x) s(-x) (2 + x (s(-x) - s(x)))."""
        share, rest = library.sigmoid(x), library.sigmoid(-x)
        return share * rest * (2.0 + x * (rest - share))

    def samples(self, x: Tensor) -> list[Sample]:
        share, rest = logistic(x)
        bell = share * rest
        size = x.abs()
        return [
            Sample(x * share, 2.0 * ERROR * size * share),
            Sample(share * (1.0 + x * rest), 2.0 * ERROR * share * (1.0 + size * rest)),
            Sample(bell * (2.0 + x * (rest - share)), 4.0 * ERROR * bell * (2.0 + size)),
        ]
