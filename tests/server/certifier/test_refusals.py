"""A graph with an operator that has no proof is refused by its name, wherever it stands."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from certisolve_server.certifier.errors import PossiblyDiscontinuous, UnsupportedOperator
from certisolve_server.certifier.prepare import prepare
from small_networks import Applied, exported, perceptron

#: Continuous nowhere, or gates that no pattern makes continuous.
JUMPING = {
    "argmax": lambda h: h + torch.argmax(h, 1, keepdim=True),
    "argsort": lambda h: h + torch.argsort(h, 1),
    "ceil": torch.ceil,
    "eq": lambda h: h * (h == 0),
    "floor": torch.floor,
    "fmod": lambda h: torch.fmod(h, 0.3),
    "frac": torch.frac,
    "ge": lambda h: h * (h >= 0.1),
    "gt": lambda h: h * (h > 0.1).float(),
    "heaviside": lambda h: torch.heaviside(h, torch.ones(1)),
    "isfinite": lambda h: h * torch.isfinite(h),
    "logical_not": lambda h: h * torch.logical_not(h),
    "masked_fill": lambda h: h.masked_fill(h > 0, 1.0),
    "ne": lambda h: h * (h != 0),
    "remainder": lambda h: torch.remainder(h, 0.3),
    "round": torch.round,
    "sign": torch.sign,
    "sort": lambda h: torch.sort(h, 1)[1] * h,
    "to": lambda h: h.to(torch.int64).float(),
    "topk": lambda h: torch.topk(h, 2, 1)[1].sum(1, keepdim=True) + h,
    "trunc": torch.trunc,
    "where": lambda h: torch.where(h > 0.1, h, -h),
}

#: Without a rule, most of them continuous.
UNKNOWN = {
    "acos": torch.acos,
    "atan": torch.atan,
    "cumprod": lambda h: torch.cumprod(h, 1),
    "digamma": torch.digamma,
    "lgamma": torch.lgamma,
    "linalg_inv": lambda h: h @ torch.linalg.inv(h.T @ h),
    "logcumsumexp": lambda h: torch.logcumsumexp(h, 1),
    "nan_to_num": torch.nan_to_num,
    "sinh": torch.sinh,
    "tan": torch.tan,
    "tril": torch.tril,
}


@pytest.mark.parametrize("name", JUMPING)
def test_an_operator_that_jumps_is_refused_by_name(name):
    with pytest.raises(PossiblyDiscontinuous) as refused:
        prepare(exported(Applied(JUMPING[name]), (1, 4)), {"x": (1, 4)})
    assert refused.value.operator.startswith("aten.")
    assert refused.value.node in str(refused.value)


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operator_without_a_rule_is_refused_by_name(name):
    with pytest.raises(UnsupportedOperator) as refused:
        prepare(exported(Applied(UNKNOWN[name]), (1, 4)), {"x": (1, 4)})
    assert name in refused.value.operator
    assert refused.value.node in str(refused.value)


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(sorted(JUMPING | UNKNOWN)),
    activation=st.sampled_from([nn.ReLU(), nn.Tanh(), nn.GELU(), nn.SiLU()]),
    depth=st.integers(1, 4),
    place=st.integers(0, 100),
)
def test_a_bad_operator_anywhere_in_a_network_is_refused(kind, activation, depth, place):
    layers = list(perceptron(activation, *[4] * (depth + 1)))
    layers.insert(place % (len(layers) + 1), Applied((JUMPING | UNKNOWN)[kind]))
    with pytest.raises((PossiblyDiscontinuous, UnsupportedOperator)):
        prepare(exported(nn.Sequential(*layers), (1, 4)), {"x": (1, 4)})


def test_a_bad_operator_that_does_not_reach_the_output_does_not_matter():
    class Unused(nn.Module):
        def forward(self, x):
            torch.round(x)
            return torch.tanh(x)

    assert len(prepare(exported(Unused(), (1, 4)), {"x": (1, 4)}).nodes) == 1


def test_a_gate_that_constants_decide_is_no_gate():
    mask = torch.arange(4) % 2 == 0
    graph = prepare(exported(Applied(lambda x: torch.where(mask, x, -x)), (1, 4)), {"x": (1, 4)})

    assert [node.operator for node in graph.nodes] == ["aten.neg.default", "aten.where.self"]


def test_gates_of_frozen_inputs_are_decided_where_they_are_known_exactly():
    program = exported(Applied(lambda x, y: x * (y >= 1.0)), (1, 4), (1, 4))
    prepare(program, {"x": (1, 4)}, {"y": torch.ones(1, 4)})
    with pytest.raises(PossiblyDiscontinuous):
        prepare(program, {"y": (1, 4)}, {"x": torch.ones(1, 4)})

    # A third, times three, may be on either side of 1: in float32 it is known, as a real not.
    rounded = exported(Applied(lambda x, y: x * (y / 3 * 3 >= 1.0)), (1, 4), (1, 4))
    with pytest.raises(PossiblyDiscontinuous):
        prepare(rounded, {"x": (1, 4)}, {"y": torch.ones(1, 4)})


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x**0.5,
        lambda x: nn.functional.softplus(x, threshold=1.0),
        lambda x: nn.functional.elu(x, alpha=-1.0),
        lambda x: nn.functional.avg_pool2d(x.view(1, 1, 2, 2), 2, divisor_override=3),
        lambda x: nn.functional.conv2d(x.view(1, 1, 2, 2), x.view(1, 1, 2, 2)),
    ],
    ids=["root as power", "softplus that jumps", "falling elu", "another divisor", "kernel varies"],
)
def test_arguments_that_a_rule_does_not_hold_for_are_refused(function):
    with pytest.raises(UnsupportedOperator):
        prepare(exported(Applied(function), (1, 4)), {"x": (1, 4)})
