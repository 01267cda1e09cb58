"""Rules for padding, normalisation, contractions and order, held to what the programs do."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from all_bounds import assert_sound
from certisolve_server.certifier.domain import box
from certisolve_server.certifier.errors import PossiblyDiscontinuous, UnsupportedOperator
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball
from small_networks import Applied, exported, in_float64, sampled, steepest


class Contracted(nn.Module):
    """Einstein's sum over the input and weights."""

    def __init__(self, equation: str, *shape: int) -> None:
        super().__init__()
        self.equation = equation
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum(self.equation, x, self.weight)


def normalised(kind: type[nn.Module], channels: int) -> nn.Module:
    layer = kind(channels)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(channels, generator=generator))
        layer.bias.copy_(torch.randn(channels, generator=generator))
        layer.running_mean.copy_(torch.randn(channels, generator=generator))
        layer.running_var.copy_(torch.rand(channels, generator=generator) + 0.1)
    return layer


def written(x):
    """Parts of a copy written over, one of them through a view of a view."""
    y = x.clone()
    y[:, 1:3].mul_(3.0)
    y[:, 0] = 2.0 * x[:, 3]
    y.view(2, 2)[1].add_(x[0, :2])
    return y


def written_constant(x):
    """Of a constant, a part that varies."""
    y = torch.ones(1, 4, dtype=x.dtype)
    y[:, ::2] = x[:, 1:3]
    return y


AFFINE = {
    "written": (written, (1, 4)),
    "written_constant": (written_constant, (1, 4)),
    "zeros": (lambda x: functional.pad(x, (1, 2, 0, 1)), (1, 2, 3, 4)),
    "number": (lambda x: functional.pad(x, (1, 0), value=2.5), (1, 3)),
    "circular": (lambda x: functional.pad(x, (1, 2, 2, 1), mode="circular"), (1, 2, 3, 4)),
    "reflect": (lambda x: functional.pad(x, (2, 1), mode="reflect"), (1, 2, 4)),
    "replicate": (lambda x: functional.pad(x, (2, 1), mode="replicate"), (1, 2, 4)),
    "roll": (lambda x: torch.roll(x, (1, -2), (1, 2)), (1, 3, 4)),
    "roll_flat": (lambda x: torch.roll(x, 2), (1, 3, 2)),
    "transposed": (lambda x: x.mT, (1, 3, 2)),
    "narrow": (lambda x: torch.narrow(x, 1, 1, 2), (1, 4, 2)),
    "squeezed": (lambda x: x.squeeze(), (1, 3, 1, 2)),
    "squeezed_dims": (lambda x: x.squeeze((0, 2)), (1, 3, 1, 2)),
    "swapped": (lambda x: torch.swapaxes(x, 1, 2), (1, 3, 2)),
    "unfolded": (lambda x: x.unfold(1, 3, 2), (1, 7)),
    "split_sizes": (lambda x: torch.split(x, [1, 3], 1)[1], (1, 4)),
    "batch_norm_1d": (normalised(nn.BatchNorm1d, 3), (1, 3)),
    "batch_norm_2d": (normalised(nn.BatchNorm2d, 2), (1, 2, 3, 2)),
    "batch_norm_plain": (nn.BatchNorm2d(2, affine=False), (1, 2, 3, 2)),
    "dropout": (nn.Dropout(0.5), (1, 3)),
    "einsum": (Contracted("bi,oi->bo", 4, 3), (1, 3)),
    "einsum_three_axes": (Contracted("bix,iox->box", 3, 4, 5), (1, 3, 5)),
    "einsum_ellipsis": (Contracted("...i,oi->...o", 4, 3), (1, 2, 3)),
    "einsum_outer": (Contracted("bi,oi->boi", 4, 3), (1, 3)),
    "einsum_implicit": (Contracted("bi,oi", 4, 3), (1, 3)),
}

CURVED = {
    "amax": (lambda x: torch.amax(x, 1, keepdim=True), (1, 4, 2)),
    "amin": (lambda x: torch.amin(x, -1), (1, 3, 2)),
    "max_values": (lambda x: torch.max(x, 1)[0], (1, 5)),
    "min_values": (lambda x: torch.min(x, 1, keepdim=True).values, (1, 5)),
    "max_other": (lambda x: torch.max(x, x.flip(1) * 0.5), (1, 4)),
    "sort": (lambda x: torch.sort(x, 1).values * torch.arange(1.0, 5.0)[:, None], (1, 4, 2)),
    "sort_down": (
        lambda x: torch.sort(x, -1, descending=True)[0] * torch.arange(4.0),
        (1, 4),
    ),
    "max_pool": (nn.MaxPool2d(2), (1, 1, 4, 4)),
    "max_pool_overlapping": (nn.MaxPool2d(3, stride=1), (1, 1, 4, 4)),
    "einsum_of_two": (lambda x: torch.einsum("bi,bi->b", x, x * 2 + 1), (1, 3)),
}


