"""The cosine."""

from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval

from .function import Function
from .turns import wave


@dataclass(frozen=True)
class Cos(Function):
    """cos x; its maxima lie at whole turns."""

    def value(self, x: Interval) -> Interval:
        return wave(torch.cos, x, 0.0)

    def derivative(self, x: Interval) -> Interval:
        return -wave(torch.sin, x, 0.25)

    def second_derivative(self, x: Interval) -> Interval:
        return -self.value(x)
