"""Layers are the graph: their slopes at a point are those of the program there."""

import pytest
import torch
from torch import nn

from certisolve_server.certifier.arithmetic import Interval, matmul
from certisolve_server.certifier.chains import Folding, Slopes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Box
from certisolve_server.certifier.structure import chained, fuse, layers_of
from layered_networks import SMOOTH, MaxMin
from small_networks import exported, in_float64, perceptron


def jacobian_of(layered):
    """The product of all maps and of the middles of all slopes."""
    paths = {0: Interval.exact(torch.eye(layered.inputs, dtype=torch.float64))}
    for number, layer in enumerate(layered.layers, start=1):
        arriving = combined(layer.maps, paths, layer.neurons, layered.inputs)
        if isinstance(layer.function, Slopes):
            slopes = Interval(layer.function.least, layer.function.most)
            arriving = slopes.rearranged(lambda ends: ends.unsqueeze(-1)) * arriving
        paths[number] = arriving
    return combined(layered.output, paths, layered.outputs, layered.inputs)


def combined(maps, paths, rows, columns):
    total = Interval.exact(torch.zeros(rows, columns, dtype=torch.float64))
    for source, a in maps.items():
        total = total + matmul(a, paths[source])
    return total


def jacobian_of_chain(chain):
    state = Interval.exact(torch.eye(chain.maps[0].shape[-1], dtype=torch.float64))
    for k, slopes in enumerate(chain.slopes):
        between = Interval(slopes.least, slopes.most).rearranged(lambda ends: ends.unsqueeze(-1))
        h = between * matmul(chain.maps[k], state)
        mix, skip = chain.mix(k), chain.skip(k)
        h = h if mix is None else matmul(mix, h)
        state = h if skip is None else h + matmul(skip, state)
    return matmul(chain.maps[-1], state)


@pytest.fixture(params=SMOOTH)
def network(request):
    build, shapes = SMOOTH[request.param]
    torch.manual_seed(3)
    program = exported(build(), *shapes)
    points = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    return program, dict(zip("xyz", points, strict=False))


def at_point(program, point, norms=None):
    graph = prepare(program, {name: tuple(x.shape) for name, x in point.items()})
    return Problem(graph, Box(point, point), norms or Norms("l2", "l2"))


def exact_jacobian(program, point):
    forward = in_float64(program)
    blocks = torch.autograd.functional.jacobian(
        lambda *x: forward(*x).flatten(), tuple(point.values())
    )
    return torch.cat([block.flatten(1) for block in blocks], 1)


def test_slopes_at_a_point_are_those_of_the_program(network):
    program, point = network
    found = jacobian_of(layers_of(at_point(program, point)))
    exact = exact_jacobian(program, point)
    assert float((found.midpoint_radius()[0] - exact).abs().max()) < 1e-9
    assert float(found.midpoint_radius()[1].max()) < 1e-9


def test_chains_have_the_slopes_of_their_layers(network):
    program, point = network
    layered = layers_of(at_point(program, point))
    if not layered.output:
        with pytest.raises(NotCertified, match="does not depend"):
            chained(layered)
        return
    found = jacobian_of_chain(chained(layered))
    exact = exact_jacobian(program, point)
    assert float((found.midpoint_radius()[0] - exact).abs().max()) < 1e-9


def test_weights_of_norms_are_part_of_the_maps():
    build, shapes = SMOOTH["branches"]
    program = exported(build(), *shapes)
    point = {
        name: torch.randn(shape, dtype=torch.float64)
        for name, shape in zip("xy", shapes, strict=True)
    }
    into, out = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([0.5, 7.0])
    norms = Norms("l2", "l2", Interval.exact(into), Interval.exact(out))
    found = jacobian_of(layers_of(at_point(program, point, norms)))
    exact = out[:, None] * exact_jacobian(program, point) / into
    assert float((found.midpoint_radius()[0] - exact).abs().max()) < 1e-9


def test_an_affine_network_is_one_map_whatever_it_is_made_of():
    build, shapes = SMOOTH["affine"]
    layered = fuse(prepare(exported(build(), *shapes), {"x": shapes[0]}))
    assert layered.layers == ()
    assert set(layered.output) == {0}


def test_a_stream_of_residual_blocks_is_a_state_no_wider_than_itself():
    build, shapes = SMOOTH["residual"]
    layered = fuse(prepare(exported(build(), *shapes), {"x": shapes[0]}))
    chain = chained(layered)
    assert [a.shape[-1] for a in chain.maps[1:]] == [6] * (len(chain.maps) - 1)


def test_a_maximum_and_a_minimum_of_one_pair_are_one_fold():
    layered = fuse(prepare(exported(MaxMin(), (1, 4)), {"x": (1, 4)}))
    folds = [layer.function for layer in layered.layers]
    assert [type(fold) for fold in folds] == [Folding, Folding]
    assert [tuple(fold.axes.shape) for fold in folds] == [(3, 2), (3, 2)]


def test_matrices_right_behind_a_nonlinearity_are_those_that_are_stored():
    net = perceptron(nn.ReLU(), 3, 5, 2)
    layered = fuse(prepare(exported(net, (1, 3)), {"x": (1, 3)}))
    first, second = layered.layers[0].maps[0], layered.output[1]
    assert first.is_exact
    assert torch.equal(first.lower, net[0].weight.detach().double())
    assert second.is_exact
    assert torch.equal(second.lower, net[2].weight.detach().double())
