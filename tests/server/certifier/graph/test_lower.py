"""A lowered graph is the program, at fixed sizes, and nothing else of it."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from certisolve_server.certifier.domain import box, values
from certisolve_server.certifier.errors import InvalidRequest, UnsupportedOperator
from certisolve_server.certifier.graph.digest import digest
from certisolve_server.certifier.graph.fold import fold
from certisolve_server.certifier.graph.lower import lower
from certisolve_server.certifier.interpreter import evaluate, interpret
from certisolve_server.certifier.prepare import prepare
from small_networks import Applied, bundled, exported, perceptron


def test_sizes_are_numbers_and_assertions_and_dead_nodes_are_gone():
    program = bundled("kan-formula")
    graph = lower(program, {"variables_0": (1, 3), "variables_1": (1, 3)}, {})

    operators = {node.operator for node in graph.nodes}
    assert "aten.sym_size.int" not in operators
    assert "aten._assert_tensor_metadata.default" not in operators
    last = graph.nodes[-1]
    assert (last.operator, last.shape) == ("aten.reshape.default", (1, 3))
    assert last.arguments["shape"] == (1, 3)


def test_arguments_carry_the_names_and_defaults_of_the_schema():
    graph = lower(exported(Applied(lambda x: x + 2), (1, 3)), {"x": (1, 3)}, {})

    (node,) = graph.nodes
    assert dict(node.arguments)["other"] == 2
    assert dict(node.arguments)["alpha"] == 1


def test_constants_are_the_float32_numbers_exactly():
    module = nn.Linear(3, 2)
    graph = lower(exported(module, (1, 3)), {"x": (1, 3)}, {})

    weight = graph.constants["p_inner_weight"].value
    assert weight.is_exact
    assert torch.equal(weight.lower, module.weight.detach().double())


def test_frozen_inputs_and_what_depends_on_them_alone_are_folded():
    program = bundled("spiral-neural-feedback")
    frozen = {"observer": torch.zeros(1, 2), "gain": torch.ones(1)}
    graph = fold(lower(program, {"x": (1, 2)}, frozen), evaluate)

    assert [each.name for each in graph.inputs] == ["x"]
    for node in graph.nodes:
        assert any(ref.name not in graph.constants for ref in node.refs)


def test_an_output_is_chosen_and_the_others_do_not_matter():
    class Two(nn.Module):
        def forward(self, x):
            return x * 2, torch.argmax(x, 1)

    graph = lower(torch.export.export(Two(), (torch.zeros(1, 3),)), {"x": (1, 3)}, {}, output=0)

    assert [node.operator for node in graph.nodes] == ["aten.mul.Tensor"]


@pytest.mark.parametrize(
    ("shapes", "frozen"),
    [
        ({}, {"x": torch.zeros(1, 3)}),
        ({"x": (1, 4)}, {}),
        ({"x": (3,)}, {}),
        ({"x": (1, 3), "y": (1, 3)}, {}),
        ({"y": (1, 3)}, {}),
    ],
)
def test_inputs_that_the_program_does_not_have_are_refused(shapes, frozen):
    with pytest.raises(InvalidRequest):
        lower(exported(nn.Linear(3, 2), (1, 3)), shapes, frozen)


def test_sizes_outside_of_the_exported_range_are_refused():
    program = torch.export.export(
        nn.Linear(3, 2), (torch.zeros(4, 3),), dynamic_shapes=({0: Dim("batch", min=2, max=8)},)
    )
    lower(program, {"input": (8, 3)}, {})
    with pytest.raises(InvalidRequest):
        lower(program, {"input": (9, 3)}, {})


def test_an_unknown_output_is_refused():
    with pytest.raises(InvalidRequest, match="1 outputs"):
        lower(exported(nn.Linear(3, 2), (1, 3)), {"x": (1, 3)}, {}, output=1)


@pytest.mark.parametrize("alias", [lambda x: x, lambda x: x[:, :1]])
def test_writes_in_place_to_what_a_program_made_itself_are_seen_by_later_readers(alias):
    def write(x):
        copy = x.clone()
        alias(copy).add_(1)
        return copy * 2

    graph = prepare(exported(Applied(write), (1, 3)), {"x": (1, 3)})
    x = torch.tensor([[0.5, -2.0, 4.0]], dtype=torch.float64)
    point = {"x": x}
    value = interpret(graph, values(box(graph, point, point))).value
    assert bool(value.contains(write(x)).all())


def test_writes_in_place_to_inputs_are_refused():
    program = exported(Applied(lambda x: x.add_(1)), (1, 3))
    with pytest.raises(UnsupportedOperator, match="changes"):
        lower(program, {"x": (1, 3)}, {})


def test_results_whose_shape_depends_on_numbers_are_refused():
    program = bundled("spiral-feedback")
    nodes = program.graph.nodes
    relu = next(node for node in nodes if node.target is torch.ops.aten.relu.default)
    relu.target = torch.ops.aten.nonzero.default
    with pytest.raises(UnsupportedOperator, match="nonzero"):
        lower(program, {"x": (1, 2)}, {"observer": torch.zeros(1, 2), "gain": torch.ones(1)})


def test_the_digest_is_of_the_map_alone():
    def of(module, size=3):
        return digest(lower(exported(module, (1, size)), {"x": (1, size)}, {}))

    net = perceptron(nn.Tanh(), 3, 4, 2, seed=1)
    again = perceptron(nn.Tanh(), 3, 4, 2, seed=1)
    assert of(net) == of(again)
    with torch.no_grad():
        again[0].weight[0, 0] = torch.nextafter(again[0].weight[0, 0], torch.tensor(9.0))
    assert of(net) != of(again)
    assert of(net) != of(perceptron(nn.Sigmoid(), 3, 4, 2, seed=1))


def test_one_request_fits_a_batch_of_which_export_assumes_two():
    program = torch.export.export(
        nn.Linear(3, 2), (torch.zeros(4, 3),), dynamic_shapes=({0: Dim.DYNAMIC},)
    )
    (name,) = program.graph_signature.user_inputs
    assert lower(program, {name: (1, 3)}, {}).inputs[0].shape == (1, 3)
    with pytest.raises(InvalidRequest):
        lower(program, {name: (0, 3)}, {})
