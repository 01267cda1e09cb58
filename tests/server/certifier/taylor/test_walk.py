"""Second-order enclosures hold every sampled slope, second derivative and norm."""

import math

import pytest
import torch
from torch import nn

from certisolve_server.certifier.arithmetic import Interval, OutsideDomain
from certisolve_server.certifier.methods.sighting import steepest
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.taylor import enclose, record
from certisolve_server.certifier.taylor.ball import Ball, between, ends, product, total
from certisolve_server.certifier.taylor.bounds import bound
from small_networks import ORDERS, Applied, bundled, exported, in_float64, perceptron

SMOOTH = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "softplus": nn.Softplus(beta=2.0),
    "sin": Applied(torch.sin),
    "cos": Applied(torch.cos),
    "exp": Applied(lambda h: torch.exp(-(h * h))),
    "products": Applied(lambda h: h * torch.sin(h) * h[:, :1] + 0.5),
    "quotient": Applied(lambda h: h / (2.0 + h * h)),
    "roots": Applied(lambda h: torch.sqrt(1.0 + h * h) + torch.log(2.0 + torch.sin(h))),
    "erf": Applied(lambda h: torch.erf(h) - (1.0 + h**2).reciprocal() + torch.rsqrt(2.0 + h * h)),
    "elu": nn.ELU(),
    "powers": Applied(lambda h: h**3 - 0.5 * h.square() + torch.expm1(0.1 * h)),
}
KINKED = {"relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.2), "abs": Applied(torch.abs)}
KINKED["larger"] = Applied(lambda h: torch.maximum(h, 0.3 * h.flip(1)) - torch.minimum(h, 0.5 * h))
NORMS = [Norms(p, q) for p in ORDERS for q in ORDERS]


def boxes(radius, count, seed=0, inputs=3):
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(inputs, count, generator=generator, dtype=torch.float64) * 2 - 1
    widths = torch.rand(inputs, count, generator=generator, dtype=torch.float64)
    return center, radius * widths


def function_of(program):
    whole = in_float64(program)

    def of_point(x):
        output = whole(x.unsqueeze(0))
        return (output[0] if isinstance(output, tuple | list) else output).flatten()

    return of_point


@pytest.mark.parametrize("name", SMOOTH | KINKED)
def test_slopes_and_second_derivatives_lie_inside(name):
    activation = (SMOOTH | KINKED)[name]
    program = exported(perceptron(activation, 3, 5, 4, 2, seed=7), (1, 3))
    tape = record(prepare(program, {"x": (1, 3)}))
    of_point = function_of(program)
    slopes = torch.func.vmap(torch.func.jacrev(of_point))
    bends = torch.func.vmap(torch.func.jacfwd(torch.func.jacrev(of_point)))
    generator = torch.Generator().manual_seed(1)
    for radius in (0.0, 1e-6, 0.05, 0.6):
        center, widths = boxes(radius, 40)
        found = enclose(tape, center, widths)
        assert not bool(found.broken.any())
        if name in SMOOTH:
            assert bool(found.smooth.all())
        norms = {each: bound(found, widths, each) for each in NORMS}
        for _ in range(3):
            part = torch.rand(3, 40, generator=generator, dtype=torch.float64) * 2 - 1
            points = (center + part * widths).mT
            jacobian, curvature = slopes(points).movedim(0, -1), bends(points).movedim(0, -1)
            _assert_inside(found, jacobian, curvature)
            for each, lengths in norms.items():
                _assert_bounds(each, lengths, jacobian, curvature)


def _assert_inside(found, jacobian, curvature):
    slack = 1e-10 * (1 + jacobian.abs())
    assert bool((found.jacobian[0] <= jacobian + slack).all())
    assert bool((jacobian - slack <= found.jacobian[1]).all())
    away = (curvature - found.curvature.center).abs()
    inside = away <= found.curvature.radius + 1e-9 * (1 + curvature.abs())
    assert bool((inside | ~found.smooth).all())


def _assert_bounds(norms, lengths, jacobian, curvature):
    """The norm at points, and the sign of its gradient where a trend is proven."""
    matrices = jacobian.movedim(-1, 0)
    p, q = norms.inputs, norms.outputs
    if q == "linf" or p == "l1":
        rows = matrices if q == "linf" else matrices.mT
        order = {"l1": math.inf, "l2": 2.0, "linf": 1.0}[p] if q == "linf" else ORDERS[q]
        attained = torch.linalg.vector_norm(rows, order, 2).amax(1)
    else:
        x = torch.randn(matrices.shape[0], matrices.shape[2], 1, dtype=torch.float64)
        y = (matrices @ x)[..., 0].norm(ORDERS[q], 1)
        attained = y / x[..., 0].norm(ORDERS[p], 1)
    assert bool((attained <= lengths.upper.amax(0) * (1 + 1e-9) + 1e-12).all())
    if (p, q) == ("linf", "linf"):
        gradients = (jacobian.sign().unsqueeze(2) * curvature).sum(1)
        assert bool(((lengths.trends == 0) | (lengths.trends * gradients >= -1e-9)).all())
    if (p, q) == ("l2", "linf"):
        gradients = (jacobian.unsqueeze(2) * curvature).sum(1)
        assert bool(((lengths.trends == 0) | (lengths.trends * gradients >= -1e-9)).all())


def test_weights_scale_what_is_bounded():
    program = exported(perceptron(nn.Tanh(), 3, 5, 2, seed=1), (1, 3))
    tape = record(prepare(program, {"x": (1, 3)}))
    center, widths = boxes(0.1, 30)
    found = enclose(tape, center, widths)
    inner = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64)
    outer = torch.tensor([0.1, 7.0], dtype=torch.float64)
    jacobians = torch.func.vmap(torch.func.jacrev(function_of(program)))(center.mT)
    scaled = outer[:, None] * jacobians / inner
    for q in ORDERS:
        norms = Norms("l1", q, Interval.exact(inner), Interval.exact(outer))
        exact = torch.linalg.vector_norm(scaled, ORDERS[q], 1).amax(1)
        upper = bound(found, widths, norms).upper.amax(0)
        assert bool((exact <= upper * (1 + 1e-12)).all())
        assert bool((upper <= 1.5 * exact + 0.1).all())


