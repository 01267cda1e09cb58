"""What one field takes of another, applied to fields, against its matrix point by point."""

import math

import pytest
import torch

from certisolve_server.certifier.expansion.sizes import frobenius, spectral
from certisolve_server.certifier.expansion.transfer import Transfer
from certisolve_server.certifier.spectral_layers.form import ANY, Entries

#: Grid, periods, and which frequencies are transformed how.
CASES = {
    "one axis": ((7,), (7,), [(0,), (2,), (-2,), (ANY,)]),
    "even, with the last frequency": ((8,), (8,), [(4,), (1,), (-1,)]),
    "a part of a period": ((5,), (9,), [(0,), (3,), (-3,), (ANY,)]),
    "two axes": ((5, 6), (5, 6), [(0, 0), (1, 2), (-1, -2), (2, ANY), (-2, ANY), (ANY, ANY)]),
    "the second axis alone": ((4, 5), (4, 5), [(ANY, 1), (ANY, -1)]),
}


@pytest.fixture(params=CASES)
def transfer(request):
    grid, periods, frequencies = CASES[request.param]
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(len(frequencies), 3, 2, 2, generator=generator, dtype=torch.float64)
    entries = Entries(
        torch.zeros(len(frequencies), 0, dtype=torch.int64),
        torch.tensor(frequencies),
        torch.view_as_complex(values),
        0.0,
    )
    return Transfer(entries, grid, periods)


def matrix(transfer: Transfer) -> torch.Tensor:
    """By the sum itself: (points, channels, points, channels of the source)."""
    grid, periods = transfer.grid, transfer.periods
    points = torch.cartesian_prod(*[torch.arange(size) for size in grid]).reshape(-1, len(grid))
    total = torch.zeros(len(points), 3, len(points), 2, dtype=torch.float64)
    far = (points[:, None] - points[None, :]).double()
    for frequency, values in zip(
        transfer.entries.frequencies.tolist(), transfer.entries.values, strict=True
    ):
        wave = torch.ones(len(points), len(points), dtype=torch.complex128)
        for axis, k in enumerate(frequency):
            if k == ANY:
                wave = wave * (far[..., axis] == 0)
            else:
                turns = far[..., axis] * k / periods[axis]
                wave = wave * torch.exp(2j * math.pi * turns) / periods[axis]
        total += torch.einsum("xy,dc->xdyc", wave, values).real
    return total


def test_it_is_the_sum_over_waves(transfer):
    fields = torch.randn(4, *transfer.grid, 2, dtype=torch.float64)
    expected = torch.einsum("xdyc,byc->bxd", matrix(transfer), fields.flatten(1, -2))
    computed = transfer(fields)
    assert computed.shape == (4, *transfer.grid, 3)
    off = frobenius(computed.flatten(1, -2) - expected)
    assert off <= max(1e-13, transfer.rounded(fields))
    assert transfer.rounded(fields) < 1e-8


def test_its_adjoint_is_the_transpose(transfer):
    fields = torch.randn(4, *transfer.grid, 3, dtype=torch.float64)
    expected = torch.einsum("xdyc,bxd->byc", matrix(transfer), fields.flatten(1, -2))
    computed = transfer.adjoint(fields)
    assert torch.allclose(computed.flatten(1, -2), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e30])
def test_spectral_norms_are_not_below_the_largest_singular_value(scale):
    rows = scale * torch.randn(6, 5, 4, dtype=torch.float64)
    exact = float(torch.linalg.matrix_norm(rows.flatten(1), 2))
    assert exact * (1 - 1e-12) <= spectral(rows)
    if scale >= 1.0:
        assert spectral(rows) <= exact * (1 + 1e-6)
