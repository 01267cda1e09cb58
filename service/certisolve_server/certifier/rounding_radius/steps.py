"""What is computed on the way of an operator that is written as several."""

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.functions import Function
from certisolve_server.certifier.rules import RULES as EXACT
from certisolve_server.certifier.rules import Abstraction, Declined

from .deviation import Deviation, Known, widened
from .precision import Precision


def step(precision: Precision, exact: Interval, deviation: Deviation, *of: Known) -> Known:
    """One value on the way: where the exact one lies, and how far the computed one is from it.

    Raises:
        ValueError: it may overflow.
    """
    hull = widened(exact, deviation)
    precision.require_range(hull.magnitude)
    return Known(hull, deviation, any(each.varies for each in of))


def within(sizes: Tensor) -> Interval:
    """Numbers of at most these sizes."""
    return Interval(-sizes, sizes)


def reshaped(x: Known, *shape: int) -> Known:
    """The same numbers in another shape."""
    entries = x.deviation.entries.reshape(shape)
    hull = x.hull.rearranged(lambda ends: ends.reshape(shape))
    return Known(hull, Deviation(entries, x.deviation.length), x.varies)


def value_by_rule(operator: str, x: Known, **arguments: object) -> Interval:
    """The exact values of an operator of one tensor, on the hull."""
    abstract = Abstraction(x.hull.rearranged(lambda ends: ends.unsqueeze(0)))
    value: Interval = EXACT[operator](self=abstract, **arguments).value
    return value.rearranged(lambda ends: ends[0])


def image(precision: Precision, function: Function, x: Known, deviation: Deviation) -> Known:
    """What a function makes of a value on the way."""
    return step(precision, function.value(x.hull), deviation, x)


def require_constant(*given: Known | None) -> None:
    """Returns if all that is given is stored and not rounded.

    Raises:
        Declined: something varies, or is not a float.
    """
    if any(each is not None and (each.varies or not each.deviation.is_none) for each in given):
        raise Declined("has parameters that vary or are rounded")
