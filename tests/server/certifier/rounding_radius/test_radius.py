"""Programs in float32 stay within the radius of what they are on reals, and what cannot is told."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bundled_requests import REQUESTS
from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.graph.edges import EDGES
from certisolve_server.certifier.norms import NORMS, Norms
from certisolve_server.certifier.region import Ball, Everything
from certisolve_server.certifier.rounding_radius import (
    RULES,
    Surveyor,
    executed,
    rounding_radius,
)
from certisolve_server.certifier.rules import RULES as EXACT
from slow_ones import mostly_slow
from small_networks import Applied, bundled, exported, in_float64, perceptron

_ORDERS = {"l1": 1, "l2": 2, "linf": math.inf}


def off_in_float32(program, points, fixed):
    """What float32 gives of each point, less what float64 does, flattened; spoils the program."""
    names = program.graph_signature.user_inputs
    given = [[(inputs | fixed)[name] for name in names] for inputs in points]
    single = program.module(check_guards=False)
    with torch.no_grad():
        narrow = [_first(single(*each)) for each in given]
        double = in_float64(program)
        wide = [_first(double(*(value.double() for value in each))) for each in given]
    return [(a.double() - b).flatten() for a, b in zip(narrow, wide, strict=True)]


def _first(output):
    return output[0] if isinstance(output, tuple | list) else output


def drawn(centers, radius, generator):
    return {
        name: (
            center + radius * (2.0 * torch.rand(center.shape, generator=generator) - 1.0)
        ).float()
        for name, center in centers.items()
    }


def test_all_operators_that_are_certified_have_a_rule_of_rounding():
    assert set(RULES) == set(EXACT) - {EDGES}


@pytest.mark.parametrize(
    "name",
    mostly_slow(REQUESTS, {"burgers1d-fno", "kan-formula", "kan-friction", "spiral-feedback"}),
)
def test_bundled_models_stay_within_the_radius(name):
    request = REQUESTS[name]
    program = bundled(name)
    graph = executed(program, request.shapes, request.fixed())
    region = Ball(request.centers(), request.radius, "linf")
    radii = {norm: rounding_radius(graph, region, Norms("l2", norm)) for norm in NORMS[1:]}
    generator = torch.Generator().manual_seed(1)
    points = [drawn(request.centers(), request.radius, generator) for _ in range(3)]
    for off in off_in_float32(program, points, request.fixed()):
        for norm, radius in radii.items():
            assert float(off.norm(_ORDERS[norm])) <= radius
    assert all(radius > 0.0 for radius in radii.values())


#: Of x with 6 entries around 0.5.
OPERATORS = {
    "quotient": lambda x: x / (x + 1.0),
    "power": lambda x: x**3 - x**-2,
    "roots": lambda x: torch.sqrt(x) + torch.log(x) + torch.rsqrt(x) + torch.log1p(x),
    "exponentials": lambda x: torch.exp(x) + torch.expm1(x) + torch.erf(x),
    "waves": lambda x: torch.sin(40.0 * x) * torch.cos(9.0 * x),
    "activations": lambda x: nn.functional.gelu(x) * nn.functional.silu(x - 0.5),
    "tanh gelu": lambda x: nn.functional.gelu(8.0 * (x - 0.5), approximate="tanh"),
    "rectifiers": lambda x: nn.functional.elu(x - 0.5) + nn.functional.leaky_relu(x - 0.4, 0.1),
    "softplus": lambda x: nn.functional.softplus(60.0 * (x - 0.4), beta=1.3),
    "sigmoid": lambda x: torch.sigmoid(30.0 * (x - 0.5)) + torch.tanh(x),
    "clamped": lambda x: torch.clamp(x, 0.3, 0.7) - 0.1 * torch.maximum(x, 1.0 - x),
    "means": lambda x: x.mean(1, keepdim=True) * x.sum() + x.mean(),
    "products": lambda x: x.view(2, 3).prod(1, keepdim=True) * x.view(2, 3).prod(0),
    "bilinear": lambda x: x.view(2, 3) @ x.view(3, 2),
    "fused": lambda x: torch.addmm(x[:, :2], x, x.view(6, 1).expand(6, 2), beta=0.3, alpha=1.7),
    "parts": lambda x: torch.stack(x.chunk(2, 1)[::-1], 2).permute(2, 0, 1) * x[:, 0],
    "repeated": lambda x: x.unsqueeze(2).expand(1, 6, 3).repeat(2, 1, 1) * x[0, :3],
    "table": lambda x: x * torch.cos(torch.arange(6, dtype=torch.float32) / 7 * 6.28),
    "padded": lambda x: nn.functional.pad(0.3 * x.view(1, 6), (2, 1), "replicate"),
    "around": lambda x: nn.functional.pad(x, (2, 1), value=0.3).roll(2, -1) * 0.7,
    "cancelled": lambda x: (x + 1e4) - 1e4,
    "third": lambda x: x / 3 - 0.1,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_stay_within_the_radius_which_is_not_far_above(name):
    program = exported(Applied(OPERATORS[name]), (1, 6))
    graph = executed(program, {"x": (1, 6)})
    center = {"x": torch.full((1, 6), 0.5, dtype=torch.float64)}
    radius = rounding_radius(graph, Ball(center, 0.2, "linf"), Norms("linf", "linf"))
    generator = torch.Generator().manual_seed(0)
    points = [drawn(center, 0.2, generator) for _ in range(40)]
    largest = max(float(off.abs().max()) for off in off_in_float32(program, points, {}))
    assert largest <= radius < 300.0 * largest + 1e-8


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 999),
    activation=st.sampled_from([nn.ReLU(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Softplus()]),
    depth=st.integers(1, 3),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 50.0]),
    radius=st.sampled_from([0.0, 1e-3, 1.0]),
)
def test_networks_stay_within_the_radius(seed, activation, depth, scale, radius):
    net = perceptron(activation, *[5] * depth, 3, seed=seed)
    program = exported(nn.Sequential(Applied(lambda x: x * scale), net), (1, 5))
    graph = executed(program, {"x": (1, 5)})
    center = {"x": torch.full((1, 5), 0.3, dtype=torch.float32).double()}
    bound = rounding_radius(graph, Ball(center, radius, "linf"), Norms("linf", "l2"))
    generator = torch.Generator().manual_seed(seed)
    points = [drawn(center, radius, generator) for _ in range(5)]
    for off in off_in_float32(program, points, {}):
        assert float(off.norm()) <= bound


@pytest.mark.parametrize("name", ["vanderpol-node", "burgers1d-fno", "kan-formula"])
def test_values_are_enclosed_around_a_point(name):
    request = REQUESTS[name]
    graph = executed(bundled(name), request.shapes, request.fixed())
    region = Ball(request.centers(), request.radius, "linf")
    found = Surveyor(graph).on_region(region)
    function = in_float64(bundled(name))
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        inputs = drawn(request.centers(), request.radius, generator) | request.fixed()
        names = bundled(name).graph_signature.user_inputs
        output = function(*(inputs[each].double() for each in names))
        off = (_first(output) - found.center).abs()
        assert bool((off <= found.output.entries * (1 + 1e-9)).all())
        assert float(off.norm()) <= float(found.output.length)


def refusal(function, center=0.5, radius=0.1):
    graph = executed(exported(Applied(function), (1, 4)), {"x": (1, 4)})
    at = {"x": torch.full((1, 4), center, dtype=torch.float64)}
    return lambda: rounding_radius(graph, Ball(at, radius, "linf"), Norms("l2", "l2"))


def test_what_may_overflow_is_not_certified():
    with pytest.raises(NotCertified, match="overflow"):
        refusal(lambda x: torch.exp(x * 200.0))()
    with pytest.raises(NotCertified, match="overflow"):
        refusal(lambda x: x * 1e38 * 1e3)()


def test_a_divisor_that_may_round_to_zero_is_not_certified():
    with pytest.raises(NotCertified):
        refusal(lambda x: 1.0 / (x - 0.4))()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.half().float(),
        lambda x: (1.1 * x.bfloat16()).float(),
        lambda x: x * torch.full((4,), 0.1).half().float(),
        lambda x: x.sum(1, dtype=torch.float16).float(),
    ],
)
def test_narrow_types_are_refused_by_name(function):
    with pytest.raises(UnsupportedOperator, match="float16, whose rounding is not counted"):
        refusal(function)()


def test_operators_without_a_rule_are_refused_by_name():
    with pytest.raises(UnsupportedOperator, match="atan"):
        refusal(torch.atan)()


def test_everything_has_no_radius():
    graph = executed(exported(nn.Linear(4, 2), (1, 4)), {"x": (1, 4)})
    with pytest.raises(NotCertified, match="everything"):
        rounding_radius(graph, Everything(), Norms("l2", "l2"))
