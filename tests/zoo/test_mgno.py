import pytest
import torch

from certisolve_zoo.operators.mgno import MgNo2d, VCycle


@pytest.mark.parametrize("boundary", ["periodic", "zero", "reflect"])
def test_a_cycle_is_linear(boundary):
    cycle = VCycle(3, num_levels=3, num_smoothings=2, boundary=boundary).double()
    f, g = torch.randn(2, 1, 3, 16, 8, dtype=torch.float64)
    together = cycle(2 * f - 3 * g)
    torch.testing.assert_close(together, 2 * cycle(f) - 3 * cycle(g), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("num_levels", "reaches"), [(1, False), (4, True)])
def test_coarse_grids_carry_a_source_across_the_domain(num_levels, reaches):
    cycle = VCycle(2, num_levels, num_smoothings=1, boundary="zero").double()
    source = torch.zeros(1, 2, 32, 32).double()
    source[..., 0, 0] = 1.0
    assert bool(cycle(source)[..., -8:, -8:].any()) == reaches


def test_the_boundary_condition_reaches_the_solution():
    field = torch.randn(1, 40, 40, 1)
    states = MgNo2d(1, 1, 4, 1, 2, boundary="zero").state_dict()
    solutions = []
    for boundary in ("zero", "periodic", "reflect"):
        network = MgNo2d(1, 1, 4, 1, 2, boundary=boundary)
        network.load_state_dict(states)
        solutions.append(network(field))
    assert not torch.allclose(solutions[0], solutions[1])
    assert not torch.allclose(solutions[0], solutions[2])
    # What is far from the edge does not see it in one shallow cycle.
    torch.testing.assert_close(solutions[0][:, 20, 20], solutions[1][:, 20, 20], rtol=0, atol=1e-6)
