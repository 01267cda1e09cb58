"""Kinks made smooth, so that a search feels on which side of a gate more is to be gained.

Each piecewise linear function is one of s(z) = max(z, 0), and s becomes T log(1 + e^(z/T)), whose
slope is the logistic function of z / T; T falls during a search (the annealed gates of section 4 of
Shi et al., NeurIPS 2022, go by the same slope).
"""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from certisolve_server.certifier.execution import Replacements

#: Operators with kinks.
KINKED = frozenset(
    f"aten.{name}.default"
    for name in ("abs", "clamp", "hardtanh", "leaky_relu", "maximum", "minimum", "relu", "relu6")
)


def softened(temperature: float) -> Replacements:
    """Smooth stand-ins; the temperature is in units of the mean size of what comes in."""
    soft = partial(_soft, temperature=temperature)

    def clamp(self: Tensor, min: float | None, max: float | None) -> Tensor:
        low = -math.inf if min is None else min
        high = math.inf if max is None else max
        above = self if low == -math.inf else low + soft(self - low)
        return above if high == math.inf else high - soft(high - above)

    return {
        "aten.abs.default": lambda self: 2.0 * soft(self) - self,
        "aten.clamp.default": clamp,
        "aten.hardtanh.default": lambda self, min_val, max_val: clamp(self, min_val, max_val),
        "aten.leaky_relu.default": lambda self, negative_slope: (
            negative_slope * self + (1.0 - negative_slope) * soft(self)
        ),
        "aten.maximum.default": lambda self, other: self + soft(other - self),
        "aten.minimum.default": lambda self, other: self - soft(self - other),
        "aten.relu.default": soft,
        "aten.relu6.default": lambda self: clamp(self, 0.0, 6.0),
    }


def _soft(self: Tensor, temperature: float) -> Tensor:
    scale = temperature * (self.detach().abs().mean() + torch.finfo(torch.float64).tiny)
    softened: Tensor = functional.softplus(self / scale) * scale
    return softened
