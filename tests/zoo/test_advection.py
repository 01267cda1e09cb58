import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_zoo.pdes.advection import (
    along_characteristics,
    random_velocity,
    shift,
    solve_advection,
)
from certisolve_zoo.pdes.random_fields import periodic_grf

NODES = np.linspace(0, 1, 101)


def _sine(x):
    return np.sin(np.pi * x)


def _slow_sine(t):
    return np.sin(np.pi * t / 2)


def _wave(x):
    """A wave without a kink where it enters."""
    return np.sin(2 * np.pi * x)


@given(st.floats(-3, 3), st.integers(1, 15), st.floats(0, 7))
def test_waves_are_shifted_exactly(distance, cycles, phase):
    x = np.arange(32) / 32
    expected = np.cos(2 * np.pi * cycles * (x - distance) + phase)
    shifted = shift(np.cos(2 * np.pi * cycles * x + phase)[None], distance)[0]
    np.testing.assert_allclose(shifted, expected, atol=1e-11)


@given(st.integers(0, 2**31), st.integers(-40, 40), st.sampled_from([31, 32]))
def test_whole_cells_are_shifted_to_whole_cells(seed, cells, num_points):
    u = np.random.default_rng(seed).standard_normal((2, num_points))
    shifted = shift(u, cells / num_points)
    np.testing.assert_allclose(shifted, np.roll(u, cells, axis=1), atol=1e-10)


@given(st.integers(0, 2**31), st.floats(-2, 2))
def test_a_shift_conserves_mass_and_energy_and_can_be_undone(seed, distance):
    u = periodic_grf(np.random.default_rng(seed), 3, 64) + 1.0
    shifted = shift(u, distance)
    np.testing.assert_allclose(shifted.mean(axis=1), u.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose((shifted**2).mean(axis=1), (u**2).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(shift(shifted, -distance), u, atol=1e-11)


def test_characteristics_of_a_constant_velocity_are_straight():
    t = np.array([0.0, 0.3, 0.9])
    solution = along_characteristics(np.full((1, 101), 1.5), _sine, _slow_sine, t)[0]
    back = NODES - 1.5 * t[:, None]
    expected = np.where(back >= 0, _sine(back), _slow_sine(-back / 1.5))
    np.testing.assert_allclose(solution, expected, atol=1e-12)


def test_characteristics_of_a_linear_velocity_are_exponential():
    t = np.linspace(0, 1, 11)
    solution = along_characteristics((1 + NODES)[None], _sine, _slow_sine, t)[0]
    start = (1 + NODES) * np.exp(-t[:, None]) - 1
    expected = np.where(start >= 0, _sine(start), _slow_sine(t[:, None] - np.log1p(NODES)))
    np.testing.assert_allclose(solution, expected, atol=1e-7)


def test_characteristics_through_random_velocities_do_not_depend_on_the_grid():
    fine = random_velocity(np.random.default_rng(0), 5, 401)
    t = np.linspace(0, 1, 21)
    reference = along_characteristics(fine, _sine, _slow_sine, t)[:, :, ::4]
    coarse = along_characteristics(fine[:, ::4], _sine, _slow_sine, t)
    np.testing.assert_allclose(coarse, reference, atol=1e-5)


def _box_error(num_cells):
    x = t = np.linspace(0, 1, num_cells + 1)
    solution = solve_advection((1 + x)[None], _wave(x), _wave(-t), 1 / num_cells)[0]
    start = (1 + x) * np.exp(-t[:, None]) - 1
    # The inflow continues the wave: u(0, t) = w(-t) and u(x, 0) = w(x) meet without a kink.
    expected = np.where(start >= 0, _wave(start), _wave(np.log1p(x) - t[:, None]))
    return np.sqrt(np.mean((solution - expected) ** 2))


def test_the_box_scheme_is_of_second_order():
    errors = [_box_error(num_cells) for num_cells in (50, 100, 200)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.3)


def test_the_box_scheme_is_exact_where_the_characteristics_meet_the_nodes():
    t = np.linspace(0, 1, 51)
    x = np.linspace(0, 1, 101)
    solution = solve_advection(np.full((1, 101), 0.5), _sine(x), _slow_sine(t), 0.02)
    expected = along_characteristics(np.full((1, 101), 0.5), _sine, _slow_sine, t)
    np.testing.assert_allclose(solution, expected, atol=1e-12)


def test_the_box_scheme_is_right_to_one_per_cent_on_the_benchmark():
    velocity = random_velocity(np.random.default_rng(1), 10, 101)
    assert velocity.min() == 1.0
    solution = solve_advection(velocity, _sine(NODES), _slow_sine(NODES), 0.01)
    exact = along_characteristics(velocity, _sine, _slow_sine, NODES)
    errors = np.linalg.norm(solution - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert errors.mean() < 0.01
    assert errors.max() < 0.02


@given(st.floats(0.01, 5.0))
def test_the_box_scheme_keeps_constants_and_is_stable_for_any_step(dt):
    velocity = random_velocity(np.random.default_rng(2), 2, 21)
    solution = solve_advection(velocity, np.ones(21), np.ones(30), dt)
    np.testing.assert_allclose(solution, 1.0, atol=1e-10)


@given(st.integers(0, 2**31), st.floats(0.01, 1.0))
def test_the_box_scheme_conserves_mass(seed, dt):
    """What flows in less what flows out, each halfway between two times, is what is gained."""
    rng = np.random.default_rng(seed)
    u = solve_advection(np.full((1, 31), 0.8), rng.standard_normal(31), rng.standard_normal(9), dt)
    mass = 0.5 * (u[0, :, 1:] + u[0, :, :-1]).mean(axis=1)
    halfway = 0.5 * (u[0, 1:] + u[0, :-1])
    gained = 0.8 * dt * (halfway[:, 0] - halfway[:, -1])
    np.testing.assert_allclose(np.diff(mass), gained, atol=1e-9)


@pytest.mark.parametrize("solve", [along_characteristics, solve_advection])
def test_velocities_that_turn_back_are_refused(solve):
    velocity = np.ones((1, 5))
    velocity[0, 2] = 0.0
    with pytest.raises(ValueError, match="positive velocity"):
        solve(velocity, np.ones(5), np.ones(3), 0.1)
