"""Rules of operators that are others put together hold values, slopes and differences."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from certisolve_server.certifier.domain import box
from certisolve_server.certifier.errors import UnsupportedOperator
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.prepare import prepare
from enclosed import assert_encloses
from small_networks import Applied, exported

WEIGHT = torch.tensor([0.5, -2.0, 1.5, 0.1, -0.3, 3.0])
BIAS = torch.tensor([0.1, 0.2, -0.3, 0.4, -0.5, 0.6])

OPERATORS = {
    "softmax": lambda x: torch.softmax(x, 1),
    "softmax over rows": lambda x: torch.softmax(x.view(2, 3), 0),
    "log_softmax": lambda x: torch.log_softmax(x.view(1, 3, 2), 1),
    "logsumexp": lambda x: torch.logsumexp(x.view(2, 3), 1, keepdim=True) * x[:, :2].T,
    "logaddexp": lambda x: torch.logaddexp(x[:, :3], 2.0 * x[:, 3:]),
    "attention": lambda x: torch.softmax(x.view(2, 3) @ x.view(3, 2), 1) @ x.view(2, 3),
    "layer_norm": lambda x: functional.layer_norm(x, (6,), WEIGHT.to(x), BIAS.to(x), 0.1),
    "layer_norm of matrices": lambda x: functional.layer_norm(x.view(1, 2, 3), (2, 3), eps=0.2),
    "group_norm": lambda x: functional.group_norm(
        x.view(1, 6, 1), 2, WEIGHT.to(x), BIAS.to(x), 0.3
    ),
    "prelu": lambda x: functional.prelu(x, WEIGHT[:1].to(x)),
    "prelu by channel": lambda x: functional.prelu(x.view(1, 2, 3), WEIGHT[:2].to(x)),
    "mish": lambda x: functional.mish(x),
    "hardswish": lambda x: functional.hardswish(4.0 * x),
    "hardsigmoid": lambda x: functional.hardsigmoid(4.0 * x),
    "logsigmoid": lambda x: functional.logsigmoid(3.0 * x),
    "selu": lambda x: functional.selu(x),
    "celu": lambda x: functional.celu(x, 0.5),
    "addcmul": lambda x: torch.addcmul(x, x.flip(1), torch.sin(x), value=0.7),
    "baddbmm": lambda x: torch.baddbmm(x.view(1, 2, 3)[:, :, :2], x.view(1, 2, 3), x.view(1, 3, 2)),
    "cumsum": lambda x: torch.cumsum(x.view(2, 3), 1),
    "adaptive": lambda x: functional.adaptive_avg_pool1d(x.view(1, 1, 6), 3),
    "adaptive plane": lambda x: functional.adaptive_avg_pool2d(x.view(1, 1, 2, 3), (2, 1)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_values_slopes_and_differences_lie_inside(name):
    assert_encloses(exported(Applied(OPERATORS[name]), (1, 6)), (1, 6))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "layer_norm", "mish"])
def test_enclosures_of_points_are_narrow(name):
    program = exported(Applied(OPERATORS[name]), (1, 6))
    graph = prepare(program, {"x": (1, 6)})
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(1, 6)
    found = enclose(graph, box(graph, {"x": x}, {"x": x}))
    for each in (found.value, found.jacobian):
        assert (each.upper - each.lower).max() < 1e-11


def test_a_softmax_of_large_numbers_stays_between_0_and_1():
    graph = prepare(exported(nn.Softmax(1), (1, 3)), {"x": (1, 3)})
    ends = {"x": torch.tensor([[-1e300, 0.0, 5.0]], dtype=torch.float64)}
    tops = {"x": torch.tensor([[1e300, 800.0, 900.0]], dtype=torch.float64)}
    found = enclose(graph, box(graph, ends, tops))
    assert bool(((found.value.lower >= 0) & (found.value.upper <= 1)).all())
    assert bool((found.jacobian.magnitude <= 1 + 1e-12).all())


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: functional.celu(x, 0.3),
        lambda x: functional.prelu(x, x[0, :1]),
        lambda x: torch.logsumexp(x.view(2, 3), (0, 1)),
    ],
)
def test_what_no_rule_holds_of_is_refused(operation):
    with pytest.raises(UnsupportedOperator):
        prepare(exported(Applied(operation), (1, 6)), {"x": (1, 6)})
