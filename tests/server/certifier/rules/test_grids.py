"""Rules of operators that make grids finer or coarser, held to what the programs do."""

import pytest
import torch
from torch.nn import functional

from certisolve_server.certifier.domain import box
from certisolve_server.certifier.errors import UnsupportedOperator
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Everything
from certisolve_server.certifier.structure import layers_of
from small_networks import Applied, exported, in_float64, sampled

LINE, PLANE = (1, 2, 6), (1, 2, 5, 4)


def resized(mode, **how):
    return Applied(lambda x: functional.interpolate(x, mode=mode, **how))


def called(function, *arguments, **how):
    return Applied(lambda x: function(x, *arguments, **how))


LINEAR = {
    "nearest": (resized("nearest", scale_factor=2), LINE),
    "nearest of a size": (resized("nearest", size=9), LINE),
    "nearest of fewer": (resized("nearest", size=4), LINE),
    "nearest plane": (resized("nearest", scale_factor=(2, 3)), PLANE),
    "linear": (resized("linear", scale_factor=2), LINE),
    "linear of a size": (resized("linear", size=11), LINE),
    "linear of fewer": (resized("linear", size=4), LINE),
    "linear by a fraction": (resized("linear", scale_factor=1.7), LINE),
    "linear with corners": (resized("linear", size=9, align_corners=True), LINE),
    "linear to one": (resized("linear", size=1, align_corners=True), LINE),
    "bilinear": (resized("bilinear", size=(7, 3)), PLANE),
    "bilinear with corners": (resized("bilinear", scale_factor=2, align_corners=True), PLANE),
    "bicubic": (resized("bicubic", scale_factor=2), PLANE),
    "bicubic of a size": (resized("bicubic", size=(3, 9), align_corners=True), PLANE),
    "trilinear": (resized("trilinear", scale_factor=2), (1, 1, 2, 3, 2)),
    "area": (resized("area", size=(3, 3)), PLANE),
    "uneven means": (called(functional.adaptive_avg_pool1d, 4), LINE),
    "more means than entries": (called(functional.adaptive_avg_pool1d, 9), LINE),
    "uneven means of a plane": (called(functional.adaptive_avg_pool2d, (2, 3)), PLANE),
    "means without the padding": (
        called(functional.avg_pool1d, 3, 2, 1, count_include_pad=False),
        LINE,
    ),
    "means of a last part": (called(functional.avg_pool1d, 4, 3, ceil_mode=True), LINE),
    "means with padding and a last part": (
        called(functional.avg_pool2d, (3, 2), 2, 1, ceil_mode=True),
        PLANE,
    ),
    "means of parts of a plane": (
        called(functional.avg_pool2d, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        PLANE,
    ),
}

LARGEST = {
    "line": (called(functional.max_pool1d, 2), LINE),
    "line with padding": (called(functional.max_pool1d, 3, 2, 1), LINE),
    "line with gaps": (called(functional.max_pool1d, 3, 1, dilation=2), LINE),
    "a last part": (called(functional.max_pool1d, 3, 2, ceil_mode=True), LINE),
    "plane with padding": (called(functional.max_pool2d, 3, 2, 1), PLANE),
    "plane with gaps and a last part": (
        called(functional.max_pool2d, 2, 2, 1, (2, 1), ceil_mode=True),
        PLANE,
    ),
    "space": (called(functional.max_pool3d, 2), (1, 1, 2, 4, 2)),
    "parts of a line": (called(functional.adaptive_max_pool1d, 4), LINE),
    "parts of a plane": (called(functional.adaptive_max_pool2d, (2, 3)), PLANE),
}


def enclosed(program, lower, upper):
    graph = prepare(program, {"x": tuple(lower.shape)})
    return enclose(graph, box(graph, {"x": lower}, {"x": upper}))


def drawn(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", LINEAR)
def test_slopes_are_the_matrix_of_the_program(name):
    module, shape = LINEAR[name]
    program = exported(module, shape)
    x = drawn(shape, 1)
    found, forward = enclosed(program, x, x + 0.5), in_float64(program)
    exact = torch.autograd.functional.jacobian(lambda x: forward(x)[0].flatten(), x).flatten(1)
    center, radius = found.jacobian.midpoint_radius()
    assert torch.allclose(center[0], exact, atol=1e-13)
    assert float(radius.max()) < 1e-14
    values = enclosed(program, x, x).value.rearranged(lambda ends: ends[0])
    assert torch.allclose(values.midpoint_radius()[0], forward(x)[0], atol=1e-13)
    assert float(values.midpoint_radius()[1].max()) < 1e-12


@pytest.mark.parametrize("width", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("name", LARGEST)
def test_values_and_differences_of_the_largest_lie_inside(name, width):
    module, shape = LARGEST[name]
    program = exported(module, shape)
    lower = drawn(shape, 3)
    found, forward = enclosed(program, lower, lower + width), in_float64(program)
    generator = torch.Generator().manual_seed(4)
    points = sampled((lower, lower + width), 20, generator)
    for x, y in zip(points, points.flip(0), strict=True):
        image, other = (forward(each)[0].flatten() for each in (x, y))
        assert bool(found.value.contains(forward(x)[0]).all())
        reach = found.jacobian.magnitude[0] @ (x - y).flatten().abs()
        assert bool(((image - other).abs() <= reach + 1e-12).all())
        slopes = torch.autograd.functional.jacobian(lambda x: forward(x)[0].flatten(), x)
        assert bool(found.jacobian.contains(slopes.flatten(1)).all())


@pytest.mark.parametrize("name", [name for name in LARGEST if "parts" not in name])
def test_the_largest_of_windows_fold(name):
    """So that no difference is counted more often than windows overlap."""
    module, shape = LARGEST[name]
    graph = prepare(exported(module, shape), {"x": shape})
    layered = layers_of(Problem(graph, Everything(), Norms("l2", "l2")))
    assert len(layered.layers) == 1


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (resized("nearest", scale_factor=2.3), (1, 1, 31)),
        (resized("linear", scale_factor=1.01), (1, 1, 30)),
        (resized("bicubic", scale_factor=1.01), (1, 1, 5, 5)),
        (resized("bilinear", scale_factor=0.5, antialias=True), PLANE),
    ],
    ids=["places that rounding decides", "a copy", "a cubic copy", "another kernel"],
)
def test_what_is_not_known_to_the_last_entry_is_refused(module, shape):
    with pytest.raises(UnsupportedOperator, match="upsample"):
        prepare(exported(module, shape), {"x": shape})
