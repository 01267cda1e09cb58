import pytest
import torch

from certisolve_zoo.operators.fno import Fno1d, Fno2d
from certisolve_zoo.operators.spectral import (
    SpectralConv1d,
    SpectralConv2d,
    nodal_basis,
    periodic_basis,
)

# Rounding of the transforms; both forms sum the same few hundred terms.
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}


def _fft_1d(layer, u):
    """The same convolution by a fast Fourier transform, as in the paper."""
    num_points = u.shape[1]
    weight = torch.complex(layer.weight_real, layer.weight_imag)
    spectrum = torch.fft.rfft(u, dim=1)[:, : layer.num_modes]
    mixed = torch.einsum("bkc,kco->bko", spectrum, weight)
    return torch.fft.irfft(mixed, n=num_points, dim=1)


def _fft_2d(layer, u):
    """The same on a field weighted by the trapezoidal rule and padded with zeros."""
    m1, m2 = layer.num_modes
    rows, columns = u.shape[1:3]
    padded = [(size - 1) * 9 // 7 for size in (rows, columns)]
    spectrum = torch.fft.fft2(_trapezoid(u, 1) * _trapezoid(u, 2) * u, s=padded, dim=(1, 2))
    low = torch.cat([spectrum[:, -m1:, :m2], spectrum[:, :m1, :m2]], dim=1)
    weight = torch.complex(layer.weight_real, layer.weight_imag).unflatten(0, (2 * m1, m2))
    mixed = torch.einsum("byxc,yxco->byxo", low, weight)
    out = mixed.new_zeros(len(u), padded[0], padded[1] // 2 + 1, mixed.shape[3])
    out[:, -m1:, :m2], out[:, :m1, :m2] = mixed[:, :m1], mixed[:, m1:]
    return torch.fft.irfft2(out, s=padded, dim=(1, 2), norm="forward")[:, :rows, :columns]


def _trapezoid(u, dim):
    weight = torch.ones(u.shape[dim], dtype=u.dtype) / (u.shape[dim] - 1)
    weight[0] /= 2
    weight[-1] /= 2
    return weight.reshape([-1 if axis == dim else 1 for axis in range(4)])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("num_points", [14, 33, 256])
def test_periodic_convolution_equals_its_fft_form(dtype, num_points):
    layer = SpectralConv1d(5, 7).to(dtype)
    u = torch.randn(3, num_points, 5, dtype=dtype)
    result = layer(u, periodic_basis(num_points, 7, u))
    torch.testing.assert_close(result, _fft_1d(layer, u), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sizes", [(15, 15), (22, 43), (71, 15)])
def test_nodal_convolution_equals_its_padded_fft_form(dtype, sizes):
    layer = SpectralConv2d(3, (4, 5)).to(dtype)
    u = torch.randn(2, *sizes, 3, dtype=dtype)
    result = layer(u, nodal_basis(*sizes, (4, 5), u))
    torch.testing.assert_close(result, _fft_2d(layer, u), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("shift", [1, 17, 100])
def test_the_periodic_operator_commutes_with_shifts(shift):
    operator = Fno1d(width=8, num_modes=6, num_layers=3).double()
    u = torch.randn(2, 128, dtype=torch.float64)
    shifted = operator(u.roll(shift, dims=1))
    torch.testing.assert_close(shifted, operator(u).roll(shift, dims=1), rtol=0, atol=1e-12)


def test_the_nodal_operator_vanishes_on_the_boundary():
    operator = Fno2d(6, (3, 3), 2, input_range=(3.0, 12.0), output_scale=1.0)
    u = operator(3 + 9 * torch.rand(2, 15, 22))
    edges = (u[:, 0], u[:, -1], u[:, :, 0], u[:, :, -1])
    assert all(float(edge.detach().abs().max()) == 0.0 for edge in edges)
