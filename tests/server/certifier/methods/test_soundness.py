"""No sampled pair and no sampled Jacobian exceeds a bound: over operators, networks and sets.

What is sampled is computed in float64, whose error against the reals is far below the share of
1e-9 that is allowed for it.
"""

import itertools
import math
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from certisolve_server.certifier.arithmetic.norms import operator_norm
from certisolve_server.certifier.domain import box
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.mean_value import MeanValue, enclose
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.methods.splitting import Splitting
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Box
from small_networks import (
    ORDERS,
    Applied,
    bundled,
    exported,
    in_float64,
    perceptron,
    sampled,
    steepest,
)

_ROUNDING = 1 + 1e-9
_NORMS = [Norms(p, q) for p in ORDERS for q in ORDERS]

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.2),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "softplus": nn.Softplus(),
    "elu": nn.ELU(),
    "hardtanh": nn.Hardtanh(),
    "sin": Applied(torch.sin),
    "square": Applied(torch.square),
    "max": Applied(lambda h: torch.maximum(h, -0.5 * h)),
}

#: Of x with 6 entries, all above 0.
OPERATORS = {
    "quotient": lambda x: x / (x + 1.0),
    "product": lambda x: x * torch.sin(x) * x[:, :1],
    "reciprocal": lambda x: 1.0 / x,
    "power": lambda x: x**3 - x**-2,
    "roots": lambda x: torch.sqrt(x) + torch.log(x) + torch.rsqrt(x),
    "means": lambda x: x.mean(1, keepdim=True) * x.sum() + x.mean(),
    "rsub": lambda x: 2.0 - x * 3.0 - torch.exp(-x),
    "shapes": lambda x: torch.cat([x.view(2, 3).T.flatten(), x[0].flip(0), x[:, 1::2].ravel()]),
    "pieces": lambda x: torch.stack(x.chunk(2, 1)[::-1], 2).permute(2, 0, 1) * x[:, 0],
    "unbound": lambda x: x.unbind(1)[3] * x,
    "repeated": lambda x: x.unsqueeze(2).expand(1, 6, 3).repeat(2, 1, 1) * x[0, :3],
    "bilinear": lambda x: x.view(2, 3) @ x.view(3, 2),
    "batched": lambda x: torch.bmm(x.view(1, 2, 3), torch.tanh(x).view(1, 3, 2)),
    "broadcast": lambda x: torch.matmul(torch.ones_like(x).view(2, 3), x.view(2, 3, 1)) - x[0, 1],
    "fused": lambda x: torch.addmm(x[:, :2], x, x.view(6, 1).expand(6, 2), beta=0.5, alpha=2.0),
    "selected": lambda x: torch.where(torch.arange(6) % 2 == 0, x, torch.sin(x)),
    "products": lambda x: x.view(2, 3).prod(1, keepdim=True) * x.view(2, 3).prod(0),
    "clamped": lambda x: torch.clamp(x, 0.6, 0.9) + torch.clamp(x, min=0.7) * x.clamp(max=0.8),
    "smaller": lambda x: torch.minimum(x, 1 - x).abs() + torch.erf(x),
    "constants": lambda x: x * torch.cos(torch.arange(6, dtype=torch.float32) / 6 * 6.28),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_perceptrons_of_each_activation(name):
    net = perceptron(ACTIVATIONS[name], 3, 6, 5, 2, seed=len(name))
    program = exported(net, (1, 3))
    function = in_float64(program)
    for center, radius in [(-0.4, 0.7), (0.0, 3.0)]:
        _assert_sound(program, function, _box((1, 3), center, radius))


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name):
    program = exported(Applied(OPERATORS[name]), (1, 6))
    function = in_float64(program)
    for center, radius in [(0.7, 0.2)]:
        _assert_sound(program, function, _box((1, 6), center, radius))


