"""Every method has the orders it says it has, and answers are as accurate as was asked."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp

from certisolve_server.integrators import (
    DOPRI5,
    PID,
    RODAS3,
    TSIT5,
    all_integrators,
    interpolate,
    is_stiff,
)
from integrals import (
    begin,
    decay,
    finish,
    full,
    logistic,
    logistic_solution,
    lotka_volterra,
    one_step,
    robertson,
    van_der_pol,
)

Y0 = torch.tensor([[0.1], [0.3], [1.7]], dtype=torch.float64)
adaptive = [method for method in all_integrators if method.adaptive]
every = pytest.mark.parametrize("method", all_integrators, ids=lambda method: method.name)
every_adaptive = pytest.mark.parametrize("method", adaptive, ids=lambda method: method.name)


def slope(errors):
    """Order by the last of a sequence of halvings."""
    return math.log2(errors[-2] / errors[-1])


# Fifth-order methods have least errors by design, so that the next order long hides the leading
# one; these two problems show it at steps whose errors are far from rounding.
PROBLEMS = {
    "linear, with time": (
        lambda t, y: y * torch.cos(t)[:, None],
        0.8,
        lambda y: y * math.exp(math.sin(0.8)),
    ),
    "nonlinear": (
        lambda t, y: y * (1 - y),
        1.5,
        lambda y: 1 / (1 + (1 / y - 1) * math.exp(-1.5)),
    ),
}


@every
@pytest.mark.parametrize("problem", PROBLEMS)
def test_measured_order_is_that_of_the_method(method, problem):
    field, t_end, solution = PROBLEMS[problem]
    errors = []
    for number in (10, 20, 40):
        y, dt = Y0[:2], t_end / number
        for step in range(number):
            y = one_step(method, field, y, dt, step * dt).y
        errors.append((y - solution(Y0[:2])).abs().max().item())
    assert abs(slope(errors) - method.order) < 0.3


@every_adaptive
def test_measured_error_estimates_have_the_order_of_the_embedded_method(method):
    # Many states, as the leading term vanishes at some.
    t = torch.linspace(0, 2, 60, dtype=torch.float64)
    y = logistic_solution(t, Y0[1, 0])[:, None]
    errors = []
    for dt in (0.1, 0.05, 0.025):
        trial = method.attempt(logistic, t, y, logistic(t, y), full(60, dt))
        errors.append(trial.error.abs().max().item())
    assert abs(slope(errors) - (method.embedded_order + 1)) < 0.3


@every
def test_measured_order_between_steps_is_that_of_the_interpolant(method):
    errors = []
    for dt in (0.1, 0.05, 0.025):
        t = full(3, 0.7)
        state = one_step(method, logistic, logistic_solution(t[:, None], Y0), dt, 0.7)
        points = t[:, None] + dt * torch.tensor([[0.3, 0.6]], dtype=torch.float64)
        exact = logistic_solution(points[:, :, None], Y0[:, None])
        errors.append((interpolate(state, points) - exact).abs().max().item())
    assert abs(slope(errors) - (method.dense_order + 1)) < 0.4


@every
def test_interpolants_meet_the_ends_of_the_step(method):
    state = one_step(method, logistic, Y0, 0.5)
    ends = interpolate(state, torch.stack((state.t_before, state.t), dim=1))
    torch.testing.assert_close(ends[:, 0], state.y_before, rtol=1e-15, atol=1e-15)
    torch.testing.assert_close(ends[:, 1], state.y, rtol=1e-15, atol=1e-15)


@every
def test_every_evaluation_is_counted_for_every_sample(method):
    calls = 0

    def counting(t, y):
        nonlocal calls
        calls += 1
        return lotka_volterra(t, y)

    y = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    state = finish(method, counting, begin(method, counting, y, 1, dt=0.05, rtol=1e-4, atol=1e-6))
    tries = int(state.accepted + state.rejected)
    # A Jacobian calls the field once, for all directions.
    assert calls == int(state.nfe + state.jacobians)
    assert int(state.nfe) == 1 + method.adaptive + method.evaluations * tries
    assert int(state.jacobians) == method.jacobians * tries


@every_adaptive
@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
@pytest.mark.parametrize(
    "field", [lotka_volterra, van_der_pol(2.0)], ids=["lotka-volterra", "van-der-pol"]
)
def test_tolerances_are_met(method, rtol, field):
    y = torch.tensor([[1.0, 1.0], [2.0, 0.5], [3.0, 1.5]], dtype=torch.float64)
    state = finish(method, field, begin(method, field, y, 5, rtol=rtol, atol=rtol / 10))
    exact = torch.stack([reference(field, row, 5) for row in y])
    # Tolerances bound the error of a step; over 5 units of time these systems enlarge it.
    assert ((state.y - exact).abs() < 60 * rtol * (0.1 + exact.abs())).all()


def reference(field, y, t_end, method="DOP853"):
    def row(t, x):
        values = torch.tensor(x, dtype=torch.float64)[None]
        return field(full(1, t), values)[0].numpy()

    found = solve_ivp(row, (0, t_end), y.numpy(), method=method, rtol=1e-10, atol=1e-13)
    return torch.from_numpy(found.y[:, -1])


@every_adaptive
def test_each_sample_takes_the_steps_it_needs(method):
    rates = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    y = torch.stack((rates, torch.ones(3, dtype=torch.float64)), dim=1)
    state = finish(method, decay, begin(method, decay, y, 1, rtol=1e-5, atol=1e-8))
    assert ((state.y[:, 1] - torch.exp(-rates)).abs() < 1e-4).all()
    steps = (state.accepted + state.rejected).tolist()
    assert steps[0] < steps[1] < steps[2]


@every_adaptive
def test_each_sample_has_tolerances_of_its_own(method):
    y = torch.tensor([[1.0, 1.0]] * 3, dtype=torch.float64)
    rtol = torch.tensor([1e-2, 1e-4, 1e-6], dtype=torch.float64)
    begun = begin(method, lotka_volterra, y, 3, rtol=rtol, atol=rtol / 100)
    state = finish(method, lotka_volterra, begun)
    errors = (state.y - reference(lotka_volterra, y[0], 3)).abs().amax(dim=1)
    assert errors[0] > errors[1] > errors[2]
    assert state.accepted[0] < state.accepted[1] < state.accepted[2]


@every_adaptive
def test_values_in_between_are_as_accurate_as_the_ends(method):
    y = torch.tensor([[0.2], [0.4]], dtype=torch.float64)
    state = begin(method, logistic, y, 6, rtol=1e-6, atol=1e-8)
    while bool(state.running.any()):
        state = method.step(logistic, state)
        t = ((state.t_before + state.t) / 2)[:, None]
        error = interpolate(state, t)[:, 0] - logistic_solution(t, y)
        assert error.abs().max() < 2e-5


def test_states_of_single_precision_stay_so():
    for method in all_integrators:
        y = torch.tensor([[0.2], [0.4]], dtype=torch.float32)
        state = finish(method, logistic, begin(method, logistic, y, 2, dt=0.005, rtol=1e-4))
        assert state.y.dtype == state.bubble.dtype == torch.float32
        exact = logistic_solution(full(2, 2)[:, None], y.double())
        assert (state.y - exact).abs().max() < 5e-3  # Euler with these steps


def test_stiff_problems_take_few_steps_of_the_implicit_method():
    field = van_der_pol(1000.0)
    y = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    state = finish(RODAS3, field, begin(RODAS3, field, y, 1000, rtol=1e-5, atol=1e-8))
    # The fast jump lies between 807 and 808, and the solution is smooth again at 1000.
    exact = reference(field, y[0], 1000, "Radau")
    assert (state.y[0] - exact).abs().max() < 1e-3
    assert state.accepted + state.rejected < 1000  # stability allows dopri5 no less than 10^5


def test_kinetics_over_eleven_decades():
    y = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    state = finish(RODAS3, robertson, begin(RODAS3, robertson, y, 1e11, rtol=1e-4, atol=1e-12))
    # Hairer and Wanner, Solving ODEs II, the test problem ROBER at t = 10^11.
    exact = torch.tensor([[2.0833401497e-08, 8.3333607703e-14, 0.9999999791665050]])
    assert ((state.y - exact).abs() < 1e-3 * exact).all()
    assert state.accepted + state.rejected < 400


def test_values_in_between_hold_for_stiff_problems():
    field = van_der_pol(1000.0)
    y = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    state = begin(RODAS3, field, y, 100, rtol=1e-5, atol=1e-8)
    while bool(state.running.any()):
        state = RODAS3.step(field, state)
        x, v = interpolate(state, ((state.t_before + state.t) / 2)[:, None])[0, 0]
        # The slow manifold v = x / (mu (1 - x^2)), to which v goes from 0.
        assert 1.01 * x / (1000 * (1 - x * x)) < v <= 1e-12
        assert 1.9 < x <= 2


@pytest.mark.parametrize("method", [DOPRI5, TSIT5], ids=lambda method: method.name)
def test_stiffness_is_told_where_stability_sets_the_steps(method):
    stiff, smooth = van_der_pol(1000.0), lotka_volterra
    y = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    state = begin(method, stiff, y, 100, rtol=1e-4, atol=1e-7)
    for _ in range(200):
        state = method.step(stiff, state)
    assert bool(is_stiff(state))
    goes_on = RODAS3.step(stiff, state)
    assert goes_on.t > state.t
    state = begin(method, smooth, y + 1, 20, rtol=1e-4, atol=1e-7)
    while bool(state.running.any()):
        state = method.step(smooth, state)
        assert not bool(is_stiff(state))


@pytest.mark.parametrize("coefficients", [(1.0, 0.0, 0.0), (1 / 18, 1 / 9, 1 / 18)])
def test_controllers_are_interchangeable(coefficients):
    method = DOPRI5.__class__(**{**vars(DOPRI5), "controller": PID(coefficients)})
    y = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    state = finish(method, lotka_volterra, begin(method, lotka_volterra, y, 5, rtol=1e-6))
    assert (state.y[0] - reference(lotka_volterra, y[0], 5)).abs().max() < 1e-4
