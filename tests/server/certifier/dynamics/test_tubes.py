"""Tubes hold what other integrators find, and bounds of flows what can be said of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch import nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.dynamics.courses import course
from certisolve_server.certifier.dynamics.fields import Field
from certisolve_server.certifier.dynamics.lognorm import logarithmic_norm
from certisolve_server.certifier.dynamics.transitions import transitions
from certisolve_server.certifier.dynamics.tubes import tube
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.methods.tube import Tubes
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from small_networks import ORDERS, Applied, exported, perceptron

NORMS = ("l1", "l2", "linf")
TURNING = torch.tensor([[-0.1, -2.0], [2.0, -0.1]])
W = torch.tensor([[0.5, -1.0], [1.0, 0.25]])


def linear(matrix):
    weight = torch.tensor(matrix, dtype=torch.float32)
    return prepare(
        exported(Applied(lambda x: nn.functional.linear(x, weight)), (1, len(matrix))),
        {"x": (1, len(matrix))},
    )


def graph_of(function, size=2):
    return prepare(exported(Applied(function), (1, size)), {"x": (1, size)})


def van_der_pol(x):
    a, b = x[:, 0], x[:, 1]
    return torch.stack([a - a**3 / 3 - b, a], 1)


def spiral(x):
    return nn.functional.linear(torch.tanh(x), TURNING) + 0.1 * torch.relu(x)


FIELDS = {
    "van der pol": graph_of(van_der_pol),
    "spiral": graph_of(spiral),
    "perceptron": prepare(exported(perceptron(nn.Tanh(), 2, 12, 2, seed=3), (1, 2)), {"x": (1, 2)}),
    "rectifiers": prepare(exported(perceptron(nn.ReLU(), 2, 12, 2, seed=4), (1, 2)), {"x": (1, 2)}),
}


def finished(work):
    while True:
        try:
            next(work)
        except StopIteration as over:
            return over.value


def tubes_of(graph, center, radius, duration, steps):
    sides = torch.tensor([center], dtype=torch.float64)
    return finished(tube(Field(graph), Interval(sides - radius, sides + radius), duration, steps))


def integrated(graph, start, duration):
    """By a method of order 8 at tolerances far below what is compared."""
    field = Field(graph)

    def slope(_t, x):
        return field(torch.tensor(x).unsqueeze(0))[0].numpy()

    found = solve_ivp(slope, (0, duration), start, method="DOP853", rtol=1e-10, atol=1e-10)
    return found.y[:, -1]


def bounds(problem, count=3, slices=500):
    """The first few bounds of the method, as far as it finds them in so many slices."""
    found = []
    for each in itertools.islice(Tubes().run(problem, Board()), slices):
        if each is not None:
            found.append(each)
        if len(found) == count:
            break
    return found


def flow_problem(graph, duration, region=None, norms=("l2", "l2")):
    return Problem(Flow(graph, duration), region or Everything(), Norms(*norms))


def ball(center, radius, norm="l2"):
    return Ball({"x": torch.tensor([center], dtype=torch.float64)}, radius, norm)


@pytest.mark.parametrize("name", FIELDS)
def test_a_tube_ends_where_trajectories_end(name):
    center, radius, duration = [0.7, -0.4], 0.05, 1.0
    found = tubes_of(FIELDS[name], center, radius, duration, 256)
    assert bool(found.proven.all())

    for corner in itertools.product((-1.0, 0.0, 0.3, 1.0), repeat=2):
        start = np.array(center) + radius * np.array(corner)
        end = torch.tensor(integrated(FIELDS[name], start, duration))
        inside = found.ends.rearranged(lambda ends: ends[0])
        # Narrower than what the other integration may be off.
        assert bool((end >= inside.lower - 1e-8).all() & (end <= inside.upper + 1e-8).all())


@pytest.mark.parametrize("name", FIELDS)
def test_matrices_of_a_tube_hold_how_differences_are_mapped(name):
    center, radius, duration = [0.7, -0.4], 0.05, 1.0
    found = tubes_of(FIELDS[name], center, radius, duration, 256)
    lower, upper = found.matrices.lower[0].numpy(), found.matrices.upper[0].numpy()
    generator = np.random.default_rng(0)

    for _ in range(20):
        x, y = np.array(center) + radius * generator.uniform(-1, 1, (2, 2))
        change = integrated(FIELDS[name], x, duration) - integrated(FIELDS[name], y, duration)
        # Each row of some matrix within the bounds times x - y.
        ends = np.stack([lower * (x - y), upper * (x - y)])
        assert (ends.min(0).sum(1) <= change + 1e-8).all()
        assert (ends.max(0).sum(1) >= change - 1e-8).all()


def test_the_slopes_of_a_course_converge_to_the_derivative_of_the_flow():
    graph, center = FIELDS["van der pol"], [0.7, -0.4]
    errors = []
    for steps in (64, 256):
        found = tubes_of(graph, center, 0.0, 1.0, steps)
        errors.append(float(found.matrices.midpoint_radius()[1].amax()))
    eps = 1e-6
    derivative = np.stack(
        [
            (integrated(graph, center + eps * e, 1.0) - integrated(graph, center - eps * e, 1.0))
            / (2 * eps)
            for e in np.eye(2)
        ],
        1,
    )

    assert errors[1] < errors[0] / 4
    assert np.allclose(found.matrices.midpoint_radius()[0][0], derivative, atol=1e-4)


@pytest.mark.parametrize("matrix", [[[0, 1], [-1, 0]], [[-1, 3], [0, -2]], [[1, 0.5], [0.25, -1]]])
@pytest.mark.parametrize("norm", NORMS)
def test_linear_flows_have_the_norm_of_their_exponential(matrix, norm):
    graph, duration = linear(matrix), 2.0
    exact = float(np.linalg.norm(expm(np.array(matrix) * duration), ORDERS[norm]))
    problem = flow_problem(graph, duration, ball([1.0, 0.5], 0.1), (norm, norm))
    best = bounds(problem, 2)[-1].upper

    assert exact <= best <= exact * (1 + 1e-6)


def test_a_trajectory_that_leaves_all_bounds_has_no_tube():
    graph = graph_of(lambda x: x * x, 1)
    with pytest.raises(NotCertified):
        list(Tubes().run(flow_problem(graph, 3.0), Board()))

    assert not bool(tubes_of(graph, [1.0], 0.1, 0.95, 256).proven.any())


@pytest.mark.parametrize("name", FIELDS)
def test_no_two_trajectories_part_faster_than_a_bound_says(name):
    region, duration = ball([0.7, -0.4], 0.3), 1.0
    best = bounds(flow_problem(FIELDS[name], duration, region))[-1].upper
    generator = np.random.default_rng(1)
    largest = 0.0
    for _ in range(10):
        angles, sizes = generator.uniform(0, 2 * math.pi, 2), 0.3 * generator.uniform(0, 1, 2)
        x, y = (
            np.array([0.7, -0.4]) + s * np.array([math.cos(a), math.sin(a)])
            for a, s in zip(angles, sizes, strict=True)
        )
        change = integrated(FIELDS[name], x, duration) - integrated(FIELDS[name], y, duration)
        largest = max(largest, float(np.linalg.norm(change) / np.linalg.norm(x - y)))

    assert largest <= best
    assert best <= 3.0 * largest


@pytest.mark.parametrize("norm", NORMS)
def test_a_flow_of_no_duration_changes_nothing(norm):
    [found] = bounds(flow_problem(FIELDS["spiral"], 0.0, norms=(norm, norm)))

    assert 1.0 <= found.upper <= 1.0 + 1e-8


def test_two_flows_one_after_the_other_are_the_product_at_most():
    graph, region = FIELDS["perceptron"], ball([0.2, 0.1], 1e-3)
    whole = bounds(flow_problem(graph, 1.0, region), 2)[-1].upper
    middle = tubes_of(graph, [0.2, 0.1], 1e-3, 0.5, 256).ends
    later = Box({"x": middle.lower}, {"x": middle.upper})
    halves = [bounds(flow_problem(graph, 0.5, each), 2)[-1].upper for each in (region, later)]

    assert whole <= halves[0] * halves[1] * 1.05


def test_a_contraction_contracts_everywhere_and_for_ever():
    """dx/dt = -3 x + tanh(W x): at a rate of 3 - |W| between any two points."""
    graph = graph_of(lambda x: torch.tanh(nn.functional.linear(x, W)) - 3.0 * x)
    norm = float(np.linalg.norm(W.numpy(), 2))
    for duration in (1.0, 10.0):
        found = bounds(flow_problem(graph, duration), 1)[-1].upper
        assert found <= math.exp(-(3.0 - norm) * duration) * (1 + 1e-6)
        recheck = Tubes().recheck(
            flow_problem(graph, duration), bounds(flow_problem(graph, duration), 1)[-1].evidence
        )
        assert recheck <= found


def test_weights_are_found_in_which_little_grows():
    """Of [[-1, 9], [0, -1]] no norm as it is decays, but one with weights does."""
    graph = linear([[-1.0, 9.0], [0.0, -1.0]])
    found = bounds(flow_problem(graph, 20.0), 1)[-1]

    assert found.upper < 0.5
    assert found.upper >= float(np.linalg.norm(expm(20.0 * np.array([[-1.0, 9.0], [0, -1]])), 2))


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_scales_of_inputs_and_outputs_count(scale):
    weights = Interval.exact(torch.full((2,), scale, dtype=torch.float64))
    graph, region = FIELDS["spiral"], ball([0.7, -0.4], 0.1)
    plain = bounds(flow_problem(graph, 0.5, region), 2)[-1].upper
    norms = Norms("l2", "l2", None, weights)
    scaled = bounds(Problem(Flow(graph, 0.5), region, norms), 2)[-1].upper

    assert scaled == pytest.approx(scale * plain, rel=1e-6)


def test_cuts_make_bounds_smaller_and_are_proven_again():
    problem = flow_problem(FIELDS["van der pol"], 1.0, ball([0.7, -0.4], 0.3))
    found = bounds(problem, 4)
    uppers = [each.upper for each in found]

    assert uppers == sorted(uppers, reverse=True)
    assert uppers[-1] < uppers[0]
    for each in found:
        assert Tubes().recheck(problem, each.evidence) <= each.upper


def tampered(evidence):
    yield {**evidence, "kind": "still"}
    yield {**evidence, "kind": "of another kind"}
    yield {**evidence, "parts": [0, 32]}
    yield {**evidence, "parts": [7, 32, 32]}
    yield {**evidence, "parts": 0}
    yield {**evidence, "parts": 1 << 20}
    yield {**evidence, "parts": math.nan}
    yield {**evidence, "weights": {}}
    yield {**evidence, "weights": {"l2": [1.0, -1.0]}}
    yield {**evidence, "weights": {"l2": [1.0, math.nan]}}
    yield {**evidence, "weights": {"l2": [1.0]}}


def test_evidence_that_was_tampered_with_proves_nothing():
    problem = flow_problem(FIELDS["spiral"], 0.5, ball([0.7, -0.4], 0.1))
    evidence = bounds(problem, 2)[-1].evidence
    assert evidence["kind"] == "tubes"

    for changed in tampered(evidence):
        with pytest.raises((NotCertified, ValueError)):
            Tubes().recheck(problem, changed)


def test_maps_are_not_flows():
    with pytest.raises(NotCertified, match="flows"):
        next(iter(Tubes().run(Problem(FIELDS["spiral"], Everything(), Norms("l2", "l2")), Board())))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_transitions_hold_exponentials_and_products_of_them(size):
    generator = torch.Generator().manual_seed(size)
    center = torch.randn(size, size, generator=generator, dtype=torch.float64)
    radius = 0.1 * torch.rand(size, size, generator=generator, dtype=torch.float64)
    dt = 0.05
    found = transitions(Interval.ball(center, radius), dt)

    for _ in range(20):
        product = np.eye(size)
        for _ in range(4):
            share = 2.0 * torch.rand(size, size, generator=generator, dtype=torch.float64) - 1.0
            product = expm((center + share * radius).numpy() * dt / 4) @ product
        off = np.abs(product - found.center.numpy())
        assert (off <= found.radius.numpy()).all()
        assert (np.abs(product - np.eye(size)) <= found.excess.numpy()).all()


def test_steps_that_are_too_long_have_no_bound():
    found = transitions(Interval.exact(100.0 * torch.eye(2, dtype=torch.float64)), 0.1)

    assert bool(found.radius.isinf().all())
    assert bool(found.excess.isinf().all())


@pytest.mark.parametrize("norm", NORMS)
def test_logarithmic_norms_are_the_slopes_of_norms_of_steps(norm):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(50, 3, 3, generator=generator, dtype=torch.float64)
    found = logarithmic_norm(Interval.exact(matrices), norm)
    h = 1e-6
    steps = np.eye(3) + h * matrices.numpy()
    measured = [(np.linalg.norm(step, ORDERS[norm]) - 1.0) / h for step in steps]

    assert np.allclose(found, measured, atol=1e-4)


def test_logarithmic_norms_of_intervals_are_not_exceeded_by_any_member():
    generator = torch.Generator().manual_seed(1)
    center = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    radius = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    found = {norm: logarithmic_norm(Interval.ball(center, radius), norm) for norm in NORMS}

    for _ in range(200):
        share = 2.0 * torch.rand(3, 3, generator=generator, dtype=torch.float64) - 1.0
        member = Interval.exact(center + share * radius)
        for norm in NORMS:
            assert float(logarithmic_norm(member, norm)) <= float(found[norm]) + 1e-12


def test_logarithmic_norms_of_what_has_no_bound_are_infinite():
    for norm in NORMS:
        assert float(logarithmic_norm(Interval.entire((2, 2)), norm)) == math.inf


@pytest.mark.parametrize("steps", [0, 4, 24])
def test_steps_are_powers_of_two(steps):
    with pytest.raises(ValueError, match="power of 2"):
        course(Field(FIELDS["spiral"]), torch.zeros(1, 2, dtype=torch.float64), 1.0, steps)


def test_a_field_returns_what_it_takes():
    with pytest.raises(InvalidRequest):
        Field(prepare(exported(nn.Linear(2, 3), (1, 2)), {"x": (1, 2)}))


@pytest.mark.parametrize("duration", [5e-324, 1e-310, 1e-12, 1e9, 1e308])
def test_no_duration_is_too_short_or_too_long_to_be_right_about(duration):
    problem = flow_problem(FIELDS["perceptron"], duration, ball([0.1, 0.2], 0.01))
    try:
        found = bounds(problem, 1, 20)
    except NotCertified:
        return
    for each in found:
        assert 0.99 <= each.upper < math.inf
        assert Tubes().recheck(problem, each.evidence) <= each.upper


@pytest.mark.parametrize("radius", [0.0, 1e-300, 1e-12])
def test_small_balls_have_the_derivative_as_bound(radius):
    problem = flow_problem(FIELDS["van der pol"], 1.0, ball([0.7, -0.4], radius))
    point, small = (
        bounds(flow_problem(FIELDS["van der pol"], 1.0, ball([0.7, -0.4], size)), 1)[0].upper
        for size in (radius, 1e-6)
    )
    assert point <= small * (1 + 1e-6)
    assert Tubes().recheck(problem, bounds(problem, 1)[0].evidence) <= point
