"""Random graphs in float32 stay within the radius, on sets of all sizes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.certifier.errors import CertifierError
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import Ball
from certisolve_server.certifier.rounding_radius import executed, rounding_radius
from random_networks import networks
from small_networks import exported, in_float64

_NUMBERS = st.floats(-2.0, 2.0, width=32)


@settings(max_examples=6, deadline=None)
@given(
    net=networks(3, most_layers=4),
    center=st.lists(_NUMBERS, min_size=3, max_size=3),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e4]),
    radius=st.sampled_from([0.0, 1e-4, 0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_random_graphs_stay_within_the_radius(net, center, scale, radius, seed):
    middle = scale * torch.tensor([center])
    program = exported(net, (1, 3))
    region = Ball({"x": middle.double()}, radius, "linf")
    try:
        bound = rounding_radius(executed(program, {"x": (1, 3)}), region, Norms("l2", "linf"))
    except CertifierError:
        return
    generator = torch.Generator().manual_seed(seed)
    moves = 2.0 * torch.rand(8, 1, 3, generator=generator) - 1.0
    points = [middle + 0.999 * radius * each for each in moves]
    single = program.module(check_guards=False)
    with torch.no_grad():
        narrow = [single(each).double() for each in points]
        double = in_float64(program)
        wide = [double(each.double()) for each in points]
    for one, other in zip(narrow, wide, strict=True):
        assert float((one - other).abs().max()) <= bound
