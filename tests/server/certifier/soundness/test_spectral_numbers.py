"""Layers of Fourier whose numbers nearly overflow or vanish, or are contracted in unusual ways."""

import math

import pytest
import torch

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.fourier import Fourier
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Everything
from certisolve_server.certifier.spectral_layers.form import ANY, Dense, Entries, Form
from certisolve_server.certifier.spectral_layers.reshape import reshaped
from small_networks import Applied, exported

SHAPE = (1, 4, 8)


def upper(function, norm="l2"):
    graph = prepare(exported(Applied(function), SHAPE), {"x": SHAPE})
    problem = Problem(graph, Everything(), Norms(norm, norm))
    return min(found.upper for found in Fourier().run(problem, Board()) if found)


def through_spectrum(x):
    return torch.fft.irfft(torch.fft.rfft(x), n=8)


def entries(*values):
    shape = (1, 1, len(values))
    return Entries(
        torch.zeros(1, 0, dtype=torch.int64),
        torch.full((1, 1), ANY),
        torch.tensor(values, dtype=torch.complex128).reshape(shape),
        0.0,
    )


def test_a_layer_without_a_nonlinearity_has_its_norm():
    assert upper(lambda x: 0.5 * through_spectrum(x)) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_what_vanishes_on_its_way_is_still_there(norm):
    """1e-160 times 1e-164 is 0 in float64: of the norm, 1e-24, only 1e-30 would be left."""

    def scaled(x):
        spectrum = torch.fft.rfft(x) * 1e-160 * 1e-164 * 1e300
        return torch.fft.irfft(spectrum, n=8) + 1e-30 * x

    assert upper(scaled, norm) >= 1e-24


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_what_overflows_on_its_way_is_not_left_out(norm):
    """1e160 times 1e160 is no float, and an infinity less another one no number."""

    def scaled(x):
        spectrum = torch.fft.rfft(x) * 1e160 * 1e160 * 1e-300
        return torch.fft.irfft(spectrum, n=8)

    with pytest.raises(NotCertified):
        upper(scaled, norm)


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1.0, 1e200])
def test_the_size_of_entries_is_not_lost_in_squares(size):
    assert math.inf > entries(3 * size, 4j * size).size >= 5 * size


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_no_entry_is_infinite_or_no_number(number):
    with pytest.raises(NotCertified, match="overflow"):
        entries(1.0, number)


def test_what_one_operand_alone_is_summed_over_is_refused():
    ones = torch.ones(4, 3)
    with pytest.raises(NotCertified, match="contracts"):
        upper(lambda x: torch.einsum("bcx,oi->bxo", through_spectrum(x), ones))


def test_channels_in_groups_are_refused_and_no_error():
    weights = torch.ones(2, 2, 3)

    def grouped(x):
        return torch.einsum("bgix,gio->bgox", through_spectrum(x).reshape(1, 2, 2, 8), weights)

    with pytest.raises(NotCertified):
        upper(grouped)


def test_a_reshape_across_axes_of_channels_is_refused():
    axes = ((Dense(2),), (Dense(3),))
    form = Form(axes, {0: entries(*range(1, 7))})
    form = reshaped(Form(((Dense(1),), (Dense(6),)), form.terms), (2, 3))
    with pytest.raises(NotCertified, match="cuts"):
        reshaped(form, (3, 2))


def test_a_layer_of_zeros_is_refused():
    with pytest.raises(NotCertified):
        upper(lambda x: torch.fft.irfft(torch.fft.rfft(x) * 0.0, n=8))
