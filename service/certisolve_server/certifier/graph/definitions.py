"""Operators that are read as what they are defined by, in others that have rules.

Each function here is one: the same map of real numbers, and not the same program, which may round
elsewhere. What is only padded or moved is the same program as well. Where arguments are not of the
definition (dropout, a causal mask), the operator stays, and is refused by its name.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch._ops import OpOverload
from torch.nn import functional

#: By overload. They give NotImplemented for arguments that they are not of.
Definitions: TypeAlias = Mapping[OpOverload, Callable[..., Any]]

_ATEN = torch.ops.aten


def _convolved(convolve: OpOverload) -> Callable[..., Any]:
    """Convolution with padding that is told by a word, the larger side last."""

    def defined(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: tuple[int, ...] = (1,),
        padding: str = "valid",
        dilation: tuple[int, ...] = (1,),
        groups: int = 1,
    ) -> Tensor:
        axes = weight.ndim - 2
        gaps = list(dilation) * (axes if len(dilation) == 1 else 1)
        whole = [gap * (taps - 1) for gap, taps in zip(gaps, weight.shape[2:], strict=True)]
        around = [total // 2 if padding == "same" else 0 for total in whole]
        odd = [total % 2 if padding == "same" else 0 for total in whole]
        if any(odd):
            input = functional.pad(input, [side for more in odd[::-1] for side in (0, more)])
        result: Tensor = convolve(input, weight, bias, stride, around, dilation, groups)
        return result

    return defined


def _pixels_shuffled(self: Tensor, upscale_factor: int) -> Tensor:
    """Channels as pixels between pixels."""
    *batch, channels, height, width = self.shape
    k, kept = upscale_factor, len(batch)
    apart = self.reshape(*batch, channels // k**2, k, k, height, width)
    order = [kept, kept + 3, kept + 1, kept + 4, kept + 2]
    moved = apart.permute(*range(kept), *order)
    return moved.reshape(*batch, channels // k**2, height * k, width * k)


def _pixels_unshuffled(self: Tensor, downscale_factor: int) -> Tensor:
    """Pixels between pixels as channels."""
    *batch, channels, height, width = self.shape
    k, kept = downscale_factor, len(batch)
    apart = self.reshape(*batch, channels, height // k, k, width // k, k)
    order = [kept, kept + 2, kept + 4, kept + 1, kept + 3]
    moved = apart.permute(*range(kept), *order)
    return moved.reshape(*batch, channels * k**2, height // k, width // k)


def _seen_as(self: Tensor, size: list[int]) -> Tensor:
    """Of a copy that nobody else has, as tracing says."""
    return self.view(size)


def _at_least(self: Tensor, min: float) -> Tensor:
    return torch.clamp(self, min=min)


def _at_most(self: Tensor, max: float) -> Tensor:
    return torch.clamp(self, max=max)


def _expanded(self: Tensor, other: Tensor) -> Tensor:
    return self.expand(other.shape)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(q k^T / sqrt(d) + mask) v (Vaswani et al., 2017, equation 1)."""
    if dropout_p or is_causal or enable_gqa:
        return NotImplemented
    if attn_mask is not None and not attn_mask.is_floating_point():
        return NotImplemented
    scores = query @ key.mT
    # The root is left to the graph, which encloses it.
    factor = (
        torch.rsqrt(torch.full((), query.shape[-1], dtype=query.dtype)) if scale is None else scale
    )
    scores = scores * factor
    shares = torch.softmax(scores if attn_mask is None else scores + attn_mask, -1)
    return shares @ value


def _gated(self: Tensor, dim: int = -1) -> Tensor:
    """One half times the sigmoid of the other."""
    half = self.shape[dim] // 2
    return self.narrow(dim, 0, half) * torch.sigmoid(self.narrow(dim, half, half))