def test_the_excess_falls_with_the_square_of_the_width():
    program = exported(perceptron(nn.Tanh(), 3, 6, 2, seed=3), (1, 3))
    tape = record(prepare(program, {"x": (1, 3)}))
    center, widths = boxes(0.02, 200)
    of_point = function_of(program)
    jacobian = torch.func.vmap(torch.func.jacrev(of_point))
    excess = []
    for share in (1.0, 0.5):
        found = enclose(tape, center, share * widths)
        corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
        points = [jacobian((center + share * c[:, None] * widths).mT) for c in corners]
        seen = torch.stack(points).abs().sum(3).amax(0).mT
        upper = bound(found, share * widths, Norms("linf", "linf")).upper
        excess.append((upper - seen).clamp(min=0).mean().item())
    assert excess[1] <= 0.35 * excess[0]


@pytest.mark.parametrize("name", ["relu", "leaky", "abs"])
def test_boxes_on_a_kink_are_not_smooth(name):
    program = exported(Applied(lambda x: KINKED[name](x)), (1, 1))
    tape = record(prepare(program, {"x": (1, 1)}))
    center = torch.tensor([[-1.0, -0.5, 0.0, 0.5, 1.0]], dtype=torch.float64)
    found = enclose(tape, center, torch.full((1, 5), 0.5, dtype=torch.float64))
    assert found.smooth.tolist() == [True, False, False, False, True]
    lengths = bound(found, torch.full((1, 5), 0.5, dtype=torch.float64), Norms("l2", "l2"))
    assert bool((lengths.trends[:, :, ~found.smooth] == 0).all())


def test_boxes_that_leave_a_domain_are_given_up_alone():
    program = exported(Applied(lambda x: torch.log(x) + 1.0 / (x - 5.0)), (1, 1))
    tape = record(prepare(program, {"x": (1, 1)}))
    center = torch.tensor([[0.1, 2.0, 5.1, 9.0]], dtype=torch.float64)
    radius = torch.full((1, 4), 0.5, dtype=torch.float64)
    found = enclose(tape, center, radius)
    upper = bound(found, radius, Norms("l2", "l2")).upper[0]
    assert found.broken.tolist() == [True, False, True, False]
    assert upper.isinf().tolist() == [True, False, True, False]
    with pytest.raises(OutsideDomain):
        enclose(tape, -center, radius)


def test_numbers_that_are_too_large_are_given_up():
    program = exported(Applied(lambda x: torch.exp(torch.exp(x)) * 1.0), (1, 1))
    tape = record(prepare(program, {"x": (1, 1)}))
    center = torch.tensor([[1.0, 6.0, 800.0]], dtype=torch.float64)
    radius = torch.full((1, 3), 0.1, dtype=torch.float64)
    upper = bound(enclose(tape, center, radius), radius, Norms("l2", "l2")).upper[0]
    assert upper.isinf().tolist() == [False, True, True]


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: torch.sort(x, 1)[0],
        lambda x: x.view(1, 2, 2) @ x.view(1, 2, 2),
        lambda x: torch.sin(x.repeat(1, 400)),
    ],
)
def test_what_does_not_fit_has_no_tape(operation):
    program = exported(Applied(operation), (1, 4))
    assert record(prepare(program, {"x": (1, 4)})) is None


def test_many_inputs_have_no_tape():
    program = exported(nn.Linear(40, 1), (1, 40))
    assert record(prepare(program, {"x": (1, 40)})) is None


def test_bundled_networks_of_splines_have_tapes():
    graph = prepare(bundled("kan-formula"), {"variables_0": (1, 1), "variables_1": (1, 1)})
    tape = record(graph)
    assert tape is not None
    found = enclose(tape, *boxes(0.05, 50, inputs=2))
    assert bool(found.smooth.all())


def test_balls_hold_sums_and_products_of_their_members():
    generator = torch.Generator().manual_seed(0)
    scale = 10.0 ** torch.randint(-200, 12, (4, 20000), generator=generator)
    a, b, r, s = torch.randn(4, 20000, generator=generator, dtype=torch.float64) * scale
    x, y = Ball(a, r.abs()), Ball(b, s.abs())
    for sign in (-1.0, 1.0):
        p, q = x.center + sign * x.radius * 0.999, y.center - y.radius * 0.999
        for found, value in ((product(x, y), p * q), (total(x, y), p + q)):
            low, high = ends(found)
            assert bool(((low <= value) & (value <= high)).all())
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    around = ends(between(low, high))
    assert bool(((around[0] <= low) & (high <= around[1])).all())


def test_witnesses_come_from_the_steepest_directions():
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    for norms in NORMS:
        direction, size = steepest(matrix, norms)
        image = (matrix @ direction).norm(ORDERS[norms.outputs])
        assert size == pytest.approx(float(image / direction.norm(ORDERS[norms.inputs])))
        if norms.outputs == "linf" or norms.inputs == "l1" or norms.inputs == norms.outputs == "l2":
            assert size == pytest.approx(float(norms.bound(Interval.exact(matrix))), rel=1e-9)
