"""Fourier neural operators get bounds that hold, are the same on all grids, and are rechecked."""

import itertools
import json
import math

import pytest
import torch
from torch import nn

from certisolve.manifest import Manifest
from certisolve_server.certification.request import CertifyRequest, GlobalDomain
from certisolve_server.certification.subjects import open_subject
from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.fourier import Fourier
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything, Region
from certisolve_zoo.operators.ffno import Ffno1d
from certisolve_zoo.operators.fno import Fno1d, Fno2d, PeriodicFno2d
from slow_ones import mostly_slow
from small_networks import ARTIFACTS, bundled, exported, in_float64
from small_networks import steepest as slopes_of_pairs

MODULES = {
    "fno": (lambda: Fno1d(4, 3, 2), (1, 8)),
    "ffno": (lambda: Ffno1d(1, 3, 2, 2), (1, 8, 1)),
    "periodic": (lambda: PeriodicFno2d(1, 1, 3, (2, 2), 2), (1, 6, 6, 1)),
    "nodal": (
        lambda: Fno2d(2, (2, 2), 2, input_range=(3.0, 12.0), output_scale=0.5),
        (1, 15, 15),
    ),
}


def program_of(name: str):
    torch.manual_seed(0)
    make, shape = MODULES[name]
    return exported(make(), shape), shape


def first(problem: Problem, turns: int = 60) -> Bound:
    """The best of the first bound and what comes in some turns after it."""
    steps = Fourier().run(problem, Board())
    found = [next(each for each in steps if each)]
    found += [each for each in itertools.islice(steps, turns) if each]
    return min(found, key=lambda each: each.upper)


def steepest(program, shape, norm: float) -> float:
    """The largest slope that is seen, in float64."""
    forward = in_float64(program)
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    torch.set_default_dtype(torch.float64)
    try:
        for scale in (0.1, 1.0, 4.0):
            x = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
            matrix = torch.autograd.functional.jacobian(forward, x)
            matrix = matrix.reshape(-1, math.prod(shape))
            largest = max(largest, float(torch.linalg.matrix_norm(matrix, norm)))
    finally:
        torch.set_default_dtype(torch.float32)
    return largest


@pytest.mark.parametrize("name", MODULES)
def test_no_slope_exceeds_the_bound_and_the_evidence_proves_it_again(name):
    program, shape = program_of(name)
    graph = prepare(program, {"x": shape})
    problem = Problem(graph, Everything(), Norms("l2", "l2"))
    bound = first(problem)
    assert steepest(program, shape, 2) <= bound.upper
    evidence = json.loads(json.dumps(dict(bound.evidence)))
    assert Fourier().recheck(problem, evidence) <= bound.upper


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(("norm", "order"), [("linf", math.inf), ("l1", 1)])
def test_norms_of_kernels_bound_slopes_in_other_norms(name, norm, order):
    program, shape = program_of(name)
    problem = Problem(prepare(program, {"x": shape}), Everything(), Norms(norm, norm))
    bound = first(problem)
    assert steepest(program, shape, order) <= bound.upper
    assert Fourier().recheck(problem, bound.evidence) <= bound.upper


@pytest.mark.parametrize("norms", list(itertools.product(["l1", "l2", "linf"], repeat=2)))
def test_all_norms_have_bounds_that_hold(norms):
    program, shape = program_of("ffno")
    graph = prepare(program, {"x": shape})
    problem = Problem(graph, Everything(), Norms(*norms))
    bound = first(problem)
    assert Fourier().recheck(problem, bound.evidence) <= bound.upper
    box = (torch.full(shape, -2.0).double(), torch.full(shape, 2.0).double())
    assert slopes_of_pairs(in_float64(program), box, seed=0)[Norms(*norms)] <= bound.upper


def test_local_bounds_hold_and_are_not_above_global_ones():
    program, shape = program_of("fno")
    graph = prepare(program, {"x": shape})
    center = 0.3 * torch.ones(shape, dtype=torch.float64)
    upper = {}
    for radius in (0.0, 0.01, 0.1):
        region = Ball({"x": center}, radius, "linf")
        problem = Problem(graph, region, Norms("l2", "l2"))
        bound = first(problem)
        assert Fourier().recheck(problem, bound.evidence) <= bound.upper
        upper[radius] = bound.upper
    whole = first(Problem(graph, Everything(), Norms("l2", "l2"))).upper
    assert upper[0.01] < whole
    assert upper[0.0] <= upper[0.01] * (1 + 1e-5)
    assert upper[0.01] <= upper[0.1] * (1 + 1e-5)


def test_one_number_on_all_grids():
    torch.manual_seed(0)
    module = Fno1d(4, 3, 2)
    uppers = set()
    for points in (8, 31, 64, 256):
        shape = (1, points)
        graph = prepare(exported(module, shape), {"x": shape})
        cell = Interval.near(math.sqrt(1 / points)).rearranged(
            lambda ends, n=points: ends.expand(n)
        )
        for norms in (Norms("l2", "l2"), Norms("l2", "l2", cell, cell)):
            problem = Problem(graph, Everything(), norms)
            uppers.add(first(problem).upper)
    assert len(uppers) == 1


