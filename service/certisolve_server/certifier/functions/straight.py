"""Second derivatives of functions that are straight between their kinks."""

import math

import torch

from certisolve_server.certifier.arithmetic import Interval


def straight_but_at(x: Interval, *kinks: float) -> Interval:
    """0 on intervals without a kink, also at their ends; everything on others."""
    touches = torch.zeros_like(x.lower, dtype=torch.bool)
    for kink in kinks:
        touches |= (x.lower <= kink) & (x.upper >= kink)
    curvature = torch.where(touches, math.inf, 0.0).double()
    return Interval(-curvature, curvature)
