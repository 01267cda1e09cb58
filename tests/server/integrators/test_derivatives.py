"""Derivatives go through steps, forwards and backwards."""

import pytest
import torch
from torch.func import jvp

from certisolve_server.integrators import all_integrators
from integrals import begin, finish, full, logistic, logistic_solution

every = pytest.mark.parametrize("method", all_integrators, ids=lambda method: method.name)
Y0 = torch.tensor([[0.1], [0.3], [1.7]], dtype=torch.float64)
#: Of the method of first order with these steps; the others keep the tolerance.
ERROR = {"euler": 3e-2, "heun": 1e-3}


def end(method, y):
    return finish(method, logistic, begin(method, logistic, y, 1, dt=0.02, rtol=1e-6)).y


def derivative():
    """Of the exact solution; samples do not depend on each other."""
    y = Y0.clone().requires_grad_()
    solution = logistic_solution(full(3, 1)[:, None], y)
    return torch.autograd.grad(solution.sum(), y)[0]


@every
def test_gradients_are_those_of_the_solution(method):
    y = Y0.clone().requires_grad_()
    gradient = torch.autograd.grad(end(method, y).sum(), y)[0]
    assert (gradient - derivative()).abs().max() < ERROR.get(method.name, 1e-4)


@every
def test_tangents_are_those_of_the_solution(method):
    _, tangent = jvp(lambda y: one(method, y), (Y0,), (torch.ones_like(Y0),))
    y = Y0.clone().requires_grad_()
    gradient = torch.autograd.grad(one(method, y).sum(), y)[0]
    torch.testing.assert_close(tangent, gradient, rtol=1e-12, atol=1e-12)


def one(method, y):
    """Three steps, whose number asks for no value on the way."""
    state = begin(method, logistic, y, 1, dt=0.02, rtol=1e-6)
    for _ in range(3):
        state = method.step(logistic, state)
    return state.y
