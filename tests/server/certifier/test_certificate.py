"""Sets and norms that are none are refused, and weights that are no numbers."""

import math

import pytest
import torch
from torch import nn

from certisolve_server.certifier.domain import box
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from small_networks import exported


def test_norms_are_known_ones():
    with pytest.raises(InvalidRequest, match="l3"):
        Norms("l2", "l3")


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ({"x": torch.zeros(1, 3)}, {}),
        ({"y": torch.zeros(1, 3)}, {"y": torch.ones(1, 3)}),
        ({"x": torch.zeros(1, 4)}, {"x": torch.ones(1, 4)}),
        ({"x": torch.full((1, 3), -math.inf)}, {"x": torch.ones(1, 3)}),
        ({"x": torch.full((1, 3), math.nan)}, {"x": torch.ones(1, 3)}),
        ({"x": torch.ones(1, 3)}, {"x": torch.zeros(1, 3)}),
    ],
)
def test_boxes_that_are_none_are_refused(lower, upper):
    graph = prepare(exported(nn.Linear(3, 2), (1, 3)), {"x": (1, 3)})
    with pytest.raises(InvalidRequest):
        box(graph, lower, upper)


def test_weights_that_are_not_numbers_are_refused():
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight[0, 1] = math.nan
    with pytest.raises(NotCertified, match="p_inner_weight"):
        prepare(exported(net, (1, 3)), {"x": (1, 3)})