def test_a_bound_of_one_grid_is_proven_on_another_by_its_evidence():
    torch.manual_seed(0)
    module = Fno1d(4, 3, 2)
    problems = [
        Problem(
            prepare(exported(module, (1, points)), {"x": (1, points)}),
            Everything(),
            Norms("l2", "l2"),
        )
        for points in (8, 50)
    ]
    bound = first(problems[0])
    assert Fourier().recheck(problems[1], bound.evidence) <= bound.upper


class OneMode(nn.Module):
    """A spectral layer on a plane of one frequency along each axis."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, 1, 1, dtype=torch.cfloat))

    def forward(self, x):
        spectrum = torch.fft.rfft2(x)
        image = torch.zeros(1, 2, 4, 3, dtype=torch.cfloat)
        image[:, :, :1, :1] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :1, :1], self.weight)
        return torch.tanh(torch.fft.irfft2(image, s=x.shape[2:]))


def test_a_layer_of_one_frequency_is_refused_by_the_name_of_a_node():
    shape = (1, 2, 4, 5)
    graph = prepare(exported(OneMode(), shape), {"x": shape})
    with pytest.raises(NotCertified, match="at node"):
        first(Problem(graph, Everything(), Norms("l2", "l2")))


def test_channels_that_are_weighted_scale_the_bound():
    program, shape = program_of("ffno")
    graph = prepare(program, {"x": shape})
    plain = first(Problem(graph, Everything(), Norms("l2", "l2")), 60).upper
    two = Interval.exact(torch.full((8,), 2.0, dtype=torch.float64))
    by_two = first(Problem(graph, Everything(), Norms("l2", "l2", None, two)), 60).upper
    assert by_two == pytest.approx(2 * plain, rel=1e-6)
    both = first(Problem(graph, Everything(), Norms("l2", "l2", two, two)), 60).upper
    assert both == plain


def test_evidence_that_proves_nothing_is_refused():
    program, shape = program_of("fno")
    problem = Problem(prepare(program, {"x": shape}), Everything(), Norms("l2", "l2"))
    with pytest.raises(NotCertified):
        Fourier().recheck(problem, {"proof": "faith"})
    with pytest.raises(NotCertified):
        Fourier().recheck(problem, {"proof": "multipliers", "multipliers": [[1.0]]})
    huge = [[1e9] * 4, [1e9] * 4, [1e9] * 8]
    with pytest.raises(NotCertified):
        Fourier().recheck(problem, {"proof": "multipliers", "multipliers": huge})


BUNDLED = {
    "burgers1d-fno": ("initial_condition", (1, 48), {}),
    "ks1d-ffno": ("frame", (1, 64), {}),
    "ks1d-memno": ("frame", (1, 64), {"state": (1, 64, 48, 2, 16)}),
    "darcy2d-fno": ("coefficient", (1, 25, 25), {}),
}


def problem_of(name: str, region: Region) -> Problem:
    argument, shape, frozen = BUNDLED[name]
    constants = {key: torch.full(size, 0.5) for key, size in frozen.items()}
    graph = prepare(bundled(name), {argument: shape}, constants)
    return Problem(graph, region, Norms("l2", "l2"))


@pytest.mark.parametrize("name", mostly_slow(BUNDLED, {"burgers1d-fno"}))
def test_bundled_operators_have_global_bounds(name):
    problem = problem_of(name, Everything())
    bound = next(each for each in Fourier().run(problem, Board()) if each)
    argument, shape, frozen = BUNDLED[name]
    forward = in_float64(bundled(name))
    constants = {key: torch.full(size, 0.5, dtype=torch.float64) for key, size in frozen.items()}
    generator = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0):
        x = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        y = x + 0.1 * scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        values = []
        for each in (x, y):
            value = forward(**{argument: each}, **constants)
            values.append(value[0] if isinstance(value, tuple) else value)
        change = (values[0] - values[1]).norm()
        assert float(change) <= bound.upper * float((x - y).norm())


def test_the_served_burgers_operator_has_one_number_on_all_validated_grids():
    """With what is done to its outputs before they are returned: their mean is conserved."""
    directory = max((ARTIFACTS / "burgers1d-fno").iterdir(), key=lambda path: int(path.name))
    manifest = Manifest.from_json((directory / "manifest.json").read_bytes())
    program = bundled("burgers1d-fno")
    uppers = set()
    for points in (256, 512, 1024):
        request = CertifyRequest("burgers1d-fno", GlobalDomain(), resolution=(points,))
        problem = open_subject(request, manifest, program).problem
        assert problem.graph.inputs[0].shape == (1, points)
        bound = next(each for each in Fourier().run(problem, Board()) if each)
        uppers.add(bound.upper)
    assert len(uppers) == 1


def test_a_network_with_products_is_refused_on_everything():
    shape = (1, 20, 20)
    graph = prepare(bundled("ns2d-fno"), {"w": shape})
    with pytest.raises(NotCertified, match="multiplies two tensors that vary"):
        first(Problem(graph, Everything(), Norms("l2", "l2")))
