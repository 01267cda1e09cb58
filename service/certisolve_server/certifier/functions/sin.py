"""The sine."""

from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval

from .function import Function
from .turns import wave


@dataclass(frozen=True)
class Sin(Function):
    """sin x; its maxima lie a quarter of a turn after 0."""

    def value(self, x: Interval) -> Interval:
        return wave(torch.sin, x, 0.25)

    def derivative(self, x: Interval) -> Interval:
        return wave(torch.cos, x, 0.0)

    def second_derivative(self, x: Interval) -> Interval:
        return -self.value(x)