@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 1000),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    inner=st.sampled_from(sorted(OPERATORS)),
    radius=st.floats(0, 0.4),
)
def test_operators_inside_of_networks(seed, activation, inner, radius):
    before = perceptron(ACTIVATIONS[activation], 2, 5, 6, seed=seed)

    def composed(x):
        return OPERATORS[inner](torch.sigmoid(before(x)) + 0.1)

    class Composed(nn.Module):
        def __init__(self):
            super().__init__()
            self.before = before

        def forward(self, x):
            return composed(x)

    program = exported(Composed(), (1, 2))
    _assert_sound(program, in_float64(program), _box((1, 2), 0.2, radius))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Conv2d(2, 4, 2, stride=2, groups=2),
        nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 1, padding=1),
        nn.Sequential(nn.Flatten(2), nn.AvgPool1d(4, 2, padding=1)),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(2, 3, 3, dilation=2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_convolutions(layer):
    torch.manual_seed(0)
    channels = getattr(layer, "in_channels", 2)
    net = nn.Sequential(layer, nn.Tanh())
    program = exported(net, (1, channels, 4, 4))
    _assert_sound(program, in_float64(program), _box((1, channels, 4, 4), 0.2, 0.3))


def test_a_convolution_and_its_dense_matrix_have_one_bound():
    torch.manual_seed(1)
    first, second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 2, stride=2)

    def as_matrix(layer, shape):
        units = torch.eye(math.prod(shape)).reshape(-1, *shape)
        with torch.no_grad():
            offset = layer(torch.zeros(1, *shape)).flatten()
            dense = nn.Linear(math.prod(shape), offset.numel())
            dense.bias.copy_(offset)
            dense.weight.copy_((layer(units).flatten(1) - offset).T)
        return dense

    sizes = (1, 4, 4), (2, 4, 4)
    dense = nn.Sequential(as_matrix(first, sizes[0]), nn.GELU(), as_matrix(second, sizes[1]))
    bounds = []
    for net, shape in [(nn.Sequential(first, nn.GELU(), second), (1, 1, 4, 4)), (dense, (1, 16))]:
        graph = prepare(exported(net, shape), {"x": shape})
        lower, upper = _box(shape, 0.1, 0.3)
        bounds.append([_on_one_box(graph, (lower, upper), n) for n in _NORMS])
    # The matrix is rounded to float32 where it was made.
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)


FEEDBACK = {"observer": torch.zeros(1, 2), "gain": torch.full((1,), 2.0)}


@pytest.mark.parametrize(
    ("name", "shapes", "frozen", "lower", "upper"),
    [
        (
            "kan-formula",
            {"variables_0": (1, 2)},
            {"variables_1": torch.full((1, 2), 0.3)},
            0.2,
            0.3,
        ),
        ("kan-formula", {"variables_0": (1, 1), "variables_1": (1, 1)}, {}, -1.3, -0.4),
        ("kan-friction", {"reynolds": (1, 1)}, {"roughness": torch.full((1, 1), 0.01)}, 5e3, 5.2e3),
        ("spiral-feedback", {"x": (1, 2)}, FEEDBACK, -0.5, 1.0),
        ("spiral-neural-feedback", {"x": (1, 2)}, FEEDBACK, -0.5, 1.0),
        ("spiral-neural-feedback", {"gain": (1,)}, {"x": torch.ones(1, 2)}, 0.5, 1.0),
        ("vanderpol-node", {"y": (1, 2), "mu": (1,)}, {"t": torch.zeros(1)}, 0.5, 1.0),
    ],
)
def test_bundled_models(name, shapes, frozen, lower, upper):
    program = bundled(name)
    if name == "spiral-neural-feedback" and "gain" in shapes:
        frozen = {**frozen, "observer": torch.zeros(1, 2)}
    corners = (
        {key: torch.full(shape, lower, dtype=torch.float64) for key, shape in shapes.items()},
        {key: torch.full(shape, upper, dtype=torch.float64) for key, shape in shapes.items()},
    )
    _assert_sound(program, in_float64(program), corners, frozen)


