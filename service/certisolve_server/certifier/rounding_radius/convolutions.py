"""Convolutions with constant kernels, each entry a sum of products in any order.

It does not hold of transforms that compute convolutions with fewer products (Winograd, Fourier).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import (
    Interval,
    convolution,
    transposed_convolution,
)
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes
from certisolve_server.certifier.rules import Declined

from . import arithmetic
from .deviation import Deviation, Known, largest, number, rounded, widened
from .precision import Precision
from .products import of_products
from .rule import Rules


def convolve(
    precision: Precision,
    input: Known,
    weight: Known,
    bias: Known | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Deviation:
    """The correlation with a kernel."""
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    apply = _applying(convolution, weight, groups, settings)
    terms = math.prod(weight.shape[1:])
    # Of each input entry, over all outputs: at most the kernel's slice.
    columns = sum_of_sizes(weight.size, (0, *range(2, len(weight.shape)))).amax()
    return _linear(precision, input, weight, bias, apply, terms, columns)


def convolve_transposed(
    precision: Precision,
    input: Known,
    weight: Known,
    bias: Known | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
) -> Deviation:
    """The transpose of a correlation."""
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    settings["output_padding"] = output_padding
    apply = _applying(transposed_convolution, weight, groups, settings)
    terms = weight.shape[0] // groups * math.prod(weight.shape[2:])
    columns = sum_of_sizes(weight.size, tuple(range(1, len(weight.shape)))).amax()
    return _linear(precision, input, weight, bias, apply, terms, columns)


def average(
    precision: Precision,
    self: Known,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Deviation:
    """The mean over windows of equal sizes (aten.avg_pool2d)."""
    uneven = any(padding) and not count_include_pad
    if ceil_mode or uneven or divisor_override is not None:
        raise Declined("averages over windows of unequal sizes")
    sizes = per_axis(kernel_size, 2)
    steps = per_axis(stride, 2) if stride else sizes
    terms = math.prod(sizes)

    def apply(image: Tensor) -> Tensor:
        planes = image.reshape(-1, 1, *image.shape[-2:])
        ones = torch.ones(1, 1, *sizes, dtype=torch.float64)
        summed = convolution(
            ones,
            Interval.exact(planes),
            stride=steps,
            padding=per_axis(padding, 2),
            dilation=[1, 1],
        )
        mean = (summed / float(terms)).upper
        return mean.reshape(*image.shape[:-2], *mean.shape[-2:])

    windows = math.prod(-(-size // step) for size, step in zip(sizes, steps, strict=True))
    norm = sqrt_up(number(math.nextafter(windows / terms, math.inf)))
    changed = Deviation.within(
        apply(self.deviation.entries), product_up(self.deviation.length, norm)
    )
    means = apply(self.size)
    precision.require_range(product_up(means, number(float(terms + 1))))
    local = rounded(means, precision.gamma(terms + 3), terms * precision.absolute)
    return changed.plus(local)


#: By overload.
RULES: Rules = {
    "aten.avg_pool2d.default": average,
    "aten.conv1d.default": convolve,
    "aten.conv2d.default": convolve,
    "aten.conv3d.default": convolve,
    "aten.conv_transpose1d.default": convolve_transposed,
    "aten.conv_transpose2d.input": convolve_transposed,
    "aten.conv_transpose3d.input": convolve_transposed,
}


def _applying(
    convolve: Callable[..., Interval],
    weight: Known,
    groups: int,
    settings: Mapping[str, Sequence[int]],
) -> Callable[[Tensor], Tensor]:
    """From sizes of images to at least the convolution with the kernel of sizes."""
    axes = len(weight.shape) - 2
    settled = {name: per_axis(numbers, axes) for name, numbers in settings.items()}

    def apply(image: Tensor) -> Tensor:
        return convolve(weight.size, Interval.exact(image), groups=groups, **settled).upper

    return apply


def _linear(
    precision: Precision,
    image: Known,
    weight: Known,
    bias: Known | None,
    apply: Callable[[Tensor], Tensor],
    terms: int,
    columns: Tensor,
) -> Deviation:
    """A convolution by its kernel of sizes, with |A|_2 <= sqrt(|A|_1 |A|_inf)."""
    if weight.varies or not weight.deviation.is_none:
        raise Declined("has a kernel that varies or is rounded")
    rows = largest(apply(torch.ones_like(image.size)))
    norm = sqrt_up(product_up(rows, columns))
    sizes = apply(image.size)
    changed = Deviation.within(
        apply(image.deviation.entries), product_up(image.deviation.length, norm)
    ).plus(of_products(precision, weight, image, sizes, terms))
    if bias is None:
        return changed
    axes = len(weight.shape) - 2
    column = bias.hull.rearranged(lambda ends: ends.reshape(-1, *(1,) * axes))
    entries = bias.deviation.entries.reshape(-1, *(1,) * axes)
    shaped = Known(column, Deviation(entries, bias.deviation.length), bias.varies)
    result = Known(widened(Interval(-sizes, sizes), changed), changed, True)
    return arithmetic.add(precision, result, shaped, 1.0)


def per_axis(numbers: Sequence[int], axes: int) -> list[int]:
    """One number for each axis, where one may stand for all."""
    return list(numbers) * axes if len(numbers) == 1 else list(numbers)