def enclosed(program, lower, upper):
    graph = prepare(program, {"x": tuple(lower.shape)})
    return enclose(graph, box(graph, {"x": lower}, {"x": upper}))


def module_of(function):
    return function if isinstance(function, nn.Module) else Applied(function)


@pytest.mark.parametrize("name", AFFINE)
def test_slopes_of_affine_operators_are_the_jacobian_of_the_program(name):
    function, shape = AFFINE[name]
    program = exported(module_of(function), shape)
    lower = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = enclosed(program, lower, lower + 0.5)
    forward = in_float64(program)
    exact = torch.autograd.functional.jacobian(lambda x: forward(x).flatten(), lower).flatten(1)
    assert torch.allclose(found.jacobian.midpoint_radius()[0][0], exact, atol=1e-12)
    assert float(found.jacobian.midpoint_radius()[1].max()) < 1e-12
    at_corner = found.value.rearranged(lambda ends: ends[0])
    assert bool((at_corner.lower <= forward(lower) + 1e-12).all())
    assert bool((forward(lower) <= at_corner.upper + 1e-12).all())


@pytest.mark.parametrize("width", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("name", CURVED)
def test_no_pair_is_steeper_than_the_slopes_of_an_operator_allow(name, width):
    function, shape = CURVED[name]
    program = exported(module_of(function), shape)
    lower = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    found = enclosed(program, lower, lower + width)
    forward = in_float64(program)
    for norms, slope in steepest(forward, (lower, lower + width), 6).items():
        assert float(norms.bound(found.jacobian).max()) >= slope * (1 - 1e-9), norms
    for x in sampled((lower, lower + width), 50, torch.Generator().manual_seed(7)):
        y = forward(x)
        assert bool((found.value.lower[0] <= y + 1e-12).all())
        assert bool((y <= found.value.upper[0] + 1e-12).all())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + torch.sort(x, 1)[1],
        lambda x: x + torch.max(x, 1, keepdim=True)[1],
        lambda x: x + torch.min(x, 1, keepdim=True).indices,
    ],
)
def test_places_of_what_is_sorted_jump(function):
    with pytest.raises(PossiblyDiscontinuous, match="aten"):
        prepare(exported(Applied(function), (1, 3)), {"x": (1, 3)})


def test_statistics_of_the_batch_are_declined():
    layer = nn.BatchNorm1d(3, track_running_stats=False)
    program = exported(layer, (2, 3))
    with pytest.raises(UnsupportedOperator):
        enclosed(program, torch.zeros(2, 3).double(), torch.ones(2, 3).double())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum().sum(0) * x,
        lambda x: x.sum().mean(-1) * x,
        lambda x: x.sum().cumsum(0) * x,
        lambda x: x.sum().prod(0) * x,
        lambda x: torch.sin(x.sum()),
    ],
    ids=["sum", "mean", "cumsum", "prod", "one number of all"],
)
def test_one_number_has_no_axes(function):
    graph = prepare(exported(Applied(function), (1, 3)), {"x": (1, 3)})
    center = {"x": torch.full((1, 3), 0.3, dtype=torch.float64)}
    bounds = assert_sound(Problem(graph, Ball(center, 0.1, "l2"), Norms("l2", "l2")), 20, 2)
    assert bounds["splitting"] < math.inf


@pytest.mark.parametrize("exponent", [math.inf, math.nan, 1e300])
def test_powers_without_end_are_refused(exponent):
    with pytest.raises(UnsupportedOperator, match=r"aten\.pow"):
        prepare(exported(Applied(lambda x: x**exponent), (1, 3)), {"x": (1, 3)})


def test_a_transposed_convolution_of_which_nothing_is_left_is_refused():
    with pytest.raises(UnsupportedOperator, match="cuts off"):
        prepare(exported(nn.ConvTranspose2d(1, 1, 2, padding=1), (1, 1, 1, 3)), {"x": (1, 1, 1, 3)})
