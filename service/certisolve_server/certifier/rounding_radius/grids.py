"""Interpolation between entries of a grid, whose places are rounded as well as what is summed up.

A place is a scale times a number, the scale itself being rounded: off by less than 8 u (n + 1) in
units of the n entries of an axis. What is interpolated changes with the place by less than twice
the largest entry, and by less than 4.2 times it where it is cubic. Sums of sizes of weights are at
most 1 and, cubic, 1.375 along each axis; a cubic weight is off by less than 64 u.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.rules import Declined

from .deviation import Deviation, Known, number, rounded
from .precision import Precision
from .rule import Rule, Rules

#: Roundings of the whole, for each entry of an axis and for all weights and their sum.
_OF_PLACES, _OF_WEIGHTS = 64, 4096

#: Of 1.375 along two axes.
_CUBIC_GAIN = 2.0

#: Above it, places are not known to the roundings that are counted here.
_MOST_ENTRIES = 1 << 20


def _nearest(name: str) -> Rule:
    """Entries repeated or left out; that no rounding decides which, `rules.resampling` sees to."""
    overload = getattr(torch.ops.aten, name).vec

    def rule(
        _precision: Precision,
        input: Known,
        output_size: Sequence[int] | None,
        scale_factors: Sequence[float] | None,
    ) -> Deviation:
        return Deviation.within(overload(input.deviation.entries, output_size, scale_factors))

    return rule


def _interpolating(name: str, axes: int, gain: float) -> Rule:
    overload = getattr(torch.ops.aten, name).vec
    space = tuple(range(-axes, 0))

    def rule(
        precision: Precision,
        input: Known,
        output_size: Sequence[int] | None,
        align_corners: bool,
        scale_factors: Sequence[float] | None,
    ) -> Deviation:
        shape = overload(input.size, output_size, align_corners, scale_factors).shape
        if max(*input.shape[-axes:], *shape[-axes:]) > _MOST_ENTRIES:
            raise Declined("goes over axes that are too long")

        def reach(sizes: Tensor) -> Tensor:
            return product_up(sizes.amax(space, keepdim=True), number(gain)).expand(shape)

        sizes = reach(input.size)
        precision.require_range(product_up(sizes, number(8.0)))
        roundings = _OF_WEIGHTS + _OF_PLACES * sum(n + 1 for n in input.shape[-axes:])
        local = rounded(sizes, precision.gamma(roundings), roundings * precision.absolute)
        return Deviation.within(reach(input.deviation.entries)).plus(local)

    return rule


#: By overload.
RULES: Rules = {
    **{f"aten.upsample_nearest{n}d.vec": _nearest(f"upsample_nearest{n}d") for n in (1, 2, 3)},
    "aten.upsample_linear1d.vec": _interpolating("upsample_linear1d", 1, 1.0),
    "aten.upsample_bilinear2d.vec": _interpolating("upsample_bilinear2d", 2, 1.0),
    "aten.upsample_trilinear3d.vec": _interpolating("upsample_trilinear3d", 3, 1.0),
    "aten.upsample_bicubic2d.vec": _interpolating("upsample_bicubic2d", 2, _CUBIC_GAIN),
}
