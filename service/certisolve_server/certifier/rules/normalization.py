"""Normalisation by statistics that are constants, which is affine."""

from collections.abc import Callable

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.functions import find

from .abstraction import Abstraction
from .arithmetic import add, multiply, subtract
from .rule import Declined, Rules


def batch_norm(
    input: Abstraction,
    weight: Abstraction | None,
    bias: Abstraction | None,
    running_mean: Abstraction | None,
    running_var: Abstraction | None,
    training: bool,
    eps: float,
    **_how: object,
) -> Abstraction:
    """(x - mean) w / sqrt(variance + eps) + b, channel by channel, of statistics that are given."""
    if training or running_mean is None or running_var is None:
        raise Declined("takes its statistics from what it normalises")
    if any(
        each is not None and each.jacobian for each in (weight, bias, running_mean, running_var)
    ):
        raise Declined("has statistics or parameters that vary")
    spread = running_var.value + Interval.exact(eps)
    scale = find("rsqrt").value(spread)
    if weight is not None:
        scale = scale * weight.value
    rank = len(input.shape)
    result = multiply(
        subtract(input, _by_channel(running_mean.value, rank), 1.0), _by_channel(scale, rank)
    )
    return result if bias is None else add(result, _by_channel(bias.value, rank), 1.0)


def dropout(input: Abstraction, p: float, train: bool) -> Abstraction:
    """Nothing, outside of training."""
    del p
    if train:
        raise Declined("drops numbers at random")
    return input


#: By overload.
RULES: Rules = {
    "aten.batch_norm.default": batch_norm,
    "aten.dropout.default": dropout,
}


def _by_channel(values: Interval, rank: int) -> Abstraction:
    """(boxes, channels) beside tensors of (batch, channels, ...)."""
    return Abstraction(values.rearranged(_with_axes(rank - 2)))


def _with_axes(number: int) -> Callable[[Tensor], Tensor]:
    return lambda ends: ends.reshape(*ends.shape, *(1,) * number)
