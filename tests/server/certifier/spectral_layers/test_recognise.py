"""Layers of Fourier are found in graphs as they are, block by block, and what is not one is not."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.spectral_layers import SpectralNetwork, recognise
from certisolve_server.certifier.spectral_layers.form import ANY, Entries
from certisolve_zoo.operators.ffno import Ffno1d
from certisolve_zoo.operators.fno import Fno1d, Fno2d, PeriodicFno2d
from certisolve_zoo.operators.spectral import (
    SpectralConv1d,
    SpectralConv2d,
    periodic_basis,
    periodic_basis_2d,
)
from small_networks import Applied, exported, in_float64


def dense(entries: Entries, grid: tuple[int, ...]) -> Tensor:
    """The matrix of a layer, (points * out channels, points * in channels), points first."""
    lattice = torch.tensor(list(itertools.product(*[range(n) for n in grid])))
    sizes = torch.tensor(grid)
    signed = torch.where(2 * lattice > sizes, lattice - sizes, lattice)
    differences = lattice[:, None] - lattice[None]
    matrix = torch.zeros(len(lattice), *entries.values.shape[1:], len(lattice), dtype=torch.cdouble)
    for k in signed:
        meets = ((entries.frequencies == ANY) | (entries.frequencies == k)).all(1)
        block = entries.values[meets].sum(0)
        angle = 2 * math.pi * (differences * k / sizes.double()).sum(-1)
        wave = torch.polar(torch.ones_like(angle), angle) / len(lattice)
        matrix += torch.einsum("oi,xy->xoiy", block, wave)
    assert float(matrix.imag.abs().max()) < 1e-12
    points = len(lattice)
    return matrix.real.permute(0, 1, 3, 2).reshape(points * entries.values.shape[1], -1)


def jacobian(program, shape: tuple[int, ...], seed: int | None = None) -> Tensor:
    """At 0 or at a random point, (outputs, inputs), in float64."""
    forward = in_float64(program)
    x = torch.zeros(shape, dtype=torch.float64)
    if seed is not None:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # The quotient of two integers has the default type.
    torch.set_default_dtype(torch.float64)
    try:
        found = torch.autograd.functional.jacobian(forward, x)
    finally:
        torch.set_default_dtype(torch.float32)
    return found.reshape(-1, math.prod(shape))


class Convolution1d(nn.Module):
    def __init__(self, channels: int, num_modes: int) -> None:
        super().__init__()
        self.inner = SpectralConv1d(channels, num_modes)
        self.matrix = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        basis = periodic_basis(x.shape[1], self.inner.num_modes, x)
        return self.inner(x, basis) + self.matrix(x)


class Convolution2d(nn.Module):
    def __init__(self, channels: int, num_modes: tuple[int, int]) -> None:
        super().__init__()
        self.inner = SpectralConv2d(channels, num_modes)
        self.matrix = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        basis = periodic_basis_2d(x.shape[1], x.shape[2], self.inner.num_modes, x)
        return self.inner(x, basis) + self.matrix(x)


def seeded(make, *arguments) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = make(*arguments)
    return module


@pytest.mark.parametrize(("points", "modes"), [(5, 2), (6, 2), (6, 3), (8, 4), (9, 4)])
def test_a_layer_in_one_dimension_has_the_blocks_of_its_matrix(points, modes):
    program = exported(seeded(Convolution1d, 3, modes), (1, points, 3))
    network = recognise(prepare(program, {"x": (1, points, 3)}))

    (entries,) = network.sources[-1].terms.values()
    difference = dense(entries, (points,)) - jacobian(program, (1, points, 3))

    assert float(torch.linalg.matrix_norm(difference, 2)) <= entries.error + 1e-14
    assert entries.error < 1e-11
    # The constant wave acts through real parts alone.
    constant = (entries.frequencies == 0).all(1)
    assert not bool(entries.values[constant].imag.any())


@pytest.mark.parametrize("grid", [(6, 6), (5, 7), (6, 5), (8, 6)])
def test_a_layer_in_two_dimensions_has_the_blocks_of_its_matrix(grid):
    program = exported(seeded(Convolution2d, 2, (2, 2)), (1, *grid, 2))
    network = recognise(prepare(program, {"x": (1, *grid, 2)}))

    (entries,) = network.sources[-1].terms.values()
    difference = dense(entries, grid) - jacobian(program, (1, *grid, 2))

    assert float(torch.linalg.matrix_norm(difference, 2)) <= entries.error + 1e-14
    assert entries.error < 1e-11


def test_the_column_of_constants_along_one_axis_averages_conjugate_partners():
    module = seeded(Convolution2d, 2, (2, 2))
    program = exported(module, (1, 8, 8, 2))
    (entries,) = recognise(prepare(program, {"x": (1, 8, 8, 2)})).sources[-1].terms.values()
    real, imaginary = module.inner.weight_real.double(), module.inner.weight_imag.double()
    # Weights are (k1, k2) for k1 from -2 to 1 and k2 from 0, stored as (mode, in, out).
    weights = torch.complex(real, imaginary).detach().reshape(4, 2, 2, 2).mT
    found = {
        tuple(k): block
        for k, block in zip(entries.frequencies.tolist(), entries.values, strict=True)
    }
    assert torch.allclose(found[1, 0], (weights[3, 0] + weights[1, 0].conj()) / 2)
    # -2 has no partner 2, which counts as 0.
    assert torch.allclose(found[-2, 0], weights[0, 0] / 2)
    assert torch.allclose(found[2, 0], weights[0, 0].conj() / 2)
    assert torch.allclose(found[1, 1], weights[3, 1])


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (lambda: Fno1d(3, 2, 2), (1, 8)),
        (lambda: Ffno1d(1, 3, 2, 2), (1, 8, 1)),
        (lambda: PeriodicFno2d(1, 1, 3, (2, 2), 2), (1, 6, 6, 1)),
        (
            lambda: Fno2d(2, (2, 2), 2, input_range=(3.0, 12.0), output_scale=0.5),
            (1, 15, 15),
        ),
    ],
)
def test_a_network_is_the_product_of_its_layers(module, shape):
    """Fields as the network of sources says, from slopes that are measured, are the Jacobian."""
    torch.manual_seed(0)
    program = exported(module(), shape)
    network = recognise(prepare(program, {"x": shape}))
    expected = jacobian(program, shape, seed=1)
    assert network.sources[-1].channels * math.prod(network.sources[-1].grid) == expected.shape[0]
    assert [source.name for source in network.sources[: network.inputs]] == ["x"]
    assert largest(network) >= float(torch.linalg.matrix_norm(expected, 2))


def largest(network: SpectralNetwork) -> float:
    """The product of norms, crudely: of each term the largest block."""
    sizes = dict.fromkeys(range(network.inputs), 1.0)
    for number, source in enumerate(network.sources):
        if number < network.inputs:
            continue
        cap = 1.0 if source.slopes is None else float(source.slopes.cap.max())
        sizes[number] = cap * sum(
            sizes[j] * each.values.flatten(1).norm(dim=1).sum() for j, each in source.terms.items()
        )
    return float(sizes[len(network.sources) - 1])


def test_a_layer_is_the_same_on_all_grids():
    module = seeded(Convolution1d, 3, 3)
    found = []
    for points in (7, 16, 64):
        graph = prepare(exported(module, (1, points, 3)), {"x": (1, points, 3)})
        (entries,) = recognise(graph).sources[-1].terms.values()
        found.append(entries)
    for entries in found[1:]:
        assert torch.equal(entries.frequencies, found[0].frequencies)
        assert torch.equal(entries.values, found[0].values)


def test_what_is_nearly_a_transform_is_one_up_to_an_error():
    size, points = 2e-8, 8
    basis = periodic_basis(points, 2, torch.zeros((), dtype=torch.float64))
    noise = torch.randn(4, points, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    forward = (basis.forward + size * noise).float()
    weight = torch.eye(2)
    layer = Applied(
        lambda x: torch.matmul(
            basis.inverse.float(), torch.matmul(torch.matmul(forward, x), weight)
        )
    )
    program = exported(layer, (1, points, 2))
    (entries,) = recognise(prepare(program, {"x": (1, points, 2)})).sources[-1].terms.values()
    matrix = basis.inverse.float().double() @ forward.double()
    difference = dense(entries, (points,)) - torch.kron(matrix, torch.eye(2))
    off = float(torch.linalg.matrix_norm(difference, 2))
    assert 0.1 * size < off <= entries.error
    assert entries.error < 1e3 * size


def test_a_matrix_that_is_no_transform_is_refused():
    matrix = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    layer = Applied(lambda x: torch.relu(torch.matmul(matrix, x)))
    with pytest.raises(NotCertified, match="matmul"):
        recognise(prepare(exported(layer, (1, 8, 2)), {"x": (1, 8, 2)}))


def test_a_product_of_fields_is_refused_on_everything():
    basis = periodic_basis(8, 2, torch.zeros(()))

    def layer(x: Tensor) -> Tensor:
        y = torch.matmul(basis.inverse, torch.matmul(basis.forward, x))
        return x * y

    with pytest.raises(NotCertified, match="multiplies two tensors"):
        recognise(prepare(exported(Applied(layer), (1, 8, 2)), {"x": (1, 8, 2)}))
