"""Constants of programs are those that are served: no number, mask or count is another one.

Each bound and each witness is held against slopes of the program in its own floats.
"""

import pytest
import torch
from torch import nn

from all_bounds import all_bounds, lower_bound
from certisolve_server.certifier.errors import PossiblyDiscontinuous
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball
from small_networks import exported


class OfBuffer(nn.Module):
    """A function of the input and of a stored tensor."""

    def __init__(self, function, buffer):
        super().__init__()
        self.function = function
        self.register_buffer("buffer", buffer)

    def forward(self, x):
        return self.function(x, self.buffer)


POINTS = torch.tensor([0.1, 0.2, -0.3, 0.7])

#: So that what is masked shows.
WEIGHTS = torch.tensor([7.0, 2.0, 3.0, 5.0])

#: Of x with 4 entries: each is affine, so that one slope is all of them.
MODULES = {
    "counted in integers from between two": OfBuffer(
        lambda x, _: x * torch.arange(-0.5, 4.2, 1.0, dtype=torch.int64)[:4], POINTS
    ),
    "counted in integers from a fraction": OfBuffer(
        lambda x, _: x * torch.arange(0.5, 4.5, dtype=torch.int64), POINTS
    ),
    "counted in integers by a fraction": OfBuffer(
        lambda x, _: x * torch.arange(0, 5, 1.5, dtype=torch.int64)[:4], POINTS
    ),
    "counted in integers": OfBuffer(lambda x, _: x * torch.arange(-1, 7, 2), POINTS),
    "filled with integers": OfBuffer(
        lambda x, _: x * torch.full((4,), 2.5, dtype=torch.int64), POINTS
    ),
    "above a number that is rounded": OfBuffer(lambda x, c: x * (c > 0.1) * WEIGHTS, POINTS),
    "at most a number that is rounded": OfBuffer(lambda x, c: x * (c <= 0.1) * WEIGHTS, POINTS),
    "a point of another width": OfBuffer(
        lambda x, c: x * (c <= torch.tensor(0.1, dtype=torch.float64)) * WEIGHTS, POINTS
    ),
    "integers above a fraction": OfBuffer(
        lambda x, c: x * (c > 16777216.5) * WEIGHTS, torch.tensor([16777217, 16777216, 5, 16777218])
    ),
    "integers beside floats": OfBuffer(
        lambda x, c: x * (c <= torch.tensor([16777217, 1, 2, 3])) * WEIGHTS,
        torch.tensor([16777216.0, 0.0, 7.0, 1.0]),
    ),
    "a mask that is known": OfBuffer(lambda x, c: x * (c > 0.25) * WEIGHTS, POINTS),
    "integers of 32 bits": OfBuffer(
        lambda x, c: x * (c > 0) * WEIGHTS, torch.tensor([1, 0, -1, 2], dtype=torch.int32)
    ),
}

KNOWN = {"counted in integers", "filled with integers", "a mask that is known"}


@pytest.mark.parametrize("name", MODULES)
def test_bounds_hold_of_what_is_served(name):
    module = MODULES[name]
    program = exported(module, (1, 4))
    try:
        graph = prepare(program, {"x": (1, 4)})
    except PossiblyDiscontinuous:
        assert name not in KNOWN
        return
    served = torch.autograd.functional.jacobian(lambda x: module(x).flatten(), torch.ones(1, 4))
    exact = float(served.double().abs().amax())
    center = {"x": torch.zeros(1, 4, dtype=torch.float64)}
    asked = Problem(graph, Ball(center, 0.5, "l1"), Norms("l1", "linf"))
    bounds = all_bounds(asked, 2)
    assert bounds
    assert all(upper >= exact * (1 - 1e-12) for upper in bounds.values())
    assert lower_bound(asked, 3) <= exact
