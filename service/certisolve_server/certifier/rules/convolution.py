"""Convolutions with constant kernels, and the averages that are convolutions with ones."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from certisolve_server.certifier.arithmetic import Interval, convolution, transposed_convolution

from .abstraction import Abstraction, mapped_linearly
from .arithmetic import add
from .resampling import along_axes, average_windows
from .rule import Declined, Rules


def convolve(
    input: Abstraction,
    weight: Abstraction,
    bias: Abstraction | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Abstraction:
    """The correlation with a kernel (aten.conv1d, conv2d, conv3d): linear in x."""
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    return _mapped(convolution, input, weight, bias, groups, settings)


def convolve_transposed(
    input: Abstraction,
    weight: Abstraction,
    bias: Abstraction | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
) -> Abstraction:
    """The transpose of a correlation (aten.conv_transpose1d, 2d, 3d): linear in x."""
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    settings["output_padding"] = output_padding
    numbers = (_per_axis(each, len(weight.shape) - 2) for each in settings.values())
    per_axis = zip(input.shape[2:], weight.shape[2:], *numbers, strict=False)
    for size, taps, step, cut, gap, more in per_axis:
        if (size - 1) * step + gap * (taps - 1) + more + 1 <= 2 * cut:
            raise Declined("cuts off all of its result")
    return _mapped(transposed_convolution, input, weight, bias, groups, settings)


def average(
    self: Abstraction,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Abstraction:
    """The mean over windows of a plane (aten.avg_pool2d)."""
    if divisor_override is not None:
        raise Declined("divides by another number than there are entries")
    return _averaged(self, 2, kernel_size, stride, padding, ceil_mode, count_include_pad)


def average_line(
    self: Abstraction,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
) -> Abstraction:
    """As `average`, along one axis (aten.avg_pool1d)."""
    return _averaged(self, 1, kernel_size, stride, padding, ceil_mode, count_include_pad)


#: By overload.
RULES: Rules = {
    "aten.avg_pool1d.default": average_line,
    "aten.avg_pool2d.default": average,
    "aten.conv1d.default": convolve,
    "aten.conv2d.default": convolve,
    "aten.conv3d.default": convolve,
    "aten.conv_transpose1d.default": convolve_transposed,
    "aten.conv_transpose2d.input": convolve_transposed,
    "aten.conv_transpose3d.input": convolve_transposed,
}


def _mapped(
    convolve: Callable[..., Interval],
    image: Abstraction,
    weight: Abstraction,
    bias: Abstraction | None,
    groups: int,
    settings: Mapping[str, Sequence[int]],
) -> Abstraction:
    """What a convolution with these settings makes of an image."""
    kernel, axes = _kernel(image, weight), len(weight.shape) - 2
    per_axis = {name: _per_axis(numbers, axes) for name, numbers in settings.items()}

    def apply(part: Interval) -> Interval:
        return convolve(kernel, part, groups=groups, **per_axis)

    return _biased(mapped_linearly(image, _of_images(apply)), bias, axes)


def _averaged(
    x: Abstraction,
    axes: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
) -> Abstraction:
    sizes, around = _per_axis(kernel_size, axes), _per_axis(padding, axes)
    steps = _per_axis(stride, axes) if stride else sizes
    if ceil_mode or (any(around) and not count_include_pad):
        per_axis = zip(x.shape[-axes:], sizes, steps, around, strict=True)
        rows = [average_windows(*each, ceil_mode, count_include_pad) for each in per_axis]
        return along_axes(x, rows)
    ones = torch.ones(1, 1, *sizes, dtype=torch.float64)

    def apply(part: Interval) -> Interval:
        leading = part.shape[:-axes]
        space = part.rearranged(lambda bound: bound.reshape(-1, 1, *bound.shape[-axes:]))
        summed = convolution(ones, space, stride=steps, padding=around, dilation=[1] * axes)
        mean = summed / float(math.prod(sizes))
        return mean.rearranged(lambda bound: bound.reshape(*leading, *bound.shape[-axes:]))

    return mapped_linearly(x, apply)


def _kernel(x: Abstraction, weight: Abstraction) -> Interval:
    """The kernel of a batch of images, the same on all boxes."""
    if weight.jacobian or weight.value.shape[0] != 1:
        raise Declined("has a kernel that varies")
    if len(x.shape) != len(weight.shape):
        raise Declined("convolves an image without an axis of a batch")
    return weight.value.rearranged(lambda bound: bound[0])


def _of_images(apply: Callable[[Interval], Interval]) -> Callable[[Interval], Interval]:
    """With boxes and images of a batch as one axis while a kernel is applied."""

    def over_all(part: Interval) -> Interval:
        sizes = part.shape[:2]
        image = apply(part.rearranged(lambda bound: bound.flatten(0, 1)))
        return image.rearranged(lambda bound: bound.reshape(*sizes, *bound.shape[1:]))

    return over_all


def _per_axis(numbers: Sequence[int], axes: int) -> list[int]:
    """ATen reads one number as that of each axis."""
    return list(numbers) * axes if len(numbers) == 1 else list(numbers)


def _biased(image: Abstraction, bias: Abstraction | None, axes: int) -> Abstraction:
    if bias is None:
        return image
    ones = (1,) * axes
    value = bias.value.rearranged(lambda bound: bound.reshape(*bound.shape, *ones))
    if bias.jacobian:
        raise Declined("has a bias that varies")
    return add(image, Abstraction(value), 1.0)
