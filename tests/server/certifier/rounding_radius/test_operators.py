"""Each operator in float32 stays within the radius of what it is on reals, also of odd numbers."""

from functools import cache

import pytest
import torch
from torch import nn

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import Ball
from certisolve_server.certifier.rounding_radius import executed, rounding_radius
from slow_ones import mostly_slow
from small_networks import Applied, exported

_F = nn.functional
_WEIGHT = torch.tensor([0.7, -1.3, 2.1])
_BIAS = torch.tensor([1e3, 0.2, -3.3])


def _w(x):
    return _WEIGHT.to(x.dtype)


def _b(x):
    return _BIAS.to(x.dtype)


def _conv(x):
    return _F.conv1d(x.view(1, 1, 6), _w(x).view(1, 1, 3), padding=1)


#: Of x with 6 entries.
OPERATORS = {
    "softmax": lambda x: torch.softmax(x.view(2, 3), 1),
    "softmax over the first axis": lambda x: torch.softmax(3.0 * x.view(2, 3), 0),
    "log_softmax": lambda x: torch.log_softmax(x.view(2, 3), -1),
    "logsumexp": lambda x: torch.logsumexp(x.view(2, 3), 1, keepdim=True),
    "logaddexp": lambda x: torch.logaddexp(x[:, :3], x[:, 3:]),
    "layer_norm": lambda x: _F.layer_norm(x.view(2, 3), (3,), _w(x), _b(x)),
    "layer_norm of all": lambda x: _F.layer_norm(x, (6,), eps=1e-3),
    "group_norm": lambda x: _F.group_norm(x.view(1, 3, 2), 1, _w(x), _b(x)),
    "batch_norm": lambda x: _F.batch_norm(
        x.view(1, 3, 2), _b(x), _w(x).abs(), _w(x), _b(x), training=False
    ),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x.view(2, 3), 0.1 * x.view(2, 3)),
    "einsum over one alone": lambda x: torch.einsum("bi,j->jb", x.view(2, 3), _w(x)),
    "einsum of stacks": lambda x: torch.einsum("b...,b...->...", x.view(2, 3), x.view(2, 3)),
    "amax": lambda x: torch.amax(x.view(2, 3) * 1.1, 1) - torch.amin(x.view(2, 3) * 1.1, 1),
    "max": lambda x: (x.view(2, 3) / 3.0).max(1).values + (x.view(2, 3) / 7.0).min(1)[0],
    "max of two": lambda x: torch.max(0.3 * x[:, :3], x[:, 3:]) * torch.min(x[:, :3], x[:, 3:]),
    "max_pool2d": lambda x: _F.max_pool2d(0.3 * x.view(1, 2, 3), 2, 1),
    "slice_scatter": lambda x: torch.slice_scatter(0.3 * x, 0.7 * x[:, :2], 1, 1, 5, 2),
    "select_scatter": lambda x: torch.select_scatter(0.3 * x, x[:, 0] / 3.0, 1, 4),
    "max_pool1d": lambda x: _F.max_pool1d(0.3 * x.view(1, 1, 6), 3, 2, 1),
    "max_pool3d": lambda x: _F.max_pool3d(0.3 * x.view(1, 1, 2, 3), (1, 2, 2)),
    "largest of parts": lambda x: _F.adaptive_max_pool1d(0.3 * x.view(1, 1, 6), 4),
    "nearest": lambda x: _F.interpolate(0.3 * x.view(1, 1, 6), scale_factor=2),
    "linear": lambda x: _F.interpolate(x.view(1, 1, 6), size=11, mode="linear"),
    "bilinear": lambda x: _F.interpolate(
        x.view(1, 1, 2, 3), scale_factor=1.7, mode="bilinear", align_corners=True
    ),
    "trilinear": lambda x: _F.interpolate(x.view(1, 1, 1, 2, 3), size=(2, 3, 5), mode="trilinear"),
    "bicubic": lambda x: _F.interpolate(x.view(1, 1, 2, 3), size=(7, 5), mode="bicubic"),
    "sort": lambda x: torch.sort(x * 0.7, 1, descending=True).values * torch.arange(6),
    "averages": lambda x: _F.adaptive_avg_pool1d(x.view(1, 1, 6), 2),
    "averages of a plane": lambda x: _F.adaptive_avg_pool2d(x.view(1, 2, 3), (1, 1)),
    "moving average": lambda x: _F.avg_pool1d(x.view(1, 1, 6), 3, 1, 1),
    "as large": lambda x: _F.conv1d(x.view(1, 1, 6), _w(x).view(1, 1, 3), padding="same"),
    "shuffled": lambda x: 0.3 * _F.pixel_shuffle(x[:, :4].view(1, 4, 1, 1) * 0.7, 2),
    "at least": lambda x: torch.clamp_min(0.3 * x, 0.1) - torch.clamp_max(0.7 * x, 0.2),
    "norm": lambda x: torch.linalg.vector_norm(0.7 * x.view(2, 3), dim=1, keepdim=True),
    "norm of all": lambda x: torch.linalg.vector_norm(x).expand(2, 1),
    "addcmul": lambda x: torch.addcmul(x[:, :3], x[:, 3:], x[:, :3], value=0.3),
    "baddbmm": lambda x: torch.baddbmm(
        x.view(1, 2, 3), x.view(1, 2, 3), x[:, :3].expand(3, 3).unsqueeze(0), beta=0.3, alpha=1.7
    ),
    "cumsum": lambda x: torch.cumsum(x, 1),
    "celu": lambda x: _F.celu(x, 0.5),
    "selu": lambda x: _F.selu(x),
    "hardsigmoid": lambda x: _F.hardsigmoid(x),
    "hardswish": lambda x: _F.hardswish(x),
    "log_sigmoid": lambda x: _F.logsigmoid(x),
    "mish": lambda x: _F.mish(x),
    "prelu": lambda x: _F.prelu(x.view(1, 3, 2) - 0.5, _w(x)),
    "unfold": lambda x: (x * 0.3).unfold(1, 3, 2),
    "linspace": lambda x: torch.maximum(x, torch.linspace(1.3, 3.7, 6, dtype=x.dtype)),
    "erf": lambda x: torch.erf(x),
    "convolution": _conv,
}

