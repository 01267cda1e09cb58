"""What happens to a sample does not depend on the others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server import integrators
from certisolve_server.integrators import (
    DOPRI5,
    RODAS3,
    TSIT5,
    Status,
    all_integrators,
)
from certisolve_server.integrators.lu import factorize, solve
from certisolve_server.integrators.rowwise import norm, power
from integrals import (
    begin,
    blowup,
    decay,
    finish,
    full,
    logistic,
    lotka_volterra,
    note,
    robertson,
    rows_equal,
    trace,
    van_der_pol,
)

every = pytest.mark.parametrize("method", all_integrators, ids=lambda method: method.name)
adaptive = [method for method in all_integrators if method.adaptive]

requests = st.tuples(
    st.floats(0.3, 3.0),
    st.floats(0.3, 3.0),
    st.floats(0.05, 1.5),
    st.sampled_from([1e-2, 1e-3, 1e-5]),
)
mixes = st.lists(requests, min_size=2, max_size=6)


def of_mix(method, field, mix, dtype):
    """Samples with initial states, horizons and tolerances of their own."""
    x, v, t_end, rtol = torch.tensor(mix, dtype=torch.float64).T
    y = torch.stack((x, v), dim=1).to(dtype)
    return begin(method, field, y, t_end, dt=0.04, rtol=rtol, atol=rtol / 10)


@every
@settings(max_examples=8, deadline=None)
@given(
    mix=mixes,
    dtype=st.sampled_from([torch.float32, torch.float64]),
    field=st.sampled_from([lotka_volterra, van_der_pol(5.0), logistic]),
)
def test_alone_and_in_a_batch_the_steps_are_the_same_to_the_bit(method, mix, dtype, field):
    state, steps = trace(method, field, of_mix(method, field, mix, dtype))
    for row, request in enumerate(mix):
        alone, own = trace(method, field, of_mix(method, field, [request], dtype))
        assert own[0] == steps[row]
        assert rows_equal(alone, state.take(torch.tensor([row])))


@every
@settings(max_examples=6, deadline=None)
@given(first=mixes, second=mixes, after=st.integers(0, 12), seed=st.integers(0, 99))
def test_joining_and_leaving_change_nothing_for_the_others(method, first, second, after, seed):
    field = van_der_pol(5.0)
    state = of_mix(method, field, first, torch.float64)
    steps = [[] for _ in first]
    for _ in range(after):
        before, state = state, method.step(field, state)
        note(steps, before, state)
    # Every other one leaves, some come, and all change places.
    stay = torch.arange(0, len(first), 2)
    state = state.take(stay).join([of_mix(method, field, second, torch.float64)])
    order = torch.randperm(len(state.t), generator=torch.Generator().manual_seed(seed))
    state, rest = trace(method, field, state.take(order))
    requests = [first[row] for row in stay.tolist()] + second
    begun = [steps[row] for row in stay.tolist()] + [[] for _ in second]
    for place, row in enumerate(order.tolist()):
        alone, own = trace(method, field, of_mix(method, field, [requests[row]], torch.float64))
        assert own[0] == begun[row] + rest[place]
        assert rows_equal(alone, state.take(torch.tensor([place])))


@every
def test_slots_are_given_anew(method):
    a, b = [(1.0, 1.0, 1.0, 1e-3)] * 3, [(2.0, 0.5, 0.7, 1e-4)]
    new = of_mix(method, lotka_volterra, b, torch.float64)
    state = of_mix(method, lotka_volterra, a, torch.float64).put(torch.tensor([1]), new)
    state = finish(method, lotka_volterra, state)
    assert rows_equal(state.take(torch.tensor([1])), finish(method, lotka_volterra, new))


@pytest.mark.parametrize("method", adaptive, ids=lambda method: method.name)
def test_stiff_mates_cost_a_smooth_sample_nothing(method):
    y = torch.tensor([[0.5, 1.0], [500.0, 1.0]], dtype=torch.float64)
    both = finish(method, decay, begin(method, decay, y, 1, rtol=1e-4))
    alone = finish(method, decay, begin(method, decay, y[:1], 1, rtol=1e-4))
    assert rows_equal(both.take(torch.tensor([0])), alone)
    assert both.nfe[1] > 2 * both.nfe[0]


@every
def test_a_diverging_sample_ends_with_its_last_good_state(method):
    def field(t, y):
        """Grows, and has no logarithm from t = 1/2 on for the sample that starts at 1."""
        return y + 0 * torch.log((1.5 - t[:, None]) - y.clamp(max=1) * (y[:, 1:] > 0) * 1.0)

    y = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    begun = begin(method, field, y, 1, dt=0.1, rtol=1e-4)
    state = finish(method, field, begun)
    assert state.status.tolist() == [Status.FINISHED, Status.DIVERGED, Status.FINISHED]
    assert bool(torch.isfinite(state.y).all())
    assert bool(torch.isfinite(state.f).all())
    assert 0.35 < state.t[1] <= 0.5
    mates = torch.tensor([0, 2])
    assert rows_equal(
        state.take(mates),
        finish(method, field, begin(method, field, y[mates], 1, dt=0.1, rtol=1e-4)),
    )


@every
def test_a_sample_that_is_not_finite_at_the_start_does_not_start(method):
    y = torch.tensor([[torch.nan], [0.5]], dtype=torch.float64)
    state = begin(method, logistic, y, 1)
    assert state.status.tolist() == [Status.DIVERGED, Status.RUNNING]
    state = finish(method, logistic, state)
    assert state.status.tolist() == [Status.DIVERGED, Status.FINISHED]
    assert state.accepted[0] == 0


# The implicit method may step over a pole: its steps are bounded where the solution is not.
@pytest.mark.parametrize("method", [DOPRI5, TSIT5], ids=lambda method: method.name)
def test_steps_that_time_cannot_resolve_end_a_sample(method):
    y = torch.tensor([[1.0], [0.1]], dtype=torch.float64)
    state = finish(method, blowup, begin(method, blowup, y, 2, rtol=1e-6))
    assert state.status[0] in (Status.DT_UNDERFLOW, Status.DIVERGED)
    assert abs(state.t[0] - 1) < 1e-5
    assert state.status[1] == Status.FINISHED
    assert abs(state.y[1] - 0.125) < 1e-5


@every
def test_samples_are_given_up_after_their_steps(method):
    y = torch.tensor([[0.5]], dtype=torch.float64)
    state = finish(method, logistic, begin(method, logistic, y, 50, max_steps=3))
    assert state.status.tolist() == [Status.MAX_STEPS]
    assert int(state.accepted + state.rejected) == 3
    assert 0 < state.t < 50


@every
def test_fixed_steps_end_at_the_end(method):
    y = torch.tensor([[0.5]], dtype=torch.float64)
    state = finish(method, logistic, begin(method, logistic, y, 0.7, dt=0.1))
    assert state.t.item() == 0.7
    if not method.adaptive:
        assert state.accepted.item() == 7  # and no sliver for what 0.1 lacks in binary


@every
def test_no_way_to_go_is_finished(method):
    y = torch.tensor([[0.5]], dtype=torch.float64)
    state = begin(method, logistic, y, 0)
    assert state.status.tolist() == [Status.FINISHED]
    assert rows_equal(method.step(logistic, state), state)


def test_what_cannot_be_integrated_is_refused():
    y = torch.tensor([[0.5]], dtype=torch.float64)
    with pytest.raises(ValueError, match="pass dt"):
        integrators.EULER.init(logistic, y, full(1, 0), full(1, 1))
    for dt in (0.0, -0.1, torch.inf, torch.nan):
        with pytest.raises(ValueError, match="dt must be"):
            begin(integrators.EULER, logistic, y, 1, dt=dt)
    for t_end in (-1.0, torch.inf, torch.nan):
        with pytest.raises(ValueError, match="t_end"):
            begin(DOPRI5, logistic, y, float(t_end))


def test_a_sample_goes_on_with_another_method():
    field = van_der_pol(1000.0)
    y = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    state = begin(TSIT5, field, y, 10, rtol=1e-4, atol=1e-7)
    for _ in range(50):
        state = TSIT5.step(field, state)
    spent = state.nfe.item()
    state = finish(RODAS3, field, state)
    assert state.nfe.item() - spent < 500
    assert abs(state.y[0, 0] - 1.9933) < 1e-3


@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_norms_do_not_know_the_batch(size, batch, seed):
    x = torch.randn(batch, size, generator=torch.Generator().manual_seed(seed))
    norms = norm(x)
    torch.testing.assert_close(norms, x.double().square().mean(dim=1).sqrt())
    assert all(torch.equal(norm(row[None])[0], value) for row, value in zip(x, norms, strict=True))


@given(st.floats(1e-10, 1e10), st.integers(-400, 400))
def test_powers_are_powers(x, numerator):
    exponent = numerator / 256
    value = power(full(1, x), exponent).item()
    assert value == pytest.approx(x**exponent, rel=1e-13)


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_systems_are_solved_with_pivots(n, batch, seed):
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(batch, n, n, generator=random, dtype=torch.float64)
    matrix[:, 0, 0] = 0.0 if n > 1 else 1.0
    x = torch.randn(batch, n, generator=random, dtype=torch.float64)
    b = (matrix @ x[:, :, None])[:, :, 0]
    found = solve(factorize(matrix), b)
    residual = (matrix @ found[:, :, None])[:, :, 0] - b
    # Backward stability: rounding in units of the solution, however ill the matrix.
    assert residual.abs().max() < 1e-12 * (1 + found.abs().max())


def test_all_methods_are_in_the_list_once():
    public = {getattr(integrators, name) for name in integrators.__all__ if name.isupper()}
    assert public - {integrators.PID} == set(all_integrators)
    assert len({method.name for method in all_integrators}) == len(all_integrators)
    assert set(integrators.__all__) <= set(dir(integrators))


@every
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_need_not_be_on(method, mode):
    y = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    with mode():
        state = finish(method, robertson, begin(method, robertson, y, 1e-4, dt=1e-5))
    assert state.status.tolist() == [Status.FINISHED]
    assert abs(state.y.sum() - 1) < 1e-12
