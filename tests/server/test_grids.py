"""Grids hold values where the manifest says; resampling is exact for what both grids resolve."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Axis, TensorSpec
from certisolve_server.grids import coordinates, resample

LINE = TensorSpec(name="u", dtype="F32", axes=("x",), description="u")
PLANE = TensorSpec(name="u", dtype="F32", axes=("x", "y", "component"), description="u")

# A double-precision FFT of fewer than 1000 values of order 1 loses about log2(n) units in the last
# place; 1e-12 is a thousand times that.
EXACT = 1e-12


def axis(convention, lower=-1.0, upper=3.0):
    return Axis(kind="grid", lower=lower, upper=upper, convention=convention)


def wave(size, frequency, phase=0.3):
    return np.cos(2 * np.pi * frequency * np.arange(size) / size + phase)


# --- Where the values lie -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("periodic", [-1.0, 0.0, 1.0, 2.0]),
        ("cells", [-0.5, 0.5, 1.5, 2.5]),
        ("nodes", [-1.0, 1 / 3, 5 / 3, 3.0]),
    ],
)
def test_coordinates_follow_the_convention(convention, expected):
    points = coordinates(axis(convention), 4)
    assert points.dtype == np.float64
    np.testing.assert_allclose(points, expected, atol=1e-15)


@pytest.mark.parametrize("convention", ["periodic", "cells", "nodes"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_coordinates_stay_in_the_domain_in_rising_order(convention, size):
    points = coordinates(axis(convention), size)
    assert points.shape == (size,)
    assert points.min() >= -1.0
    assert points.max() <= 3.0
    assert np.all(np.diff(points) > 0)


def test_coordinates_are_shared_and_so_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        coordinates(axis("periodic"), 4)[0] = 5.0


def test_domains_that_differ_have_grids_that_differ():
    near, far = coordinates(axis("nodes"), 4), coordinates(axis("nodes", upper=9.0), 4)
    assert (near[-1], far[-1]) == (3.0, 9.0)


# --- Resampling -----------------------------------------------------------------------------------

SIZES = [(16, 64), (16, 33), (15, 32), (15, 45), (64, 16), (33, 16), (32, 15), (45, 15)]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_every_wave_that_both_grids_resolve_is_exact(old, new):
    for frequency in range((min(old, new) + 1) // 2):
        moved = resample(wave(old, frequency), LINE.axes, {"x": new})
        np.testing.assert_allclose(moved, wave(new, frequency), atol=EXACT)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_a_constant_stays_the_constant(old, new):
    np.testing.assert_allclose(resample(np.full(old, 2.5), LINE.axes, {"x": new}), 2.5, atol=EXACT)


@pytest.mark.parametrize("old", [16, 15])
@pytest.mark.parametrize("fine", [16, 17, 32, 63])
def test_going_up_and_coming_back_changes_nothing(old, fine):
    field = np.random.default_rng(0).standard_normal(old)
    up = resample(field, LINE.axes, {"x": fine})
    np.testing.assert_allclose(resample(up, LINE.axes, {"x": old}), field, atol=EXACT)


def test_going_up_by_a_whole_factor_keeps_the_values_that_were_there():
    field = np.random.default_rng(0).standard_normal(16)
    np.testing.assert_allclose(resample(field, LINE.axes, {"x": 48})[::3], field, atol=EXACT)


def test_the_wave_at_the_coarse_grids_limit_keeps_what_the_grid_can_see_of_it():
    # On 8 points a wave of frequency 4 is (-1)^i cos(phase), whatever the fine grid knew of it.
    coarse = resample(wave(32, 4), LINE.axes, {"x": 8})
    np.testing.assert_allclose(coarse, wave(8, 4), atol=EXACT)


def test_waves_beyond_the_coarse_grid_are_taken_out_and_not_folded_back():
    np.testing.assert_allclose(resample(wave(32, 7), LINE.axes, {"x": 8}), 0, atol=EXACT)


def test_axes_are_resampled_each_by_itself_and_channels_not_at_all():
    field = wave(16, 3)[:, None, None] * wave(20, 2)[None, :, None] * np.array([1.0, -2.0, 5.0])
    moved = resample(field, PLANE.axes, {"x": 33, "y": 10})
    expected = wave(33, 3)[:, None, None] * wave(10, 2)[None, :, None] * np.array([1.0, -2.0, 5.0])
    assert moved.shape == (33, 10, 3)
    np.testing.assert_allclose(moved, expected, atol=EXACT)


def test_the_same_sizes_are_the_same_array():
    field = wave(16, 3)
    assert resample(field, LINE.axes, {"x": 16}) is field


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_element_type_stays(dtype):
    moved = resample(wave(16, 3).astype(dtype), LINE.axes, {"x": 24})
    assert moved.dtype == dtype
    # As near as the element type was to the wave on the way in, twice over for the waves it adds.
    np.testing.assert_allclose(moved, wave(24, 3), atol=4 * np.finfo(dtype).eps)


def test_the_field_that_was_given_is_left_alone():
    field = wave(16, 3)
    field.flags.writeable = False
    resample(field, LINE.axes, {"x": 24})


@given(
    old=st.integers(8, 40),
    new=st.integers(8, 40),
    data=st.data(),
)
def test_the_mean_of_a_field_is_kept_on_any_grid(old, new, data):
    field = np.array(data.draw(st.lists(st.floats(-10, 10), min_size=old, max_size=old)))
    moved = resample(field, LINE.axes, {"x": new})
    assert moved.shape == (new,)
    # The Nyquist wave of an even coarse grid is its own alias of mean zero.
    np.testing.assert_allclose(moved.mean(), field.mean(), atol=10 * EXACT)
