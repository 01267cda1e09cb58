from dataclasses import replace

import numpy as np
import pytest

from certisolve_zoo.pdes.projectile import (
    GRAVITY,
    Throws,
    nominal_throws,
    random_releases,
    random_throws,
    solve_projectile,
)

T = np.linspace(0.1, 1.0, 10)


def _releases(num_samples=5):
    return random_releases(np.random.default_rng(0), num_samples)


def _solved(throws, y0, *, dt=0.01):
    return solve_projectile(throws, y0, num_snapshots=10, interval=0.1, dt=dt)


def _at(times, values):
    return times[None, :, None] * values[:, None, :]


def test_without_air_the_path_is_a_parabola():
    y0 = _releases()
    states = _solved(nominal_throws(5, drag=0.0), y0)
    velocity = y0[:, None, 3:] + T[:, None] * GRAVITY
    position = y0[:, None, :3] + _at(T, y0[:, 3:]) + 0.5 * T[:, None] ** 2 * GRAVITY
    np.testing.assert_allclose(states, np.concatenate([position, velocity], axis=2), atol=1e-12)


def test_a_falling_object_approaches_its_terminal_speed():
    drag = 0.1
    states = _solved(nominal_throws(1, drag=drag), np.zeros((1, 6)))[0]
    terminal = np.sqrt(9.81 / drag)
    np.testing.assert_allclose(states[:, 5], -terminal * np.tanh(9.81 * T / terminal), atol=1e-8)
    np.testing.assert_allclose(
        states[:, 2], -np.log(np.cosh(9.81 * T / terminal)) / drag, atol=1e-8
    )


def test_spin_does_no_work():
    y0 = _releases()
    throws = replace(random_throws(np.random.default_rng(1), 5, max_wind=0.0), drag=np.zeros(5))
    states = _solved(throws, y0)

    def energy(state):
        return 0.5 * (state[..., 3:] ** 2).sum(axis=-1) + 9.81 * state[..., 2]

    np.testing.assert_allclose(energy(states), energy(y0)[:, None].repeat(10, axis=1), rtol=1e-9)
    # Yet it bends the path.
    assert np.abs(states - _solved(nominal_throws(5, drag=0.0), y0)).max() > 0.5


def test_drag_takes_energy():
    states = solve_projectile(nominal_throws(5), _releases(), num_snapshots=100, interval=0.01)
    energy = 0.5 * (states[..., 3:] ** 2).sum(axis=-1) + 9.81 * states[..., 2]
    assert (np.diff(energy, axis=1) < 0).all()


def test_wind_is_a_moving_frame():
    throws = random_throws(np.random.default_rng(2), 5)
    y0 = _releases()
    frame = np.concatenate([np.zeros((5, 3)), throws.wind], axis=1)
    in_still_air = _solved(replace(throws, wind=np.zeros((5, 3))), y0 - frame)
    carried = np.concatenate(
        [_at(T, throws.wind), np.tile(throws.wind[:, None], (1, 10, 1))], axis=2
    )
    np.testing.assert_allclose(_solved(throws, y0), in_still_air + carried, atol=1e-11)


def test_turning_everything_about_the_vertical_turns_the_path():
    throws, y0 = random_throws(np.random.default_rng(3), 5), _releases()

    def turned(vectors):
        return np.stack([-vectors[..., 1], vectors[..., 0], vectors[..., 2]], axis=-1)

    def both(states):
        return np.concatenate([turned(states[..., :3]), turned(states[..., 3:])], axis=-1)

    elsewhere = Throws(throws.drag, turned(throws.spin), turned(throws.wind))
    np.testing.assert_allclose(_solved(elsewhere, both(y0)), both(_solved(throws, y0)), atol=1e-11)


def test_the_observed_order_is_four():
    throws, y0 = random_throws(np.random.default_rng(4), 5), _releases()
    fine = _solved(throws, y0, dt=0.0025)
    errors = [np.abs(_solved(throws, y0, dt=dt) - fine).max() for dt in (0.1, 0.05, 0.025)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4.0, atol=0.3)


def test_steps_of_ten_milliseconds_are_exact_enough_for_any_sensor():
    throws, y0 = random_throws(np.random.default_rng(5), 50), _releases(50)
    difference = _solved(throws, y0) - _solved(throws, y0, dt=0.001)
    assert np.abs(difference).max() < 1e-7


def test_a_path_does_not_depend_on_its_neighbours():
    throws, y0 = random_throws(np.random.default_rng(6), 5), _releases()
    alone = Throws(throws.drag[2:3], throws.spin[2:3], throws.wind[2:3])
    np.testing.assert_array_equal(_solved(alone, y0[2:3]), _solved(throws, y0)[2:3])


def test_releases_are_throws_upwards():
    y0 = _releases(1000)
    speed = np.linalg.norm(y0[:, 3:], axis=1)
    assert speed.min() >= 4.0 - 1e-12
    assert speed.max() <= 8.0 + 1e-12
    assert (y0[:, 5] / speed).min() == pytest.approx(0.5, abs=0.01)
