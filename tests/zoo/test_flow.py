import numpy as np
import pytest
import torch

from certisolve_zoo.ode.flow import flow
from certisolve_zoo.pdes.vanderpol import solve_vanderpol

T = (0.3, 1.0, 4.0, 10.0)
MU = torch.tensor([0.5, 5.0, 50.0])
Y0 = torch.tensor([[2.0, -1.0], [0.1, 0.0], [-1.5, 2.0]])


def vanderpol(y, t, mu):
    del t
    x = y[:, 0]
    return torch.stack((mu * (x - x**3 / 3 - y[:, 1]), x / mu), dim=1)


def test_gentle_and_stiff_samples_agree_with_an_implicit_method():
    taken = Y0.double().numpy(), MU.double().numpy(), np.array(T)
    expected = torch.from_numpy(solve_vanderpol(*taken, rtol=1e-10))
    states = flow(vanderpol, Y0, T, MU, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(states, expected, rtol=0, atol=2e-5)


def test_a_field_may_know_the_time():
    states = flow(lambda y, t: torch.cos(t)[:, None] + 0 * y, Y0[:1], T, rtol=1e-8, atol=1e-9)
    expected = Y0[0].double() + torch.tensor(T).double().sin()[:, None]
    torch.testing.assert_close(states[0], expected, rtol=0, atol=1e-6)


def test_an_answer_is_the_same_to_the_bit_alone_and_among_others():
    together = flow(vanderpol, Y0, T, MU, rtol=1e-6, atol=1e-7)
    alone = flow(vanderpol, Y0[1:2], T, MU[1:2], rtol=1e-6, atol=1e-7)
    assert torch.equal(alone[0], together[1])


def test_a_way_without_an_end_is_told():
    with pytest.raises(RuntimeError, match=r"from \[1.0\]: no end"):
        flow(lambda y, t: y * y, torch.ones(1, 1), (2.0,), rtol=1e-6, atol=1e-9)
