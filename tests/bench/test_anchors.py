"""What certificates are compared by is computed of the same networks, and is right."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from certisolve_server.certifier.chains import Chain, Folding
from chain_members import plain
from chain_programs import lipsdp

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def parts():
    """At the end of the path: a benchmark has the name of a module of Python's own."""
    sys.path.append(BENCHMARKS)
    names = ("sdp", "network_chains", "certify_networks")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(BENCHMARKS)


@pytest.mark.parametrize("least", [0.0, -0.13, 0.3])
@pytest.mark.parametrize("sizes", [(4, 10, 3), (3, 6, 7, 6, 2)])
def test_the_floor_is_the_best_that_a_solver_proves(parts, sizes, least):
    chain = plain(sizes, least, 1.0, seed=3)
    best = lipsdp(chain)
    assert best * (1 - 1e-4) <= parts.sdp.floor(chain) <= best * (1 + 1e-6)


def test_blocks_share_the_floor_of_the_worst(parts):
    one, other = (plain((3, 5, 2), 0.0, 1.0, seed=k) for k in (1, 2))
    both = Chain.of(
        [torch.stack([a.lower, b.lower]) for a, b in zip(one.maps, other.maps, strict=True)],
        one.slopes,
    )
    floors = [parts.sdp.floor(chain) for chain in (one, other, both)]
    assert floors[2] >= max(floors[:2]) * (1 - 1e-5)


def value(chain: Chain, x: torch.Tensor) -> torch.Tensor:
    for a, layer in zip(chain.centers[:-1], chain.slopes, strict=True):
        z = a @ x
        if isinstance(layer, Folding):
            x = z.unflatten(0, (-1, 2)).sort(-1, descending=True).values.flatten()
        else:
            x = z.relu()
    return chain.centers[-1] @ x


@pytest.mark.parametrize("name", ["rectifiers", "MaxMin", "convolutions"])
def test_a_chain_is_the_network_without_its_biases(parts, name):
    networks = parts.certify_networks
    torch.manual_seed(0)
    net, size = {
        "rectifiers": lambda: (networks.perceptron((5, 8, 6, 3), nn.ReLU), 5),
        "MaxMin": lambda: (networks.maxmin(4, 8), 10),
        "convolutions": lambda: (
            nn.Sequential(
                nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(),
                nn.Conv2d(2, 2, 3, 2), nn.Flatten(), nn.Linear(2, 3),
            ),
            16,
        ),
    }[name]()  # fmt: skip
    chain = parts.network_chains.chain_of(net, size)
    net = net.double()
    for layer in net:
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)
    for x in torch.randn(5, size, dtype=torch.float64):
        torch.testing.assert_close(value(chain, x), net(x[None])[0])


def test_the_product_of_norms_is_that_of_the_operators(parts):
    networks = parts.certify_networks
    net = networks.gaussian_fno(3, 2, 2, 40.0).double()
    assert networks.product_of_norms(net) == pytest.approx(40.0, rel=1e-6)
    factors = [torch.linalg.matrix_norm(m.weight, 2) for m in (net.lift, net.project)]
    basis = networks.periodic_basis(8, 2, torch.zeros(1, dtype=torch.float64))
    for spectral, pointwise in zip(net.spectral, net.pointwise, strict=True):
        zero = torch.zeros(1, 8, 3, dtype=torch.float64)
        dense = torch.autograd.functional.jacobian(lambda u, s=spectral: s(u, basis), zero)
        both = (dense.reshape(24, 24), pointwise.weight)
        factors.append(1.1289 * sum(torch.linalg.matrix_norm(part, 2) for part in both))
    assert float(torch.stack(factors).detach().prod()) == pytest.approx(40.0, rel=1e-3)