def _bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x_i W_oij y_j + b_o."""
    by_left = torch.einsum("...i,oij->...oj", input1, weight)
    product = torch.einsum("...oj,...j->...o", by_left, input2)
    return product if bias is None else product + bias


def _root_mean_square_norm(
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Any:
    """X / sqrt(mean of squares + eps) w over the last axes."""
    if eps is None and input.dtype not in (torch.float32, torch.float64):
        return NotImplemented
    axes = list(range(-len(normalized_shape), 0))
    least = torch.finfo(input.dtype).eps if eps is None else eps
    scaled = input * torch.rsqrt((input * input).mean(axes, keepdim=True) + least)
    return scaled if weight is None else scaled * weight


def _instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """As a norm of groups of one channel, or with statistics that are given.

    With both the operator writes into what is given, which its schema keeps to itself.
    """
    del momentum, cudnn_enabled
    if use_input_stats and running_mean is not None:
        return NotImplemented
    if use_input_stats:
        return functional.group_norm(input, input.shape[1], weight, bias, eps)
    return functional.batch_norm(input, running_mean, running_var, weight, bias, False, 0.0, eps)


def _batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """As export leaves batch norm in programs that write into parts of tensors."""
    del momentum
    shape = (-1, *(1,) * (input.ndim - 2))
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    result = (input - running_mean.view(shape)) * scale.view(shape)
    result = result if bias is None else result + bias.view(shape)
    return result, input.new_zeros(0), input.new_zeros(0)


def _variance(
    self: Tensor,
    dim: list[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:
    """The sum of squares around the mean by n - correction."""
    axes = list(dim) if dim else list(range(self.ndim))
    centered = self - self.mean(axes, keepdim=True)
    count = math.prod(self.shape[axis] for axis in axes)
    left = torch.sym_max(0, count - (1 if correction is None else correction))  # type: ignore[no-untyped-call]
    return (centered * centered).sum(axes, keepdim).div(left)


def _variance_over(
    self: Tensor, dim: list[int] | None, unbiased: bool = True, keepdim: bool = False
) -> Tensor:
    return _variance(self, dim, correction=int(unbiased), keepdim=keepdim)


def _deviation(self: Tensor, dim: list[int] | None = None, **how: Any) -> Tensor:
    return torch.sqrt(_variance(self, dim, **how))


def _deviation_over(
    self: Tensor, dim: list[int] | None, unbiased: bool = True, keepdim: bool = False
) -> Tensor:
    return torch.sqrt(_variance_over(self, dim, unbiased, keepdim))


def _without_dropout(layers: Callable[..., Any]) -> Callable[..., Any]:
    """Of recurrent layers, whose decomposition in torch forgets of dropout between them."""

    def defined(
        input: Tensor,
        hx: Any,
        params: list[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        *shape: bool,
    ) -> Any:
        if train and dropout:
            return NotImplemented
        return layers(input, hx, params, has_biases, num_layers, dropout, train, *shape)

    return defined


_RECURRENT = {
    operator: _without_dropout(layers)
    for operator, layers in get_decompositions(
        [_ATEN.gru.input, _ATEN.lstm.input, _ATEN.rnn_relu.input, _ATEN.rnn_tanh.input]
    ).items()
    if isinstance(operator, OpOverload)
}

#: Which round as the operators that they stand for.
AS_EXECUTED: Definitions = MappingProxyType(
    {
        _ATEN.conv1d.padding: _convolved(_ATEN.conv1d.default),
        _ATEN.conv2d.padding: _convolved(_ATEN.conv2d.default),
        _ATEN.conv3d.padding: _convolved(_ATEN.conv3d.default),
        _ATEN.clamp_max.default: _at_most,
        _ATEN.clamp_min.default: _at_least,
        _ATEN.expand_as.default: _expanded,
        _ATEN._unsafe_view.default: _seen_as,
        _ATEN.pixel_shuffle.default: _pixels_shuffled,
        _ATEN.pixel_unshuffle.default: _pixels_unshuffled,
    }
)

#: All, equal on real numbers.
DEFINITIONS: Definitions = MappingProxyType(
    {
        **AS_EXECUTED,
        **_RECURRENT,
        _ATEN._native_batch_norm_legit_no_training.default: _batch_norm,
        _ATEN.bilinear.default: _bilinear,
        _ATEN.glu.default: _gated,
        _ATEN.instance_norm.default: _instance_norm,
        _ATEN.rms_norm.default: _root_mean_square_norm,
        _ATEN.scaled_dot_product_attention.default: _attention,
        _ATEN.std.correction: _deviation,
        _ATEN.std.dim: _deviation_over,
        _ATEN.var.correction: _variance,
        _ATEN.var.dim: _variance_over,
    }
)
