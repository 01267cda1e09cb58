"""Vector fields with known solutions, and the loop around a step."""

from dataclasses import replace

import torch

from certisolve_server.integrators import interpolate


def full(batch, value):
    return torch.full((batch,), float(value), dtype=torch.float64)


def begin(method, field, y, t_end, *, dt=0.01, **options):
    """Initial state from 0 to `t_end`; `dt` is for methods with fixed steps."""
    batch = y.shape[0]
    t_end = full(batch, t_end) if isinstance(t_end, float | int) else t_end
    step = None if method.adaptive else full(batch, dt)
    return method.init(field, y, full(batch, 0), t_end, dt=step, **options)


def finish(method, field, state, most=20_000):
    for _ in range(most):
        if not bool(state.running.any()):
            return state
        state = method.step(field, state)
    raise AssertionError("the integration does not end")


def trace(method, field, state, most=20_000):
    """The final state, and for every sample its accepted times and states in between."""
    accepted = [[] for _ in range(len(state.t))]
    for _ in range(most):
        if not bool(state.running.any()):
            return state, accepted
        before, state = state, method.step(field, state)
        note(accepted, before, state)
    raise AssertionError("the integration does not end")


def note(accepted, before, state):
    middle = interpolate(state, ((state.t_before + state.t) / 2)[:, None])
    for row in (state.accepted > before.accepted).nonzero()[:, 0].tolist():
        accepted[row].append((state.t[row].item(), middle[row, 0].tolist()))


def one_step(method, field, y, dt, t=0.0):
    """The state after exactly one step of this size, whatever its error."""
    start, step = full(len(y), t), full(len(y), dt)
    state = method.init(field, y, start, start + step, dt=step, rtol=1e6, atol=1e6)
    return method.step(field, state)


def logistic(t, y):
    """Y' = y (1 - y) cos t; rows by themselves, with time, smooth."""
    return y * (1 - y) * torch.cos(t)[:, None]


def logistic_solution(t, y0):
    return 1 / (1 + (1 / y0 - 1) * torch.exp(-torch.sin(t)))


def lotka_volterra(t, y):
    x, z = y[:, 0], y[:, 1]
    return torch.stack((1.5 * x - x * z, x * z - 3 * z), dim=1)


def van_der_pol(mu):
    def field(t, y):
        x, v = y[:, 0], y[:, 1]
        return torch.stack((v, mu * (1 - x * x) * v - x), dim=1)

    return field


def robertson(t, y):
    a, b, c = y[:, 0], y[:, 1], y[:, 2]
    first, second = -0.04 * a + 1e4 * b * c, 3e7 * b * b
    return torch.stack((first, -first - second, second), dim=1)


def decay(t, y):
    """(rate, y): every sample carries a rate of its own."""
    rate = y[:, 0]
    return torch.stack((torch.zeros_like(rate), -rate * y[:, 1]), dim=1)


def blowup(t, y):
    """Y' = y^2, which is infinite at t = 1 / y0."""
    return y * y


def rows_equal(left, right):
    """Whether all of two states is equal to the bit."""
    names = replace(left).__dataclass_fields__
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in names)
