"""Matrix products, contractions and convolutions of exact tensors and intervals."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .bilinear import bilinear
from .interval import Interval, Operand, as_interval


def matmul(a: Operand, x: Operand) -> Interval:
    """The matrix product a x, with the shapes and the broadcasting of `torch.matmul`.

    Args:
        a: exact tensor or interval, (..., rows, terms) or (terms,).
        x: exact tensor or interval, (..., terms, columns) or (terms,).
    """
    left, right = as_interval(a), as_interval(x)
    return bilinear(torch.matmul, left.shape[-1], left, right)


def einsum(subscripts: str, a: Operand, x: Operand) -> Interval:
    """Einstein's sum over two operands, with the subscripts of `torch.einsum`, "->" included."""
    left, right = as_interval(a), as_interval(x)
    terms = _contracted(subscripts, left.shape, right.shape)
    return bilinear(lambda u, v: torch.einsum(subscripts, u, v), terms, left, right)


def _contracted(subscripts: str, left: torch.Size, right: torch.Size) -> int:
    """The number of products that are summed into an element of the result."""
    operands, _, result = subscripts.replace(" ", "").partition("->")
    names = operands.split(",")
    if "->" not in subscripts or len(names) != 2:
        raise ValueError(f"an einsum of two operands with its result, not {subscripts!r}")
    sizes = _sizes(names[0], left) | _sizes(names[1], right)
    return math.prod(size for name, size in sizes.items() if name not in result)


def _sizes(names: str, shape: torch.Size) -> dict[str, int]:
    """The size of each named axis; those under an ellipsis are never contracted."""
    before, ellipsis, after = names.partition("...")
    sizes = dict(zip(before, shape, strict=not ellipsis))
    return sizes | dict(zip(reversed(after), reversed(shape), strict=False))


def convolution(
    weight: Operand,
    x: Operand,
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Interval:
    """The cross-correlation of `torch.nn.functional.conv1d`, `conv2d` and so on, without a bias.

    Args:
        weight: (out channels, in channels / groups, *kernel).
        x: (batch, in channels, *space); zeros surround it.
        stride: one step per axis of space.
        padding: zeros before and after, per axis.
        dilation: distance of the taps, per axis.
        groups: of channels that do not mix.
    """
    kernel, image = as_interval(weight), as_interval(x)
    _require_axes(kernel, image, stride, padding, dilation)
    terms = math.prod(kernel.shape[1:])

    def product(w: Tensor, v: Tensor) -> Tensor:
        padded = functional.pad(v, [side for size in reversed(padding) for side in (size, size)])
        return _correlation(w, padded, stride, dilation, groups)

    return bilinear(product, terms, kernel, image)


def transposed_convolution(
    weight: Operand,
    x: Operand,
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
    groups: int = 1,
) -> Interval:
    """The map of `torch.nn.functional.conv_transpose1d`, `conv_transpose2d` and so on, no bias.

    Computed as the correlation of the reversed kernel with the image that has stride - 1 zeros
    between neighbours; the zeros add products of 0, which are exact.

    Args:
        weight: (in channels, out channels / groups, *kernel).
        x: (batch, in channels, *space).
        stride: distance of neighbours in the result, per axis.
        padding: how much is cut off from both sides of the result, per axis.
        dilation: distance of the taps, per axis.
        output_padding: how much more there is at the end of each axis.
        groups: of channels that do not mix.
    """
    kernel, image = as_interval(weight), as_interval(x)
    _require_axes(kernel, image, stride, padding, dilation, output_padding)
    reach = [step * (size - 1) for step, size in zip(dilation, kernel.shape[2:], strict=True)]
    sides = [
        side
        for far, cut, more in zip(reach, padding, output_padding, strict=True)
        for side in (far - cut + more, far - cut)
    ][::-1]
    ones = [1] * len(stride)

    def product(w: Tensor, v: Tensor) -> Tensor:
        spread = functional.pad(_with_gaps(v, stride), sides)
        return _correlation(_reversed_kernel(w, groups), spread, ones, dilation, groups)

    return bilinear(product, math.prod(kernel.shape[2:]) * kernel.shape[0] // groups, kernel, image)


def _require_axes(kernel: Interval, image: Interval, *settings: Sequence[int]) -> None:
    """Each setting for each axis of space; torch would pad only the last axes by a short one."""
    axes = kernel.ndim - 2
    if image.ndim != kernel.ndim or any(len(setting) != axes for setting in settings):
        raise ValueError(f"a batch of images of {axes} axes, with settings for each of them")


def _correlation(
    weight: Tensor, image: Tensor, stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """The windows of an image times the kernel, as one matrix product per group."""
    windows = image.reshape(image.shape[0], groups, -1, *image.shape[2:])
    for axis, (step, gap) in enumerate(zip(stride, dilation, strict=True)):
        taps = weight.shape[2 + axis]
        windows = windows.unfold(3 + axis, gap * (taps - 1) + 1, step)[..., ::gap]
    space = "".join("uvwxyz"[: len(stride)])
    taps_names = "".join("klmnpq"[: len(stride)])
    kernel = weight.reshape(groups, -1, *weight.shape[1:])
    subscripts = f"goi{taps_names},bgi{space}{taps_names}->bgo{space}"
    return torch.einsum(subscripts, kernel, windows).flatten(1, 2)


def _with_gaps(image: Tensor, stride: Sequence[int]) -> Tensor:
    """An image with stride - 1 zeros between neighbours, per axis."""
    for axis, step in enumerate(stride, start=2):
        apart = functional.pad(image.unsqueeze(axis + 1), _last_of(image.ndim - axis, step - 1))
        image = apart.flatten(axis, axis + 1)
        image = image.narrow(axis, 0, image.shape[axis] - step + 1)
    return image


def _last_of(axes: int, size: int) -> list[int]:
    """The padding of `functional.pad` that puts zeros after an axis counted from behind."""
    return [0, 0] * (axes - 1) + [0, size]


def _reversed_kernel(weight: Tensor, groups: int) -> Tensor:
    """(in, out / groups, *kernel) as (out, in / groups, *kernel) with its taps in reverse."""
    grouped = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    return grouped.flip(tuple(range(2, grouped.ndim)))
