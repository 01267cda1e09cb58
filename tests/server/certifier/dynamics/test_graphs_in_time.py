"""Steps, integrators and cascades as graphs compute what they compute one after the other."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from certisolve_server.certifier.domain import box
from certisolve_server.certifier.dynamics.assembly import Assembly
from certisolve_server.certifier.dynamics.cascades import Corrected, Pass, cascade, uncorrected
from certisolve_server.certifier.dynamics.integrators import EULER, HEUN, RK4, unrolled
from certisolve_server.certifier.dynamics.rollouts import Step, memory_rollout, rollout
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.execution import Execution
from certisolve_server.certifier.graph.node import Input
from certisolve_server.certifier.interpreter import refuse_unsupported
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.prepare import prepare
from small_networks import Applied, exported, perceptron

FIELD = prepare(exported(perceptron(nn.Tanh(), 2, 8, 2, seed=1), (1, 2)), {"x": (1, 2)})
STATES = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
METHODS = {"euler": EULER, "heun": HEUN, "rk4": RK4}


def by_hand(field, x, dt, method):
    slopes = []
    for stage in ((), *method.stages):
        at = x + sum((dt * float(a) * k for a, k in zip(stage, slopes, strict=True)), 0.0 * x)
        slopes.append(field(at))
    return x + sum(dt * float(b) * k for b, k in zip(method.weights, slopes, strict=True))


def test_a_rollout_is_its_step_again_and_again():
    graph = rollout(Step(FIELD, {"x": FIELD}), 3)
    refuse_unsupported(graph)
    once = Execution(FIELD).function()

    assert torch.allclose(Execution(graph).function()(STATES), once(once(once(STATES))))


def test_inputs_that_no_step_replaces_stay_as_they_are():
    program = exported(Applied(lambda x, y: torch.sin(x) * y), (1, 2), (1, 2))
    step = prepare(program, {"x": (1, 2), "y": (1, 2)})
    graph = rollout(Step(step, {"x": step}), 2)
    x, y = STATES, STATES.flip(0)

    found = Execution(graph).function()(torch.cat([x, y], 1))
    assert torch.allclose(found, torch.sin(torch.sin(x) * y) * y)


def test_a_memory_sees_every_frame_of_a_history_and_then_its_own():
    program = exported(Applied(lambda x, y: (torch.tanh(x) + 0.5 * y, 0.3 * y + x)), (1, 2), (1, 2))
    shapes = {"x": (1, 2), "y": (1, 2)}
    frame, memory = (prepare(program, shapes, output=i) for i in (0, 1))
    step = Step(frame, {"x": frame, "y": memory}, frozenset({"y"}))
    graph = memory_rollout(step, 2, "x", 3)
    history = STATES[:3]

    y = torch.zeros(2, dtype=torch.float64)
    for x in (history[0], history[1], history[2]):
        predicted, y = torch.tanh(x) + 0.5 * y, 0.3 * y + x
    expected = torch.tanh(predicted) + 0.5 * y
    found = Execution(graph).function()(history.reshape(1, -1))[0]
    assert torch.allclose(found, expected)


def test_a_history_longer_or_shorter_by_nothing_is_a_rollout():
    step = Step(FIELD, {"x": FIELD})
    point = STATES[:1]

    ahead = Execution(rollout(step, 2)).function()(point)
    assert torch.allclose(Execution(memory_rollout(step, 2, "x", 1)).function()(point), ahead)


@pytest.mark.parametrize("name", METHODS)
def test_unrolled_steps_are_those_of_the_method(name):
    dt, field = 0.1, Execution(FIELD).function()
    expected = STATES
    for _ in range(3):
        expected = by_hand(field, expected, dt, METHODS[name])

    found = Execution(unrolled(FIELD, dt, 3, METHODS[name])).function()(STATES)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_the_error_of_a_method_falls_with_its_order(name, order):
    def end(steps):
        return Execution(unrolled(FIELD, 1.0 / steps, steps, METHODS[name])).function()(STATES)

    exact = Execution(unrolled(FIELD, 1 / 64, 64, RK4)).function()(STATES)
    errors = [float((end(steps) - exact).abs().amax()) for steps in (4, 8)]
    assert 2 ** (order - 0.5) < errors[0] / errors[1] < 2 ** (order + 0.8)


def test_slopes_of_a_step_follow_from_those_of_its_parts():
    graph = unrolled(FIELD, 0.1, 2, RK4)
    point = STATES[:1]
    jacobian = torch.autograd.functional.jacobian(Execution(graph).function(), point)[0, :, 0]
    found = enclose(graph, box(graph, {"x": point}, {"x": point})).jacobian

    assert float((found.midpoint_radius()[0][0] - jacobian).abs().amax()) < 1e-9


def test_a_correction_of_nothing_is_not_there():
    """The observer equals the state, whatever the gain, so all of the feedback drops out."""
    graph = uncorrected(corrected())

    assert {node.operator for node in graph.nodes} <= {"aten.linear.default", "aten.tanh.default"}


def test_a_cascade_is_jointly_one_graph_of_all_measurements():
    passes = [
        Pass(0, (0.0,), 0.1, 0.1, opens=True),
        Pass(0, (1.0,), 0.1, 0.1, measurement=1),
        Pass(0, (1.0, 0.5), 0.1, 0.1),
        Pass(1, (0.5,), 0.1, 0.1),
    ]
    graph = cascade(corrected(), passes, "x", 2)
    m0, m1 = STATES[:2]

    def slope(x, y, gain):
        return torch.tanh(x @ WEIGHT.T.double()) + gain * (x - y) @ GAIN.T.double()

    x1 = y1 = m0 + 0.1 * slope(m0, m0, 0.0)
    x1, y0 = m0 + 0.1 * slope(m0, m0, 1.0), m0 + 0.1 * slope(m0, m0, 1.0)
    k0, k1 = slope(m1, y0, 1.0), slope(x1, y1, 0.5)
    x1, y1 = m1 + 0.1 * k0, y1 + 0.1 * k1
    expected = x1 + 0.1 * slope(x1, y1, 0.5)
    found = Execution(graph).function()(STATES[:2].reshape(1, -1))[0]
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("steps", [0, -1])
def test_there_is_at_least_one_step(steps):
    with pytest.raises(InvalidRequest):
        rollout(Step(FIELD, {"x": FIELD}), steps)
    with pytest.raises(InvalidRequest):
        unrolled(FIELD, 0.1, steps, EULER)


def test_weights_of_a_method_are_exact():
    assert sum(RK4.weights) == Fraction(1)
    assert [sum(stage) for stage in RK4.stages] == [Fraction(1, 2), Fraction(1, 2), Fraction(1)]


WEIGHT = torch.tensor([[0.5, -1.0], [1.0, 0.25]])
GAIN = torch.tensor([[2.0, 0.0], [0.5, 1.0]])


def corrected():
    class Observed(nn.Module):
        def forward(self, x, y, z):
            return torch.tanh(nn.functional.linear(x, WEIGHT)) + z.unsqueeze(
                1
            ) * nn.functional.linear(x - y, GAIN)

    program = exported(Observed(), (1, 2), (1, 2), (1,))
    graph = prepare(program, {"x": (1, 2), "y": (1, 2), "z": (1,)})
    return Corrected(graph, "x", "y", "z")


def test_names_of_parts_do_not_meet():
    """Graphs put together from graphs that were put together, over and over."""
    graph = FIELD
    for _ in range(5):
        graph = rollout(Step(graph, {"x": graph}), 2)
    names = [node.name for node in graph.nodes] + list(graph.constants)
    once, expected = Execution(FIELD).function(), STATES
    for _ in range(32):
        expected = once(expected)

    assert len(names) == len(set(names))
    assert torch.allclose(Execution(graph).function()(STATES), expected)


def test_an_input_as_it_is_is_copied():
    assembly = Assembly(Input("x", (1, 2)))

    assert torch.equal(Execution(assembly.graph("x")).function()(STATES), STATES)
