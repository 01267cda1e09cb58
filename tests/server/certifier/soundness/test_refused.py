"""Operators without a proof, put in at random places: all of them are refused by their names."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.export import ExportedProgram

from bundled_requests import REQUESTS
from certisolve_server.certifier.errors import PossiblyDiscontinuous, UnsupportedOperator
from certisolve_server.certifier.graph.integers import INTEGER_OPERATORS
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.rules import RULES
from random_networks import Lambda, networks
from small_networks import bundled, exported

#: What jumps; each keeps the shape. Of values that vary there is no bound for any of them.
JUMPING = {
    "round": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "frac": torch.frac,
    "sign": torch.sign,
    "fmod": lambda x: torch.fmod(x, 0.3),
    "remainder": lambda x: torch.remainder(x, 0.3),
    "argmax": lambda x: x + torch.argmax(x, -1, keepdim=True),
    "argmin": lambda x: x * torch.argmin(x, -1, keepdim=True),
    "argsort": lambda x: x + torch.argsort(x, -1),
    "where": lambda x: torch.where(x > 0.1, x, -x),
    "where of another": lambda x: torch.where(x.flip(-1) > 0.1, x, 2.0 * x),
    "ge": lambda x: x * (x >= 0.1),
    "lt": lambda x: x * (x < 0.1).float(),
    "eq": lambda x: x + (x == 0.0),
    "ne": lambda x: x * (x != 0.5),
    "masked_fill": lambda x: x.masked_fill(x > 0, 1.0),
    "heaviside": lambda x: torch.heaviside(x, torch.ones(1)),
    "to integers": lambda x: x.to(torch.int64).to(x.dtype),
    "sort's order": lambda x: torch.sort(x, -1)[1] * x,
    "threshold": lambda x: nn.functional.threshold(x, 0.1, 20.0),
    "hardshrink": nn.functional.hardshrink,
    "bucketize": lambda x: x + torch.bucketize(x, torch.tensor([0.0, 1.0])),
    "searchsorted": lambda x: x + torch.searchsorted(torch.tensor([0.0, 1.0]), x),
    "gather": lambda x: torch.gather(x, -1, torch.argsort(x, -1)),
    "isfinite": lambda x: x * torch.isfinite(x),
    "signbit": lambda x: x * torch.signbit(x),
}

#: What chance decides, or what has no rule; each keeps the shape.
UNKNOWN = {
    "bernoulli": lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
    "rand_like": lambda x: x + torch.rand_like(x),
    "cumprod": lambda x: torch.cumprod(x, -1),
    "atan": torch.atan,
    "asinh": torch.asinh,
    "digamma": torch.digamma,
    "lgamma": torch.lgamma,
    "erfinv": torch.erfinv,
    "nan_to_num": torch.nan_to_num,
    "fft": lambda x: torch.fft.fft(x).real,
    "qr": lambda x: torch.linalg.qr(x.flatten(1))[0].sum() + x,
    "cdist": lambda x: x + torch.cdist(x.flatten(1), x.flatten(1) + 1.0).sum(),
    "median": lambda x: x - torch.median(x),
    "kthvalue": lambda x: x + torch.kthvalue(x, 1, -1)[0].unsqueeze(-1),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, -1),
}

ALL = JUMPING | UNKNOWN


def refusal(program, shapes, frozen=None) -> Exception:
    with pytest.raises((PossiblyDiscontinuous, UnsupportedOperator)) as refused:
        prepare(program, shapes, frozen or {})
    found = refused.value
    assert found.operator in str(found)
    assert found.node in str(found)
    return found


@pytest.mark.parametrize("name", ALL)
def test_each_alone(name):
    found = refusal(exported(Lambda(ALL[name]), (1, 4)), {"x": (1, 4)})
    if name in JUMPING:
        assert isinstance(found, PossiblyDiscontinuous) or found.operator not in RULES


@settings(max_examples=15, deadline=None)
@given(net=networks(4, most_layers=3), name=st.sampled_from(sorted(ALL)), place=st.integers(0, 100))
def test_anywhere_in_a_random_network(net, name, place):
    layers = list(net)
    layers.insert(place % (len(layers) + 1), Lambda(ALL[name]))
    refusal(exported(nn.Sequential(*layers), (1, 4)), {"x": (1, 4)})


def poisoned(program: ExportedProgram, varying: set[str], name: str, place: int) -> None:
    """Puts the operator behind a node that depends on the varying inputs, and on which others do.

    The node is one from which the output is reached; its users get the changed value.
    """
    graph = program.graph
    reached: set[torch.fx.Node] = set()
    candidates = []
    for node in graph.nodes:
        depends = node.name in varying or any(each in reached for each in node.all_input_nodes)
        if node.op in ("placeholder", "call_function") and depends:
            reached.add(node)
            value = node.meta.get("val")
            is_real = isinstance(value, torch.Tensor) and value.is_floating_point()
            if is_real and value.ndim and node.users:
                candidates.append(node)
    node = candidates[place % len(candidates)]
    target, arguments = OPERATORS[name]
    with graph.inserting_after(node):
        changed = graph.call_function(target, (node, *arguments))
    changed.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(changed, delete_user_cb=lambda user: user is not changed)
    program.graph_module.recompile()


#: One overload each, of tensors of any shape.
OPERATORS = {
    "round": (torch.ops.aten.round.default, ()),
    "floor": (torch.ops.aten.floor.default, ()),
    "ceil": (torch.ops.aten.ceil.default, ()),
    "trunc": (torch.ops.aten.trunc.default, ()),
    "sign": (torch.ops.aten.sign.default, ()),
    "fmod": (torch.ops.aten.fmod.Scalar, (0.3,)),
    "frac": (torch.ops.aten.frac.default, ()),
    "hardshrink": (torch.ops.aten.hardshrink.default, (0.5,)),
    "threshold": (torch.ops.aten.threshold.default, (0.1, 20.0)),
    "cumprod": (torch.ops.aten.cumprod.default, (-1,)),
    "bernoulli": (torch.ops.aten.bernoulli.default, ()),
    "atan": (torch.ops.aten.atan.default, ()),
    "nan_to_num": (torch.ops.aten.nan_to_num.default, ()),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_anywhere_in_a_bundled_model(name):
    assert_refused_anywhere(name, range(list(REQUESTS).index(name), 1000, 1000))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", REQUESTS)
def test_everywhere_in_a_bundled_model(name):
    assert_refused_anywhere(name, range(30))


def assert_refused_anywhere(name, numbers):
    """Operators in turn, each at a place of its own; or the place does not reach the output."""
    request = REQUESTS[name]
    for number in numbers:
        operator = sorted(OPERATORS)[number % len(OPERATORS)]
        target = str(OPERATORS[operator][0])
        program = bundled(name)
        poisoned(program, set(request.shapes), operator, 37 * number + 11)
        try:
            graph = prepare(program, request.shapes, request.fixed())
        except (PossiblyDiscontinuous, UnsupportedOperator) as refused:
            told = refused
        else:
            assert target not in {node.operator for node in graph.nodes}
            continue
        # Of a spline that is not recognised any more, its own gates may be named first.
        assert told.operator == target or told.operator not in RULES


#: Operators that have a rule, with arguments of which it does not hold.
DECLINED = {
    "aten.dropout.default": lambda x: nn.functional.dropout(torch.tanh(x), 0.5, training=True),
    "aten.batch_norm.default": lambda x: nn.functional.batch_norm(x, None, None, training=True),
    "aten.pow.Tensor_Scalar": lambda x: torch.sigmoid(x) ** 0.3,
    "aten.celu.default": lambda x: nn.functional.celu(x, 0.3),
}


@pytest.mark.parametrize("operator", DECLINED)
@pytest.mark.parametrize("before", [nn.Identity(), Lambda(torch.log)], ids=["x", "log x"])
def test_what_has_a_rule_for_other_arguments_alone(operator, before):
    """Also behind what has no bound of anything, so that no rule was tried on it by a method."""
    program = exported(nn.Sequential(before, Lambda(DECLINED[operator])), (2, 4))
    found = refusal(program, {next(iter(program.graph_signature.user_inputs)): (2, 4)})
    assert isinstance(found, UnsupportedOperator)
    assert found.operator == operator


def test_what_jumps_has_no_rule():
    jumping = {str(target) for target, _ in OPERATORS.values()}
    assert not jumping & set(RULES)
    assert not jumping & INTEGER_OPERATORS