@pytest.mark.parametrize("activation", ["relu", "tanh", "max"])
def test_sets_without_width(activation):
    net = perceptron(ACTIVATIONS[activation], 3, 6, 2, seed=3)
    with torch.no_grad():
        # Pre-activations that are zero exactly, twice.
        net[0].weight[:2], net[0].bias[:2] = 0.0, 0.0
    program = exported(net, (1, 3))
    function = in_float64(program)
    lower, upper = _box((1, 3), 0.3, 0.0)
    _assert_sound(program, function, (lower, upper))
    upper["x"][0, 1] += 0.5
    _assert_sound(program, function, (lower, upper))


def test_a_linear_map_is_exact():
    net = nn.Linear(4, 3)
    graph = prepare(exported(net, (1, 4)), {"x": (1, 4)})
    lower, upper = _box((1, 4), 0.0, 1.0)
    weight = net.weight.detach().double()
    for norms in [Norms("l1", "l1"), Norms("linf", "linf"), Norms("l2", "l2")]:
        exact = torch.linalg.matrix_norm(weight, {"l1": 1, "linf": math.inf, "l2": 2}[norms.inputs])
        upper_bound = _on_one_box(graph, (lower, upper), norms)
        assert float(exact) * (1 - 1e-14) <= upper_bound <= float(exact) * (1 + 1e-10)


def _box(shape, center, radius):
    middle = torch.full(shape, center, dtype=torch.float64)
    return {"x": middle - radius}, {"x": middle + radius}


def _assert_sound(program, function, corners, frozen=None):
    """Values, Jacobians and pairs, in the box and in every norm; also after some splits."""
    frozen = frozen or {}
    lower, upper = corners
    shapes = {name: tuple(end.shape) for name, end in lower.items()}
    graph = prepare(program, shapes, frozen)
    whole = box(graph, lower, upper)
    found = enclose(graph, whole)
    ends = _flat(lower), _flat(upper)
    of_flat = _flattened(function, program, shapes, frozen)
    generator = torch.Generator().manual_seed(5)
    for x in sampled(ends, 4, generator):
        value, jacobian = of_flat(x), torch.func.jacrev(of_flat)(x)
        _assert_within(value, found.value.lower[0].flatten(), found.value.upper[0].flatten())
        _assert_within(jacobian, found.jacobian.lower[0], found.jacobian.upper[0])
    attained = steepest(of_flat, ends, seed=7)
    for norms in _NORMS:
        of_slopes = operator_norm(found.jacobian, norms.inputs, norms.outputs).item()
        upper = min(of_slopes, _after_cuts(graph, corners, norms))
        assert attained[norms] <= upper * _ROUNDING + 1e-9


def _on_one_box(graph, corners, norms) -> float:
    (only,) = MeanValue().run(Problem(graph, Box(*corners), norms), Board())
    return only.upper


def _after_cuts(graph, corners, norms) -> float:
    """The best bound of a few slices; inf where none is finite, or there is too much to cut."""
    problem = Problem(graph, Box(*corners), norms)
    best = math.inf
    with suppress(NotCertified):
        for found in itertools.islice(Splitting().run(problem, Board()), 3):
            best = found.upper if isinstance(found, Bound) else best
    return best


def _assert_within(numbers, lower, upper):
    slack = 1e-9 * (1 + numbers.abs())
    assert bool((numbers >= lower - slack).all())
    assert bool((numbers <= upper + slack).all())


def _flat(ends):
    return torch.cat([end.flatten() for end in ends.values()])


def _flattened(function, program, shapes, frozen):
    """The program as a function of all varying numbers in a row."""
    fixed = {name: tensor.double() for name, tensor in frozen.items()}

    def of_flat(x):
        sizes = [math.prod(shape) for shape in shapes.values()]
        parts = dict(zip(shapes, x.split(sizes), strict=True))
        given = {name: parts[name].reshape(shape) for name, shape in shapes.items()} | fixed
        output = function(*(given[name] for name in program.graph_signature.user_inputs))
        return (output[0] if isinstance(output, tuple | list) else output).flatten()

    return of_flat
