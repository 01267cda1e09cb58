"""Operators that are written as others, whose rules then hold for them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic.bilinear import enlarged
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up
from certisolve_server.certifier.functions import find
from certisolve_server.certifier.rules import Declined

from . import arithmetic, convolutions, functions, products
from .deviation import Deviation, Known, largest, number, rounded
from .precision import Precision
from .rule import Operand, Rule, Rules
from .steps import image, require_constant, reshaped, step, value_by_rule


def add_product_of(
    precision: Precision, self: Operand, tensor1: Known, tensor2: Known, value: float
) -> Deviation:
    """X + v y z, entry by entry, in any order of v, y and z (aten.addcmul)."""
    y, z = arithmetic.broadcast(precision, tensor1, tensor2)
    for each in (y, z):
        precision.require_range(product_up(each.size, number(max(1.0, abs(value)))))
    product = step(precision, y.hull * z.hull, arithmetic.multiply(precision, y, z), y, z)
    return arithmetic.add(precision, self, product, value)


def add_batched_product(
    precision: Precision, self: Operand, batch1: Known, batch2: Known, beta: float, alpha: float
) -> Deviation:
    """As aten.addmm, of stacks of matrices."""
    return products.add_product(precision, self, batch1, batch2, beta, alpha)


def cumulative_sum(precision: Precision, self: Known, dim: int, dtype: object) -> Deviation:
    """The sums of all up to each one along an axis, which are sums of n^2 / 2 terms together."""
    del dtype
    n = self.shape[dim]
    sums, sizes = (enlarged(each.cumsum(dim), n) for each in (self.deviation.entries, self.size))
    precision.require_range(sizes)
    grown = sqrt_up(number(n * (n + 1) / 2.0))
    changed = Deviation.within(sums, product_up(self.deviation.length, grown))
    return changed.plus(rounded(sizes, precision.gamma(n), n * precision.absolute))


def average_to(precision: Precision, self: Known, output_size: Sequence[int]) -> Deviation:
    """The means of windows of one size that cover the last axes (aten.adaptive_avg_pool)."""
    sizes = self.shape[-len(output_size) :]
    if any(size % wanted for size, wanted in zip(sizes, output_size, strict=True)):
        raise Declined("averages over windows of unequal sizes")
    kernel = [size // wanted for size, wanted in zip(sizes, output_size, strict=True)]
    return _average(precision, self, kernel, kernel, [0] * len(kernel))


def average_line(
    precision: Precision,
    self: Known,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
) -> Deviation:
    """The mean over windows of equal sizes of a line (aten.avg_pool1d)."""
    if ceil_mode or (any(padding) and not count_include_pad):
        raise Declined("averages over windows of unequal sizes")
    return _average(precision, self, kernel_size, stride or kernel_size, padding)


def elu(alpha: float, scale: float, input_scale: float) -> Rule:
    """The exponential rectifier with numbers of its own."""
    return lambda precision, self: functions.elu(precision, self, alpha, scale, input_scale)


def celu(precision: Precision, self: Known, alpha: float) -> Deviation:
    """max(x, 0) + min(a (e^(x / a) - 1), 0)."""
    if alpha == 0:
        raise Declined("divides by 0")
    return functions.elu(precision, self, alpha, 1.0, 1.0 / alpha)


def hard_sigmoid(precision: Precision, self: Known) -> Deviation:
    """min(max(x + 3, 0), 6) / 6."""
    return _hard_sigmoid(precision, self).deviation


def hard_swish(precision: Precision, self: Known) -> Deviation:
    """X times the hard sigmoid of x, in any order of the factors."""
    precision.require_range(product_up(self.size, number(6.0)))
    product = arithmetic.multiply(precision, self, _hard_sigmoid(precision, self))
    return product.plus(rounded(self.size, precision.gamma(3), precision.absolute))


def log_sigmoid(precision: Precision, self: Known) -> Deviation:
    """-log(1 + e^-x) = min(x, 0) - log(1 + e^-|x|), of terms of one sign."""
    value = value_by_rule("aten.log_sigmoid.default", self).magnitude
    slope = find("sigmoid").value(-self.hull).magnitude
    changed = Deviation.within(
        product_up(self.deviation.entries, slope),
        product_up(self.deviation.length, largest(slope)),
    )
    return changed.plus(functions.relative(32.0)(precision, self.size, value))


def mish(precision: Precision, self: Known) -> Deviation:
    """X tanh(log(1 + e^x)); where e^x overflows, tanh is 1 either way."""
    x, u = self, precision.unit_roundoff

    def of_softplus(_precision: Precision, size: Tensor, value: Tensor) -> Deviation:
        # A relative error of e^x is one of the logarithm at most.
        return rounded(value, 2.0 * precision.of_library("exp") + 32.0 * u, precision.absolute)

    softplus, tanh = find("softplus", beta=1.0), find("tanh")
    inner = image(precision, softplus, x, functions.through(precision, x, softplus, of_softplus))
    of_tanh = functions.of_library("tanh")
    gate = image(precision, tanh, inner, functions.through(precision, inner, tanh, of_tanh))
    return arithmetic.multiply(precision, x, gate)


def parametric_relu(precision: Precision, self: Known, weight: Known) -> Deviation:
    """The rectifier whose slopes below 0 are constants, one for each channel or one in all."""
    require_constant(weight)
    axes = (1,) * max(0, len(self.shape) - 2)
    below = reshaped(weight, -1, *axes).size.expand(self.shape)
    kink = below.clamp(min=1.0)
    lower, upper = self.hull.lower, self.hull.upper
    slope = torch.where(lower > 0, 1.0, torch.where(upper < 0, below, kink))
    changed = arithmetic.weighted(self.deviation, slope)
    return changed.plus(
        rounded(product_up(below, self.size), precision.gamma(1), precision.absolute)
    )


def windows(_precision: Precision, self: Known, dimension: int, size: int, step: int) -> Deviation:
    """Parts along an axis that may overlap (aten.unfold)."""
    entries = self.deviation.entries.unfold(dimension, size, step)
    times = sqrt_up(number(float(-(-size // step))))
    return Deviation.within(entries, product_up(self.deviation.length, times))


def evenly_spaced(
    precision: Precision, start: float, end: float, steps: int, **_placing: object
) -> Deviation:
    """Numbers from one to another, from either end by multiples of a step (aten.linspace)."""
    sizes = torch.full((steps,), abs(start) + abs(end), dtype=torch.float64)
    precision.require_range(2.0 * sizes)
    return rounded(sizes, precision.gamma(16), precision.absolute)


#: By overload.
RULES: Rules = {
    "aten.adaptive_avg_pool1d.default": average_to,
    "aten.adaptive_avg_pool2d.default": average_to,
    "aten.addcmul.default": add_product_of,
    "aten.avg_pool1d.default": average_line,
    "aten.baddbmm.default": add_batched_product,
    "aten.celu.default": celu,
    "aten.cumsum.default": cumulative_sum,
    "aten.hardsigmoid.default": hard_sigmoid,
    "aten.hardswish.default": hard_swish,
    "aten.linspace.default": evenly_spaced,
    "aten.log_sigmoid.default": log_sigmoid,
    "aten.mish.default": mish,
    "aten.prelu.default": parametric_relu,
    "aten.selu.default": elu(1.6732632423543772, 1.0507009873554805, 1.0),
    "aten.unfold.default": windows,
}


def _average(
    precision: Precision,
    x: Known,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Deviation:
    """Over windows of a plane, or of a line, which is one of height 1."""
    lines = len(kernel) == 1
    plane = reshaped(x, *x.shape[:-1], 1, x.shape[-1]) if lines else x
    sizes, steps = ([1, each[0]] if lines else list(each) for each in (kernel, stride))
    around = [0, padding[0]] if lines else list(padding)
    found = convolutions.average(precision, plane, sizes, steps, around, False, True, None)
    if not lines:
        return found
    return Deviation(found.entries.squeeze(-2), found.length)


def _hard_sigmoid(precision: Precision, x: Known) -> Known:
    clamped = find("clamp", minimum=0.0, maximum=6.0)
    shifted = step(precision, x.hull + 3.0, arithmetic.add(precision, x, 3.0, 1.0), x)
    off = functions.clamp(precision, shifted, 0.0, 6.0)
    between = image(precision, clamped, shifted, off)
    return step(precision, between.hull / 6.0, arithmetic.divide(precision, between, 6.0), x)
