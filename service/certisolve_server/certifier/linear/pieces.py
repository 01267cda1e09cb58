"""Which functions are affine on pieces."""

import math
from dataclasses import dataclass

from certisolve_server.certifier.functions import Function
from certisolve_server.certifier.functions.absolute import Absolute
from certisolve_server.certifier.functions.clamp import Clamp
from certisolve_server.certifier.functions.leaky_relu import LeakyRelu
from certisolve_server.certifier.functions.relu import Relu


@dataclass(frozen=True)
class Pieces:
    """Where the slope changes, ascending, and the slopes before, between and after."""

    breaks: tuple[float, ...]
    slopes: tuple[float, ...]


def pieces_of(function: Function) -> Pieces | None:
    """None of a function that is not affine on pieces, or not known to be."""
    match function:
        case Relu():
            return Pieces((0.0,), (0.0, 1.0))
        case LeakyRelu():
            return Pieces((0.0,), (function.negative_slope, 1.0))
        case Absolute():
            return Pieces((0.0,), (-1.0, 1.0))
        case Clamp():
            return _of_clamp(function)
    return None


def _of_clamp(function: Clamp) -> Pieces:
    breaks, slopes = [], [1.0]
    if function.minimum > -math.inf:
        breaks.append(function.minimum)
        slopes.insert(0, 0.0)
    if function.maximum < math.inf:
        breaks.append(function.maximum)
        slopes.append(0.0)
    return Pieces(tuple(breaks), tuple(slopes))
