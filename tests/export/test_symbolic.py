"""Sizes stay free where torch and libraries would fix them, and the numbers stay the same."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from certisolve_export import symbolic_sizes
from certisolve_export.tracing import trace

from .conftest import Pointwise

BATCH_AND_GRID = {"batch": Dim.DYNAMIC(min=1, max=64), "x": Dim.DYNAMIC(min=4, max=64)}


def traced(module, *inputs):
    axes = [("batch", "x", "channel")[: tensor.dim()] for tensor in inputs]
    return trace(module, inputs, axes, BATCH_AND_GRID).module(check_guards=False)


@pytest.mark.parametrize("num_points", [4, 5, 64])
def test_evenly_spaced_points_follow_the_grid(num_points):
    def points(u):
        return u * torch.linspace(-1.0, 2.0, u.shape[1]) + torch.linspace(0, 1, 7).sum()

    module = Pointwise(points)
    u = torch.rand(3, num_points)
    program = traced(module, torch.rand(2, 16))
    # linspace sums in another order from the middle on: a rounding of float32.
    torch.testing.assert_close(program(u), module(u), rtol=1e-6, atol=1e-6)


class Contraction(nn.Module):
    """Three factors in one einsum, which opt_einsum would plan, where it is installed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Parameter(torch.rand(5, 2)), nn.Parameter(torch.rand(6, 2))

    def forward(self, u):
        return torch.einsum("bxi,ir,or->bxo", u, self.left, self.right)


def test_contractions_of_several_factors_leave_batch_and_grid_free():
    module, u = Contraction(), torch.rand(3, 9, 5)
    program = traced(module, torch.rand(2, 16, 5))
    torch.testing.assert_close(program(u), module(u), rtol=1e-6, atol=1e-6)


def test_operands_may_come_in_one_list():
    with symbolic_sizes():
        u = torch.rand(3, 4)
        torch.testing.assert_close(torch.einsum("ij,ij->i", [u, u]), (u * u).sum(1))


def test_tensorly_plans_again_afterwards():
    tensorly = pytest.importorskip("tensorly", reason="comes with neuraloperator")
    tensorly.set_backend("pytorch")
    before = tensorly.backend.current_backend().einsum
    with symbolic_sizes():
        assert tensorly.backend.current_backend().einsum is torch.einsum
    assert tensorly.backend.current_backend().einsum is before
