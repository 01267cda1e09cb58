"""Convolutions on circles, block by block, are those of the network, or hold them."""

import pytest
import torch
from torch import nn

from certisolve_server.certifier.chains import bound
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.structure import fuse
from certisolve_server.certifier.structure.circles import circles_of
from certisolve_server.certifier.structure.operators import operators_of
from layered_networks import convolutional
from small_networks import exported, in_float64, steepest


class Powers(nn.Module):
    """A function with no slope but one, so that the network is affine without being fused."""

    def forward(self, x):
        return nn.functional.leaky_relu(x, 1.0)


def lines(mode: str, strides: tuple[int, ...], function: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for stride in strides:
        layers += [
            nn.Conv1d(2, 2, 3, stride=stride, padding=1, padding_mode=mode),
            function,
        ]
    return nn.Sequential(*layers)


def planes(mode: str, stride: int, function: nn.Module) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode),
        function,
        nn.Conv2d(2, 4, 3, padding=1, stride=stride, padding_mode=mode, groups=2),
        function,
    )


NETWORKS = {
    "circular": (lines("circular", (1, 1), Powers()), (1, 2, 8)),
    "circular_strided": (lines("circular", (2, 1, 2), Powers()), (1, 2, 8)),
    "circular_plane": (planes("circular", 1, Powers()), (1, 1, 4, 6)),
    "circular_plane_strided": (planes("circular", 2, Powers()), (1, 1, 4, 6)),
    "zeros": (lines("zeros", (1, 1), Powers()), (1, 2, 7)),
    "zeros_strided": (lines("zeros", (2, 1, 3), Powers()), (1, 2, 11)),
    "zeros_plane": (planes("zeros", 2, Powers()), (1, 1, 5, 4)),
}


def forms(net, shape):
    graph = prepare(exported(net, shape), {"x": shape})
    return fuse(graph), circles_of(operators_of(graph))


def norm_of(matrices):
    whole = matrices[0]
    for matrix in matrices[1:]:
        whole = matrix @ whole
    return float(torch.linalg.matrix_norm(whole, 2).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_those_of_the_circular_network_and_hold_the_others(name):
    layered, circles = forms(*NETWORKS[name])
    count = len(layered.layers)
    for stop in range(1, count + 1):
        exact = norm_of([layered.layers[k].maps[k].lower for k in range(stop)])
        found = norm_of([circles.chain.maps[k].lower for k in range(stop)])
        if name.startswith("circular"):
            assert found == pytest.approx(exact, rel=1e-9)
        else:
            assert exact * (1 - 1e-9) <= found < 2 * exact


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("function", [nn.ReLU(), nn.LeakyReLU(0.3), nn.GELU()])
def test_no_pair_is_steeper_than_the_chain_allows(mode, stride, function):
    torch.manual_seed(stride)
    program = exported(convolutional(stride, mode, function), (1, 1, 6, 6))
    graph = prepare(program, {"x": (1, 1, 6, 6)})
    circles = circles_of(operators_of(graph))
    left = iter(range(20))
    found = bound(circles.chain, lambda: next(left, None) is not None)
    upper = found.upper * circles.tail.norm("l2")
    box = (torch.full((1, 1, 6, 6), -2.0).double(), torch.full((1, 1, 6, 6), 2.0).double())
    assert steepest(in_float64(program), box, 1)[Norms("l2", "l2")] <= upper < 10.0


def test_what_is_no_row_of_convolutions_is_left_alone():
    for net, shape in (
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (1, 3)),
        (nn.Sequential(nn.Conv1d(1, 1, 3)), (1, 1, 5)),
        (
            nn.Sequential(
                nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"),
                nn.ReLU(),
                nn.Conv1d(1, 1, 3, padding=1),
                nn.ReLU(),
            ),
            (1, 1, 5),
        ),
    ):
        graph = prepare(exported(net, shape), {"x": shape})
        with pytest.raises(NotCertified):
            circles_of(operators_of(graph))
