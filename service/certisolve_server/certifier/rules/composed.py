"""Operators that are written as others, whose rules then hold for them."""

from collections.abc import Sequence

from certisolve_server.certifier.arithmetic import Interval, cumulative, where
from certisolve_server.certifier.functions import find

from .abstraction import Abstraction, aligned, chained, mapped_linearly
from .arithmetic import add, multiply, negate, subtract
from .linear import add_product
from .pointwise import apply
from .reductions import from_the_end, mean_over
from .rule import Declined, Rules
from .shapes import move


def layer_norm(
    input: Abstraction,
    normalized_shape: Sequence[int],
    weight: Abstraction | None,
    bias: Abstraction | None,
    eps: float,
    **_how: object,
) -> Abstraction:
    """(x - mean) / sqrt(variance + eps) w + b over the last axes."""
    axes = range(-len(normalized_shape), 0)
    return _affine(_standardised(input, tuple(axes), eps), weight, bias)


def group_norm(
    input: Abstraction,
    num_groups: int,
    weight: Abstraction | None,
    bias: Abstraction | None,
    eps: float,
    **_how: object,
) -> Abstraction:
    """As `layer_norm`, over groups of channels and all of space; w and b by channel."""
    batch, channels, *space = input.shape
    grouped = move(input, lambda x: x.reshape(batch, num_groups, -1))
    result = _standardised(grouped, (-1,), eps)
    shaped = move(result, lambda x: x.reshape(batch, channels, *space))
    w, b = (each if each is None else _by_channel(each, len(space)) for each in (weight, bias))
    return _affine(shaped, w, b)


def parametric_relu(self: Abstraction, weight: Abstraction) -> Abstraction:
    """The rectifier whose slopes below 0 are constants, one for each channel or one in all."""
    if weight.jacobian:
        raise Declined("has slopes that vary")
    per_channel = _by_channel(weight, max(0, len(self.shape) - 2))
    slope = aligned(per_channel.value, 1, len(self.shape))
    x = self.value
    value = x.maximum(0.0) + x.minimum(0.0) * slope

    def slopes() -> Interval:
        one = x * 0.0 + 1.0
        below = one * slope
        kink = one.hull(below)
        return where(x.lower > 0, one, where(x.upper < 0, below, kink))

    return chained(self, _tighter(value, x, slope), slopes)


def mish(self: Abstraction) -> Abstraction:
    """X tanh(log(1 + e^x))."""
    return multiply(self, apply(find("tanh"), apply(find("softplus"), self)))


def hard_sigmoid(self: Abstraction) -> Abstraction:
    """min(max(x + 3, 0), 6) / 6."""
    shifted = add(self, 3.0, 1.0)
    clamped = apply(find("clamp", minimum=0.0, maximum=6.0), shifted)
    return mapped_linearly(clamped, lambda part: part / 6.0)


def hard_swish(self: Abstraction) -> Abstraction:
    """X times the hard sigmoid of x."""
    return multiply(self, hard_sigmoid(self))


def log_sigmoid(self: Abstraction) -> Abstraction:
    """-log(1 + e^-x)."""
    return negate(apply(find("softplus"), negate(self)))


def add_product_of(
    self: Abstraction, tensor1: Abstraction, tensor2: Abstraction, value: float
) -> Abstraction:
    """X + v y z, entry by entry (aten.addcmul)."""
    return add(self, multiply(tensor1, tensor2), value)


def add_batched_product(
    self: Abstraction, batch1: Abstraction, batch2: Abstraction, beta: float, alpha: float
) -> Abstraction:
    """As aten.addmm, of stacks of matrices."""
    return add_product(self, batch1, batch2, beta, alpha)


def cumulative_sum(self: Abstraction, dim: int, dtype: str | None) -> Abstraction:
    """The sums of all up to each one along an axis."""
    del dtype
    axes = from_the_end([dim], len(self.shape))
    return mapped_linearly(self, lambda part: cumulative(part, *axes)) if axes else self


#: By overload.
RULES: Rules = {
    "aten.addcmul.default": add_product_of,
    "aten.baddbmm.default": add_batched_product,
    "aten.cumsum.default": cumulative_sum,
    "aten.group_norm.default": group_norm,
    "aten.hardsigmoid.default": hard_sigmoid,
    "aten.hardswish.default": hard_swish,
    "aten.layer_norm.default": layer_norm,
    "aten.log_sigmoid.default": log_sigmoid,
    "aten.mish.default": mish,
    "aten.prelu.default": parametric_relu,
}


def _standardised(x: Abstraction, axes: tuple[int, ...], eps: float) -> Abstraction:
    """(x - mean) / sqrt(variance + eps), the variance being the mean of squares."""
    centered = subtract(x, mean_over(x, axes, True, None), 1.0)
    variance = mean_over(multiply(centered, centered), axes, True, None)
    return multiply(centered, apply(find("rsqrt"), add(variance, eps, 1.0)))


def _affine(x: Abstraction, weight: Abstraction | None, bias: Abstraction | None) -> Abstraction:
    scaled = x if weight is None else multiply(x, weight)
    return scaled if bias is None else add(scaled, bias, 1.0)


def _by_channel(values: Abstraction, axes: int) -> Abstraction:
    """(channels,) beside tensors with `axes` axes of space."""
    return move(values, lambda x: x.reshape(*x.shape, *(1,) * axes))


def _tighter(value: Interval, x: Interval, slope: Interval) -> Interval:
    """Where x has one sign, without what the other branch is rounded by."""
    above = where(x.lower >= 0, x, value)
    return where(x.upper <= 0, x * slope, above)
