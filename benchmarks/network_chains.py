"""Networks of the tables as chains of maps and functions, biases left out."""

import copy
import itertools
from collections.abc import Sequence

import torch
from certify_networks import GaussianFno, MaxMin, complex_weights
from torch import Tensor, nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Chain, Folding, Slopes, spectral_chain
from certisolve_server.certifier.functions.registry import find
from certisolve_server.certifier.operators import Spectral


def chain_of(net: nn.Module, inputs: int) -> Chain:
    """Of a sequence: affine layers, any number in a row, with rectifiers or MaxMin between."""
    assert isinstance(net, nn.Sequential)
    net = copy.deepcopy(net).double()
    ends = [i for i, layer in enumerate(net) if isinstance(layer, nn.ReLU | MaxMin)]
    runs = [net[a + 1 : b] for a, b in itertools.pairwise([-1, *ends, len(net)])]
    maps, x = [], torch.zeros(1, inputs, dtype=torch.float64)
    for run in runs:
        jacobian = torch.autograd.functional.jacobian(run, x)
        x = torch.zeros_like(run(x))
        maps.append(jacobian.reshape(x.numel(), -1))
    return _with(maps, [net[i] for i in ends])


def _with(maps: Sequence[Tensor], between: Sequence[nn.Module]) -> Chain:
    """MaxMin gives all maxima first, where a chain has the pairs side by side."""
    layers: list[Folding | Slopes] = []
    aligned = [maps[0]]
    for layer, before, after in zip(between, maps[:-1], maps[1:], strict=True):
        neurons = before.shape[0]
        if isinstance(layer, MaxMin):
            layers.append(Folding.group_sort(neurons, 2))
            pairs = torch.arange(neurons).view(2, -1).mT.flatten()
            aligned.append(after[:, pairs])
        else:
            layers.append(Slopes.of(find("relu"), neurons))
            aligned.append(after)
    return Chain.of(aligned, layers)


def spectral_chain_of(net: GaussianFno, points: int) -> Chain:
    """One block for each frequency of a periodic grid."""
    layers, last = spectral_parts(net, points)
    slopes = Slopes.of(find("gelu_erf"), net.project.in_features)
    return spectral_chain(layers, [slopes] * len(layers), last)


def spectral_parts(net: GaussianFno, points: int) -> tuple[list[Spectral], Interval]:
    """The layers, the lifting in the first, and the projection."""
    layers = []
    for modes, pointwise in zip(complex_weights(net), net.pointwise, strict=True):
        kept = [(k,) for k in range(len(modes))]
        layer = Spectral.of_weights(modes.to(torch.complex128), kept, (points,))
        layers.append(layer.plus_pointwise(_exact(pointwise)))
    layers[0] = layers[0].after_pointwise(_exact(net.lift))
    return layers, _exact(net.project)


def _exact(layer: nn.Linear) -> Interval:
    return Interval.exact(layer.weight.detach().double())
