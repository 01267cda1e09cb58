"""What rules say of a program, held to what it does."""

import torch
from torch import Tensor
from torch.export import ExportedProgram

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.domain import box
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.prepare import prepare
from small_networks import in_float64, sampled


def assert_encloses(program: ExportedProgram, shape: tuple[int, ...]) -> None:
    """Values, Jacobians and differences at points of small and large boxes lie inside."""
    graph = prepare(program, {"x": shape})
    whole = in_float64(program)

    def function(x: Tensor) -> Tensor:
        output = whole(x.reshape(shape))
        return (output[0] if isinstance(output, tuple | list) else output).flatten()

    generator = torch.Generator().manual_seed(0)
    steps = torch.linspace(0, 0.5, torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
    for center, radius in ((0.1, 0.0), (0.3, 0.05), (0.0, 0.6), (-0.7, 3.0)):
        lower, upper = center + steps - radius, center + steps + radius
        found = enclose(graph, box(graph, {"x": lower}, {"x": upper}))
        points = sampled((lower, upper), 12, generator).flatten(1)
        for x, y in zip(points, points.flip(0), strict=True):
            _assert_inside(function(x), found.value.rearranged(lambda end: end.flatten()))
            jacobian = torch.autograd.functional.jacobian(function, x)
            _assert_inside(jacobian, found.jacobian.rearranged(lambda end: end[0]))
            change = (found.jacobian.magnitude[0] @ (x - y).abs()) + 1e-9
            assert bool(((function(x) - function(y)).abs() <= change).all())


def _assert_inside(numbers: Tensor, interval: Interval) -> None:
    # torch differentiates hardsigmoid with a sixth in float32.
    slack = 1e-7 * (1 + numbers.abs())
    assert bool((numbers >= interval.lower - slack).all())
    assert bool((numbers <= interval.upper + slack).all())
