"""Structured operators of a graph are its matrices, and networks too large for these have norms."""

import pytest
import torch
from torch import nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.methods.norms import FusedNorms
from certisolve_server.certifier.methods.operator_norms import operator_bound as steps_to_bound
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.operators import Convolution
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Everything
from certisolve_server.certifier.structure import fuse
from certisolve_server.certifier.structure.operators import operators_of
from layered_networks import SMOOTH
from small_networks import Applied, exported, in_float64, steepest


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((-2, -1))


def normalised_images() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2, dilation=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 3, 2, bias=False),
        nn.ELU(),
        Mean(),
        nn.Linear(3, 2),
    )
    net[1].running_var.copy_(torch.rand(4) + 0.5)
    return net


def transposed_images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.Tanh(),
        nn.ConvTranspose2d(2, 1, 2, dilation=2),
    )


def tokens() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Flatten(), nn.Linear(10, 3)
    )


#: Networks that are chains, so that layers of both forms are the same.
CHAINS = {
    "convolution": SMOOTH["convolution"],
    "strided": SMOOTH["strided"],
    "circular": SMOOTH["circular"],
    "normalised": (normalised_images, [(1, 2, 6, 6)]),
    "transposed": (transposed_images, [(1, 1, 6, 4)]),
    "tokens": (tokens, [(1, 5, 3)]),
    "moved": (
        lambda: Applied(lambda x: torch.relu(x.permute(0, 2, 1)[:, 1:].flip(1) * 3 - 1) / 4),
        [(1, 3, 4)],
    ),
}


def operator_bound(problem):
    *_, upper = steps_to_bound(problem)
    return upper


@pytest.mark.parametrize("name", CHAINS)
def test_operators_are_the_matrices(name):
    build, shapes = CHAINS[name]
    torch.manual_seed(0)
    graph = prepare(exported(build(), *shapes), {"x": shapes[0]})
    operators, layered = operators_of(graph), fuse(graph)
    source = "x"
    pairs = zip([*operators.layers, None], layered.all_maps, strict=True)
    for number, (layer, maps) in enumerate(pairs):
        runs = operators.output if layer is None else layer.runs
        found, exact = runs[source].matrix(), maps[number]
        assert torch.allclose(found.midpoint_radius()[0], exact.midpoint_radius()[0], atol=1e-12)
        assert float(found.midpoint_radius()[1].max()) < 1e-12
        source = None if layer is None else layer.name


@pytest.mark.parametrize("norms", [("l2", "l2"), ("linf", "linf"), ("l1", "l2"), ("linf", "l1")])
@pytest.mark.parametrize("name", [*CHAINS, "dense", "residual"])
def test_no_pair_is_steeper_than_norms_of_operators_allow(name, norms):
    build, shapes = CHAINS.get(name) or SMOOTH[name]
    torch.manual_seed(0)
    program = exported(build(), *shapes)
    problem = Problem(prepare(program, {"x": shapes[0]}), Everything(), Norms(*norms))
    box = (torch.full(shapes[0], -2.0).double(), torch.full(shapes[0], 2.0).double())
    upper = operator_bound(problem)
    slope = steepest(in_float64(program), box, 1)[Norms(*norms)]
    assert slope * (1 - 1e-9) <= upper < float("inf")


def test_weights_of_norms_count():
    build, shapes = CHAINS["convolution"]
    graph = prepare(exported(build(), *shapes), {"x": shapes[0]})
    plain = operator_bound(Problem(graph, Everything(), Norms("l2", "l2")))
    weights = Norms("l2", "l2", *(_ones(n, w) for n, w in ((36, 4.0), (2, 2.0))))
    assert operator_bound(Problem(graph, Everything(), weights)) == pytest.approx(plain / 2)


def test_a_network_too_large_for_matrices_is_bounded_by_its_convolutions():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 64, 10),
    )
    shape = (1, 1, 32, 32)
    problem = Problem(prepare(exported(net, shape), {"x": shape}), Everything(), Norms("l2", "l2"))
    (found,) = [bound for bound in FusedNorms().run(problem, Board()) if bound is not None]
    assert found.evidence == {"proof": "operators"}
    assert FusedNorms().recheck(problem, found.evidence) <= found.upper < 20.0


def test_what_is_wrapped_around_is_only_taken_by_a_convolution():
    net = Applied(lambda x: nn.functional.pad(x, (1, 1), mode="circular"))
    graph = prepare(exported(net, (1, 2, 4)), {"x": (1, 2, 4)})
    with pytest.raises(NotCertified):
        operators_of(graph)
    two = Applied(lambda x: 2 * nn.functional.pad(x, (1, 1), mode="circular"))
    with pytest.raises(NotCertified, match="structure"):
        operators_of(prepare(exported(two, (1, 2, 4)), {"x": (1, 2, 4)}))


def test_channels_that_are_scaled_stay_a_convolution():
    graph = prepare(exported(normalised_images(), (1, 2, 6, 6)), {"x": (1, 2, 6, 6)})
    (run,) = operators_of(graph).layers[0].runs.values()
    assert isinstance(run, Convolution)


def _ones(size, value):
    return Interval.exact(torch.full((size,), value, dtype=torch.float64))