#: Where they are looked at, and how far around: usual numbers, ones that cancel, huge, tiny, equal.
POINTS = {
    "usual": (torch.tensor([[0.5, -0.3, 0.8, 1.1, -0.9, 0.2]]), 0.05),
    "near each other": (torch.tensor([[1e3, 1e3 + 0.1, 1e3 - 0.1, 1e3, 1e3 + 1, 1e3]]), 0.01),
    "far apart": (torch.tensor([[90.0, -90.0, 1e-3, 30.0, -500.0, 2e3]]), 0.0),
    "tiny": (torch.tensor([[1e-30, -2e-30, 3e-38, 1e-20, 0.0, 1e-39]]), 0.0),
    "equal": (torch.full((1, 6), 0.3), 0.1),
}

#: No bound: the variance of equal numbers is lost, e.g. of 1e3 to an eps of 1e-5.
_MAY_BE_REFUSED = {"near each other", "far apart"}


@cache
def program_and_graph(name):
    program = exported(Applied(OPERATORS[name]), (1, 6))
    return program.module(check_guards=False), executed(program, {"x": (1, 6)})


def drawn(points, radius):
    """Points of the box in float32, half of them corners."""
    generator = torch.Generator().manual_seed(3)
    moves = 2.0 * torch.rand(60, 1, 6, generator=generator) - 1.0
    moves[::2] = moves[::2].sign()
    return [points + 0.999 * radius * each for each in moves]


def seen_and_proven(name, points, radius):
    """The largest deviations from float64 in linf and l2, and the bounds of both."""
    single, graph = program_and_graph(name)
    region = Ball({"x": points.double()}, radius, "linf")
    proven = [rounding_radius(graph, region, Norms(norm, norm)) for norm in ("linf", "l2")]
    with torch.no_grad():
        offs = [
            single(each).double() - OPERATORS[name](each.double()) for each in drawn(points, radius)
        ]
    seen = [max(float(off.abs().max()) for off in offs), max(float(off.norm()) for off in offs)]
    return seen, proven


@pytest.mark.parametrize("where", mostly_slow(POINTS, {"usual", "near each other"}))
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_stay_within_the_radius(name, where):
    points, radius = POINTS[where]
    try:
        seen, proven = seen_and_proven(name, points, radius)
    except NotCertified:
        assert where in _MAY_BE_REFUSED
        return
    for off, bound in zip(seen, proven, strict=True):
        assert off <= bound
    if where == "usual":
        assert 0.0 < proven[0] < 2e4 * max(seen[0], 2.0**-24)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_convolutions_are_sums_of_products_alone(batch_size):
    """Ways with fewer products, which the rule does not hold of, would leak from a large entry."""
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(16, 16, 3, 3, generator=generator)
    image = torch.zeros(batch_size, 16, 16, 16)
    image[:, :, 7, 7] = 1e6 * torch.randn(batch_size, 16, generator=generator)
    for convolve in (_F.conv2d, _F.conv_transpose2d):
        result = convolve(image, kernel, padding=1)
        result[:, :, 6:9, 6:9] = 0.0
        assert not bool(result.any())
