"""Expansions around the center of a set: they hold on it, and are sharp where it is small."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.expansion import Expansion
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.norms import NORMS, Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box, Everything, Region
from certisolve_zoo.operators.ffno import Ffno1d
from certisolve_zoo.operators.fno import Fno1d, Fno2d, PeriodicFno2d
from certisolve_zoo.operators.spectral import SpectralConv1d, periodic_basis
from slow_ones import mostly_slow
from small_networks import exported, in_float64


class Spectral(nn.Module):
    """Waves kept, mixed and added to what is mixed at each point; `between` comes after."""

    def __init__(self, channels: int, modes: int, between: nn.Module) -> None:
        super().__init__()
        self.modes, self.between = modes, between
        self.waves, self.mix = SpectralConv1d(channels, modes), nn.Linear(channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        basis = periodic_basis(h.shape[1], self.modes, h)
        return self.between(self.waves(h, basis) + self.mix(h))


class Folded(nn.Module):
    """Slopes that jump."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, 4), Spectral(4, 3, nn.ReLU()), Spectral(4, 3, nn.ReLU()), nn.Linear(4, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.unsqueeze(2)).squeeze(2)


class Products(nn.Module):
    """Two fields multiplied, as transport does."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = Spectral(2, 3, nn.GELU()), Spectral(2, 2, nn.Identity())
        self.lift, self.last = nn.Linear(1, 2), Spectral(2, 3, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        h = self.lift(x.unsqueeze(2))
        return self.last(self.one(h) * self.other(h)).sum(2)


MODULES = {
    "fno": (lambda: Fno1d(4, 3, 2), (1, 8)),
    "ffno": (lambda: Ffno1d(1, 3, 2, 2), (1, 8, 1)),
    "periodic": (lambda: PeriodicFno2d(1, 1, 3, (2, 2), 2), (1, 6, 6, 1)),
    "nodal": (
        lambda: Fno2d(2, (2, 2), 2, input_range=(3.0, 12.0), output_scale=0.5),
        (1, 9, 9),
    ),
    "folded": (Folded, (1, 7)),
    "products": (Products, (1, 8)),
}
CENTERS = {"nodal": 6.0}


@pytest.fixture(params=MODULES)
def case(request):
    torch.manual_seed(0)
    make, shape = MODULES[request.param]
    program = exported(make(), shape)
    center = CENTERS.get(request.param, 0.3) + 0.2 * torch.randn(shape, dtype=torch.float64)
    return program, prepare(program, {"x": shape}), center


def bound(problem: Problem) -> float:
    *_, found = Expansion().run(problem, Board())
    assert isinstance(found, Bound)
    return found.upper


def jacobian(program, at: Tensor) -> Tensor:
    torch.set_default_dtype(torch.float64)
    try:
        found = torch.autograd.functional.jacobian(in_float64(program), at)
    finally:
        torch.set_default_dtype(torch.float32)
    return found.reshape(-1, at.numel())


def norm_of(matrix: Tensor, norm: str) -> float:
    return float(torch.linalg.matrix_norm(matrix, {"l1": 1, "l2": 2, "linf": math.inf}[norm]))


def corners(center: Tensor, radius: float, norm: str, count: int) -> list[Tensor]:
    """Points on the border of a ball."""
    generator = torch.Generator().manual_seed(1)
    points = []
    for _ in range(count):
        step = torch.randn(center.shape, generator=generator, dtype=torch.float64)
        step = step.sign() if norm == "linf" else step
        length = {"l1": step.abs().sum(), "l2": step.norm(), "linf": step.abs().max()}[norm]
        points.append(center + 0.999999 * radius * step / length)
    return points


@pytest.mark.parametrize("norm", mostly_slow(NORMS, {"l2"}))
def test_at_a_point_it_is_the_norm_of_the_jacobian(case, norm):
    program, graph, center = case
    upper = bound(Problem(graph, Ball({"x": center}, 0.0, "l2"), Norms(norm, norm)))
    exact = norm_of(jacobian(program, center), norm)
    assert exact * (1 - 1e-9) <= upper <= exact * (1 + 1e-4)


@pytest.mark.parametrize(
    "where", mostly_slow(itertools.product(NORMS, (1e-3, 0.05)), {("linf", 0.05)})
)
def test_no_slope_on_the_ball_exceeds_it(case, where):
    (program, graph, center), (ball, radius) = case, where
    region = Ball({"x": center}, radius, ball)
    uppers = {norm: bound(Problem(graph, region, Norms(norm, norm))) for norm in NORMS}
    for point in corners(center, radius, ball, 5):
        matrix = jacobian(program, point)
        for norm, upper in uppers.items():
            assert norm_of(matrix, norm) <= upper


def test_to_first_order_in_the_radius_little_is_lost(case):
    program, graph, center = case
    exact = norm_of(jacobian(program, center), "l2")
    small = bound(Problem(graph, Ball({"x": center}, 1e-5, "linf"), Norms("l2", "l2")))
    assert small <= exact * 1.01


def test_wider_sets_have_wider_bounds():
    program = exported(MODULES["fno"][0](), (1, 8))
    graph, center = prepare(program, {"x": (1, 8)}), torch.zeros(1, 8, dtype=torch.float64)
    uppers = [
        bound(Problem(graph, Ball({"x": center}, radius, "linf"), Norms("l2", "linf")))
        for radius in (0.0, 1e-4, 1e-2)
    ]
    assert uppers == sorted(uppers)


@pytest.mark.parametrize("name", ["fno", "products"])
def test_weights_are_counted_entry_by_entry(name):
    torch.manual_seed(0)
    make, shape = MODULES[name]
    program = exported(make(), shape)
    graph, center = prepare(program, {"x": shape}), torch.full(shape, 0.3, dtype=torch.float64)
    weights = torch.linspace(0.5, 3.0, center.numel(), dtype=torch.float64)
    norms = Norms("l2", "l2", Interval.exact(weights), Interval.exact(weights.flip(0)))
    upper = bound(Problem(graph, Ball({"x": center}, 1e-6, "l2"), norms))
    exact = norm_of(weights.flip(0)[:, None] * jacobian(program, center) / weights, "l2")
    assert exact * (1 - 1e-9) <= upper <= exact * 1.01


def test_boxes_around_other_points_and_limits_that_cut_a_ball():
    program = exported(MODULES["fno"][0](), (1, 8))
    graph = prepare(program, {"x": (1, 8)})
    center = torch.zeros(1, 8, dtype=torch.float64)
    box = Box({"x": center - 0.01}, {"x": center + 0.03})
    cut: Region = Ball({"x": center}, 0.03, "linf", Box({"x": center - 0.01}, {"x": center + 1.0}))
    for region in (box, cut):
        upper = bound(Problem(graph, region, Norms("l2", "l2")))
        for point in (center - 0.01, center, center + 0.03):
            assert norm_of(jacobian(program, point), "l2") <= upper


def test_it_is_proven_again_without_evidence():
    program = exported(MODULES["fno"][0](), (1, 8))
    region = Ball({"x": torch.zeros(1, 8, dtype=torch.float64)}, 0.1, "l2")
    problem = Problem(prepare(program, {"x": (1, 8)}), region, Norms("l2", "l2"))
    assert Expansion().recheck(problem, {}) <= bound(problem)


def test_what_it_does_not_take_is_said():
    program = exported(MODULES["fno"][0](), (1, 8))
    graph = prepare(program, {"x": (1, 8)})
    with pytest.raises(NotCertified, match="bounded set"):
        bound(Problem(graph, Everything(), Norms("l2", "l2")))
    region = Ball({"x": torch.zeros(1, 8, dtype=torch.float64)}, 0.1, "l2")
    with pytest.raises(NotCertified, match="no evidence"):
        Expansion().recheck(Problem(graph, region, Norms("l2", "l2")), {"upper": 1.0})
