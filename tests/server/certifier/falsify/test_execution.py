"""The plain execution of a graph is its program, of each bundled model; soft kinks become hard."""

import math

import pytest
import torch

from bundled_requests import REQUESTS
from certisolve_server.certifier.execution import Execution
from certisolve_server.certifier.falsify.gates import KINKED, softened
from certisolve_server.certifier.prepare import prepare
from slow_ones import mostly_slow
from small_networks import Applied, bundled, exported, in_float64


@pytest.mark.parametrize(
    "name", mostly_slow(REQUESTS, set(REQUESTS) - {"poisson-dcdm", "darcy2d-fno"})
)
def test_bundled_models(name):
    request = REQUESTS[name]
    program, fixed = bundled(name), request.fixed()
    graph = prepare(program, request.shapes, fixed)
    rows = torch.cat([value.flatten() for value in request.centers().values()]).repeat(2, 1)
    rows[1] *= 1.1
    computed = Execution(graph).function()(rows)
    function = in_float64(program)
    for row, values in zip(rows, computed, strict=True):
        parts = row.split([math.prod(shape) for shape in request.shapes.values()])
        varying = zip(request.shapes.items(), parts, strict=True)
        given = {key: part.reshape(shape) for (key, shape), part in varying}
        given |= {key: value.double() for key, value in fixed.items()}
        output = function(*(given[key] for key in program.graph_signature.user_inputs))
        expected = (output[0] if isinstance(output, tuple | list) else output).flatten()
        assert torch.allclose(values, expected, rtol=1e-8, atol=1e-10 * float(expected.abs().max()))


KINKS = {
    "aten.abs.default": torch.abs,
    "aten.clamp.default": lambda x: torch.clamp(x, -0.4, 0.3),
    "aten.hardtanh.default": torch.nn.Hardtanh(),
    "aten.leaky_relu.default": torch.nn.LeakyReLU(0.3),
    "aten.maximum.default": lambda x: torch.maximum(x, 0.3 - x),
    "aten.minimum.default": lambda x: torch.minimum(x, 0.3 - x),
    "aten.relu.default": torch.relu,
    "aten.relu6.default": torch.ops.aten.relu6.default,
}


@pytest.mark.parametrize("operator", sorted(KINKED))
def test_softened_kinks_tend_to_hard_ones(operator):
    graph = prepare(exported(Applied(KINKS[operator]), (1, 50)), {"x": (1, 50)})
    assert operator in {node.operator for node in graph.nodes}
    execution = Execution(graph)
    x = torch.linspace(-8.0, 8.0, 50, dtype=torch.float64).reshape(1, 50)
    hard = execution.function()(x)
    errors = [
        float((execution.function(softened(t))(x) - hard).abs().max()) for t in (1.0, 0.1, 1e-4)
    ]
    assert errors[0] > errors[1] > 10 * errors[2]
    assert errors[2] < 1e-3
