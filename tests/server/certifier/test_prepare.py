"""Each bundled program becomes a graph of which every node has a rule."""

import pytest
import torch

from certisolve_server.certifier.interpreter import refuse_unsupported
from certisolve_server.certifier.prepare import prepare
from small_networks import ARTIFACTS, bundled

#: What varies, with its shape, and what is frozen.
REQUESTS = {
    "burgers1d-fno": ({"initial_condition": (1, 48)}, {}),
    "darcy2d-fno": ({"coefficient": (1, 25, 25)}, {}),
    "diffreact-multionet": ({"inputs_0": (1, 101)}, {"inputs_1": (1, 2), "inputs_2": (1, 2)}),
    "kan-formula": ({"variables_0": (1, 1)}, {"variables_1": (1, 1)}),
    "kan-friction": ({"reynolds": (1, 1), "roughness": (1, 1)}, {}),
    "ks1d-ffno": ({"frame": (1, 64)}, {}),
    "ks1d-memno": ({"frame": (1, 64)}, {"state": (1, 64, 48, 2, 16)}),
    "ns2d-fno": ({"w": (1, 20, 20)}, {}),
    "poisson-dcdm": ({"r": (1, 64, 64)}, {"a": (1, 64, 64)}),
    "projectile-feedback": ({"x": (1, 6)}, {"observer": (1, 6), "gain": (1,)}),
    "projectile-neural-feedback": ({"x": (1, 6)}, {"observer": (1, 6), "gain": (1,)}),
    "spiral-feedback": ({"x": (1, 2)}, {"observer": (1, 2), "gain": (1,)}),
    "spiral-neural-feedback": ({"x": (1, 2)}, {"observer": (1, 2), "gain": (1,)}),
    "vanderpol-node": ({"y": (1, 2), "mu": (1,)}, {"t": (1,)}),
}


def test_the_list_of_bundled_models_is_complete():
    assert {path.parent.parent.name for path in ARTIFACTS.glob("*/*/program.pt2")} == set(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_every_node_of_a_bundled_program_has_a_rule(name):
    shapes, frozen = REQUESTS[name]
    graph = prepare(
        bundled(name), shapes, {key: torch.full(shape, 0.5) for key, shape in frozen.items()}
    )

    refuse_unsupported(graph)
    assert graph.nodes
