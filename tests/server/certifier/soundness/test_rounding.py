"""Programs in float32 that once went further from their map than the radius of level `float` said.

Each of them has a radius that covers what is seen, or none.
"""

import pytest
import torch
from torch import nn

from certisolve_server.certifier.errors import CertifierError
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import Ball
from certisolve_server.certifier.rounding_radius import executed, rounding_radius
from small_networks import Applied, exported, in_float64


class OfBuffer(nn.Module):
    """A function of the input and of a stored tensor."""

    def __init__(self, function, buffer):
        super().__init__()
        self.function = function
        self.register_buffer("buffer", buffer)

    def forward(self, x):
        return self.function(x, self.buffer)


def signed(x):
    """A sum over entries of which half count negatively, so that it is near 0."""
    return (x * torch.tensor([1.0, 1.0, -1.0, -1.0])).sum(1, keepdim=True)


_WIDE = torch.full((4,), 0.1, dtype=torch.float64)
_NARROW = torch.full((4,), 0.1)

#: By what went wrong: a module, and the point that it is certified at.
PROGRAMS = {
    "a factor above the largest float": (Applied(lambda x: x * 1e39), 1e-10),
    "a filled tensor between two floats": (
        Applied(lambda x: torch.maximum(x, torch.full((4,), 0.1, dtype=torch.float32))),
        0.0,
    ),
    "a stored tensor between two floats": (
        OfBuffer(lambda x, c: torch.maximum(x, c.float()), _WIDE),
        0.0,
    ),
    "a mask by a number between two floats": (
        OfBuffer(lambda x, c: torch.where(c > 0.1, x, -x), _NARROW),
        1.0,
    ),
    "a sum that overflows on its way": (Applied(signed), 3e38),
    "a product with a matrix that overflows on its way": (
        OfBuffer(lambda x, c: x @ c, torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])),
        3e38,
    ),
    "an exponential that softplus takes above its threshold": (
        Applied(lambda x: nn.functional.softplus(x, threshold=1000.0)),
        100.0,
    ),
    "a product in another order": (
        OfBuffer(
            lambda x, c: (x[:, :1] * c).prod(1, keepdim=True),
            torch.tensor([1e-30, 1e30]).repeat(32),
        ),
        1.0,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_rounding_is_covered_or_has_no_radius(name):
    module, point = PROGRAMS[name]
    x = torch.full((1, 4), point)
    program = exported(module, (1, 4))
    region = Ball({"x": x.double()}, 0.0, "linf")
    try:
        radius = rounding_radius(executed(program, {"x": (1, 4)}), region, Norms("linf", "linf"))
    except CertifierError:
        return
    with torch.no_grad():
        narrow = program.module(check_guards=False)(x).double()
        wide = in_float64(program)(x.double())
    assert float((narrow - wide).abs().max()) <= radius
