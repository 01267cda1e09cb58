"""Operators that are nearly others: each is read as the map that it is, or refused by its name."""

import pytest
import torch
from torch import nn

from certisolve_server.certifier.domain import box, values
from certisolve_server.certifier.errors import (
    CertifierError,
    PossiblyDiscontinuous,
    UnsupportedOperator,
)
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.prepare import prepare
from small_networks import Applied, exported

SHAPE = (1, 4, 8)


def read(function):
    return prepare(exported(Applied(function), SHAPE), {"x": SHAPE})


def test_sizes_without_axes_are_those_of_the_last_axes():
    """Transformed along all axes, this would be another map of another norm."""
    graph = read(lambda x: torch.fft.irfftn(torch.fft.rfftn(x, dim=(-1,)), s=(8,)))
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = interpret(graph, values(box(graph, {"x": x}, {"x": x}))).value
    # It is the identity.
    assert torch.allclose(found.midpoint_radius()[0][0], x, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda spectrum: spectrum + 1.0,
        lambda spectrum: spectrum - 1.0,
        lambda spectrum: torch.add(spectrum, 1.0, alpha=2),
    ],
)
def test_a_number_is_not_added_to_imaginary_parts(function):
    with pytest.raises(UnsupportedOperator, match=r"aten\.(add|sub)\.Tensor"):
        read(lambda x: torch.fft.irfft(function(torch.fft.rfft(x))))


def test_what_is_copied_into_integers_jumps():
    def cut_off(x):
        whole = torch.zeros(SHAPE, dtype=torch.int64)
        whole.copy_(x)
        return whole.to(torch.float32) + x

    with pytest.raises(PossiblyDiscontinuous):
        read(cut_off)


def test_real_and_complex_tensors_are_not_joined_as_if_both_were_real():
    with pytest.raises(UnsupportedOperator, match=r"aten\.cat"):
        read(lambda x: torch.view_as_real(torch.cat([torch.fft.rfft(x), x[..., :2]], -1)))


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_a_spectrum_cast_to_real_numbers_is_not_taken_for_pairs():
    with pytest.raises(UnsupportedOperator, match=r"aten\.to"):
        read(lambda x: torch.fft.rfft(x).to("cpu", torch.float32))


def test_a_complex_input_is_not_taken_for_a_real_one():
    module = Applied(lambda x: (x * torch.tensor(2j)).imag)

    class Named(nn.Module):
        def forward(self, x):
            return module(x)

    program = torch.export.export(Named(), (torch.zeros(SHAPE, dtype=torch.complex64),))
    with pytest.raises(UnsupportedOperator, match="is complex"):
        prepare(program, {"x": SHAPE})


def test_indices_that_are_not_int64_are_refused_by_name():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("index", torch.tensor([1, 2], dtype=torch.int32))

        def forward(self, x):
            return x[..., self.index.to(torch.int64)]

    with pytest.raises(CertifierError, match=r"aten\.to\.dtype"):
        prepare(exported(Chosen(), SHAPE), {"x": SHAPE})


class SharedKnots(nn.Module):
    """A layer of Kolmogorov and Arnold on one row of knots for all inputs, of degree 2."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("knots", torch.linspace(-2.0, 2.0, 8)[None])
        self.coefficients = nn.Parameter(torch.randn(10, 3, generator=generator))
        self.base = nn.Parameter(torch.randn(2, 3, generator=generator))

    def forward(self, x):
        t, u = self.knots, x.unsqueeze(-1)
        bases = ((u >= t[:, :-1]) & (u < t[:, 1:])).to(x.dtype)
        for d in (1, 2):
            rising = (u - t[:, : -(d + 1)]) / (t[:, d:-1] - t[:, : -(d + 1)])
            falling = (t[:, d + 1 :] - u) / (t[:, d + 1 :] - t[:, 1:-d])
            bases = rising * bases[..., :-1] + falling * bases[..., 1:]
        splines = torch.mm(bases.flatten(1), self.coefficients)
        return torch.addmm(splines, nn.functional.silu(x), self.base)


def test_inputs_that_share_knots_have_all_of_them():
    """Eight knots for two inputs are not four for each."""
    module = SharedKnots()
    graph = prepare(exported(module, (1, 2)), {"x": (1, 2)})
    x = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    found = interpret(graph, values(box(graph, {"x": x}, {"x": x}))).value
    with torch.no_grad():
        expected = module.double()(x)
    assert torch.allclose(found.midpoint_radius()[0][0], expected, atol=1e-6)
