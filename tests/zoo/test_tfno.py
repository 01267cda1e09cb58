import pytest
import torch

from certisolve_zoo.operators.spectral import (
    SpectralConv1d,
    SpectralConv2d,
    periodic_basis,
    periodic_basis_2d,
)
from certisolve_zoo.operators.tucker import TuckerConv1d, TuckerConv2d


def _dense_1d(tucker):
    """The weights of the same convolution, multiplied out as in the paper."""
    dense = SpectralConv1d(len(tucker.factor_in), tucker.factor_mode.shape[0]).double()
    for part in ("real", "imag"):
        weight = torch.einsum(
            "kr,rab,ia,bo->kio",
            tucker.factor_mode,
            getattr(tucker, f"core_{part}"),
            tucker.factor_in,
            tucker.factor_out,
        )
        getattr(dense, f"weight_{part}").data = weight
    return dense


def _dense_2d(tucker):
    dense = SpectralConv2d(len(tucker.factor_in), tucker.num_modes).double()
    ranks = tucker.factor_y.shape[1], tucker.factor_x.shape[1]
    for part in ("real", "imag"):
        weight = torch.einsum(
            "ys,xt,stab,ia,bo->yxio",
            tucker.factor_y,
            tucker.factor_x,
            getattr(tucker, f"core_{part}").unflatten(0, ranks),
            tucker.factor_in,
            tucker.factor_out,
        )
        getattr(dense, f"weight_{part}").data = weight.flatten(0, 1)
    return dense


def _fft_2d(layer, u):
    """The periodic convolution by fast Fourier transforms, as in the paper."""
    m1, m2 = layer.num_modes
    spectrum = torch.fft.rfft2(u, dim=(1, 2))
    low = torch.cat([spectrum[:, -m1:, :m2], spectrum[:, :m1, :m2]], dim=1)
    weight = torch.complex(layer.weight_real, layer.weight_imag).unflatten(0, (2 * m1, m2))
    mixed = torch.einsum("byxc,yxco->byxo", low, weight)
    out = spectrum.new_zeros(*spectrum.shape[:3], mixed.shape[3])
    out[:, -m1:, :m2], out[:, :m1, :m2] = mixed[:, :m1], mixed[:, m1:]
    return torch.fft.irfft2(out, s=u.shape[1:3], dim=(1, 2))


def _band_limited(sizes, channels, highest):
    """Values of one random trigonometric polynomial on grids of several sizes."""
    axes = [2 * torch.pi * torch.arange(size, dtype=torch.float64) / size for size in sizes]
    points = torch.meshgrid(*axes, indexing="ij")
    generator = torch.Generator().manual_seed(3)
    field = torch.zeros(*sizes, channels, dtype=torch.float64)
    for _ in range(12):
        wave = torch.randint(-highest, highest + 1, (len(sizes),), generator=generator)
        phase = sum(k * x for k, x in zip(wave, points, strict=True))
        field += torch.cos(phase[..., None] + torch.randn(channels, generator=generator))
    return field.unsqueeze(0)


def test_the_factorised_convolution_equals_the_dense_one_of_its_weights():
    tucker = TuckerConv1d(6, 5, (3, 4)).double()
    u = torch.randn(2, 17, 6, dtype=torch.float64)
    basis = periodic_basis(17, 5, u)
    expected = _dense_1d(tucker)(u, basis)
    torch.testing.assert_close(tucker(u, basis), expected, rtol=0, atol=1e-12)


def test_the_factorised_convolution_equals_the_dense_one_in_two_dimensions():
    tucker = TuckerConv2d(6, (4, 3), (5, 2, 4)).double()
    u = torch.randn(2, 12, 10, 6, dtype=torch.float64)
    basis = periodic_basis_2d(12, 10, (4, 3), u)
    expected = _dense_2d(tucker)(u, basis)
    torch.testing.assert_close(tucker(u, basis), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [(9, 8), (16, 20), (33, 14)])
def test_the_periodic_convolution_equals_its_fft_form(sizes):
    layer = SpectralConv2d(3, (4, 4)).double()
    u = torch.randn(2, *sizes, 3, dtype=torch.float64)
    result = layer(u, periodic_basis_2d(*sizes, (4, 4), u))
    torch.testing.assert_close(result, _fft_2d(layer, u), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", [SpectralConv1d(3, 5), TuckerConv1d(3, 5, (4, 2))])
def test_a_band_limited_field_is_convolved_alike_on_every_grid(layer):
    layer = layer.double()
    results = []
    for size in (32, 96):
        u = _band_limited((size,), 3, highest=4)
        results.append(layer(u, periodic_basis(size, 5, u)))
    coarse, fine = results
    torch.testing.assert_close(fine[:, ::3], coarse, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", [SpectralConv2d(3, (5, 4)), TuckerConv2d(3, (5, 4), (6, 3, 2))])
def test_a_band_limited_field_is_convolved_alike_on_every_grid_of_a_torus(layer):
    layer = layer.double()
    results = []
    for sizes in ((12, 16), (36, 32)):
        u = _band_limited(sizes, 3, highest=3)
        results.append(layer(u, periodic_basis_2d(*sizes, (5, 4), u)))
    coarse, fine = results
    torch.testing.assert_close(fine[:, ::3, ::2], coarse, rtol=0, atol=1e-12)
