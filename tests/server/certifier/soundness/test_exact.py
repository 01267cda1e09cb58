"""Bounds against constants that are known exactly: by enumeration, by grids, by Fourier."""

import itertools
import math

import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from all_bounds import all_bounds, lower_bound
from certisolve_server.certifier.arithmetic import Interval, spectral_norm
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.operators import Convolution
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything
from random_networks import ACTIVATIONS
from small_networks import exported, perceptron

_ORDERS = {"l1": 1, "linf": math.inf, "l2": 2}


def exact_constant(net, center, radius, p, q):
    """Of a network with one hidden layer of rectifiers: over all patterns that occur inside."""
    first, last = net[0], net[2]
    weight, bias = first.weight.detach().double(), first.bias.detach().double()
    largest = 0.0
    for pattern in itertools.product([0.0, 1.0], repeat=len(bias)):
        signs = 2.0 * torch.tensor(pattern, dtype=torch.float64) - 1.0
        if not _occurs(-signs[:, None] * weight, signs * bias, center, radius):
            continue
        jacobian = (
            last.weight.detach().double() @ torch.diag(torch.tensor(pattern).double()) @ weight
        )
        largest = max(largest, _norm(jacobian, p, q))
    return largest


def _occurs(rows, limits, center, radius):
    """Whether the pattern's polyhedron has an inside within the box (HiGHS)."""
    count = rows.shape[1]
    slack = rows.norm(dim=1, keepdim=True)
    box = [(c - radius, c + radius) if radius is not None else (None, None) for c in center]
    found = linprog(
        [0.0] * count + [-1.0],
        A_ub=torch.cat([rows, slack], 1).numpy(),
        b_ub=limits.numpy(),
        bounds=[*box, (0.0, 1.0)],
        method="highs",
    )
    return found.status == 0 and -found.fun > 1e-9


def _norm(jacobian, p, q):
    if p == "l2" and q == "l2":
        return float(torch.linalg.matrix_norm(jacobian, 2))
    if p == "l1":
        return float(torch.linalg.vector_norm(jacobian, _ORDERS[q], 0).amax())
    vertices = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=jacobian.shape[1]))).double()
    if p == "linf":
        return float(torch.linalg.vector_norm(vertices @ jacobian.T, _ORDERS[q], 1).amax())
    if q == "linf":
        return float(torch.linalg.vector_norm(jacobian, 2, 1).amax())
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=jacobian.shape[0]))).double()
    return float(torch.linalg.vector_norm(signs @ jacobian, 2, 1).amax())


@pytest.mark.parametrize(("seed", "radius"), [(0, 0.2), (1, 1.5), (2, None)])
def test_small_rectifier_networks_by_enumeration(seed, radius):
    net = perceptron(nn.ReLU(), 2, 7, 2, seed=seed)
    graph = prepare(exported(net, (1, 2)), {"x": (1, 2)})
    center = [0.25, -0.5]
    point = {"x": torch.tensor([center], dtype=torch.float64)}
    region = Everything() if radius is None else Ball(point, radius, "linf")
    for p, q in (("l2", "l2"), ("linf", "linf"), ("l1", "l2")):
        exact = exact_constant(net, center, radius, p, q)
        problem = Problem(graph, region, Norms(p, q))
        for method, upper in all_bounds(problem, slices=6).items():
            assert exact <= upper * (1 + 1e-9), (method, p, q)
        assert lower_bound(problem, slices=20) <= exact * (1 + 1e-9)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu tanh", "hardtanh"])
def test_curves_by_a_dense_grid(activation):
    net = perceptron(ACTIVATIONS[activation](), 1, 5, 4, 1, seed=8)
    graph = prepare(exported(net, (1, 1)), {"x": (1, 1)})
    problem = Problem(
        graph, Ball({"x": torch.zeros(1, 1, dtype=torch.float64)}, 3.0, "linf"), Norms("l2", "l2")
    )
    bounds = all_bounds(problem, slices=8)
    x = torch.linspace(-3.0, 3.0, 100_001, dtype=torch.float64).reshape(-1, 1)
    y = net.double()(x).detach()
    steepest = float(((y[1:] - y[:-1]) / (x[1:] - x[:-1])).abs().amax())
    for method, upper in bounds.items():
        assert steepest <= upper * (1 + 1e-6), method
    assert min(bounds.values()) <= 1.5 * steepest
    assert lower_bound(problem, slices=60) <= min(bounds.values())


@pytest.mark.parametrize("points", [4, 6])
def test_circular_convolutions_have_the_norm_of_their_circulant(points):
    torch.manual_seed(points)
    weight = torch.randn(3, 2, 3, dtype=torch.float64)
    conv = nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular", bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(weight)
        units = torch.eye(2 * points, dtype=torch.float64).reshape(-1, 2, points)
        dense = conv(units).flatten(1).T
    operator = Convolution(Interval.exact(weight), (points,), (1,), (1,), (1,), circular=True)
    exact = float(torch.linalg.matrix_norm(dense, 2))
    assert exact <= operator.norm("l2") * (1 + 1e-12)
    assert operator.norm("l2") <= exact * (1 + 1e-9)
    assert exact <= float(spectral_norm(dense)) * (1 + 1e-12)
    for norm in ("l1", "linf"):
        assert operator.norm(norm) == pytest.approx(
            float(torch.linalg.matrix_norm(dense, _ORDERS[norm])), rel=1e-12
        )
