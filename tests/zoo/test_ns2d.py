"""What the step of `ns2d-fno` keeps exactly, and how well it does on the benchmark."""

import numpy as np
import pytest
import torch
from torch import nn

from certisolve_zoo.checks.conservation import MeanConservation
from certisolve_zoo.operators.vorticity import VorticityFno
from certisolve_zoo.pdes.navier_stokes import diagonal_forcing, solve_navier_stokes
from certisolve_zoo.records import WEIGHTS, Record, load_model
from certisolve_zoo.specs.ns2d_data import NU, random_windows, resample, turned
from certisolve_zoo.specs.ns2d_fno import NUM_POINTS, SPEC, examples, rollout
from certisolve_zoo.training import relative_l2

# FNO-2D of Li et al. (2020), ν = 1e-3 with 1,000 trajectories, frames from t = 11 to 50.
PUBLISHED_ERROR = 0.0128
# Sums of a few hundred float32 terms, through four layers.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def network():
    return load_model(SPEC, WEIGHTS)


@pytest.fixture(scope="module")
def w():
    """Frames at t = 10 on 64 points."""
    return examples(4)[1][0]


def test_the_record_of_the_benchmark_beats_the_published_error():
    for resolution in Record.load(WEIGHTS, "ns2d-fno").resolutions:
        assert resolution.error <= PUBLISHED_ERROR


def test_errors_are_recorded_at_several_horizons_and_grow():
    for resolution in Record.load(WEIGHTS, "ns2d-fno").resolutions:
        assert resolution.t == (1.0, 5.0, 10.0, 20.0, 40.0)
        assert list(resolution.error_at_t) == sorted(resolution.error_at_t)


def test_a_rollout_is_one_step_repeated(network, w):
    frames = rollout(network, w)
    frame = w
    for step in range(3):
        frame = network(frame)
        torch.testing.assert_close(frames[:, step], frame, rtol=0, atol=0)
    assert frames.shape == (4, SPEC.stepping.max_steps, 64, 64)


def test_the_mean_vorticity_stays_and_changes_nothing_else(network, w):
    raised = network(w + 0.3)
    assert relative_l2(raised, network(w) + 0.3).max() < ROUNDING
    assert MeanConservation(frames=True)(w, rollout(network, w)).max() < ROUNDING


def test_steps_commute_with_shifts_along_the_lines_of_equal_forcing(network, w):
    # The network's cells are 1/20 wide: 1/4 is the smallest common shift with 64 points.
    shifts = (16, -16)
    moved = network(w.roll(shifts, (1, 2)))
    assert relative_l2(moved, network(w).roll(shifts, (1, 2))).max() < ROUNDING


def test_finer_grids_get_the_same_answer(network, w):
    coarse = torch.from_numpy(resample(w.numpy(), 32)).float()
    finer = torch.from_numpy(resample(network(coarse).numpy(), 64)).float()
    assert relative_l2(network(w), finer).max() < ROUNDING


def test_without_advection_a_step_is_exact():
    step = VorticityFno(4, 3, 1, num_points=NUM_POINTS, nu=NU)
    nn.init.zeros_(step.network.project[-1].weight)
    # Shear flow along the diagonals: it does not advect itself. The bias is a mean: left out.
    angle = 2 * np.pi * np.arange(32) / 32
    shear = np.sin(2 * (angle[:, None] + angle)) + diagonal_forcing(32)
    expected = solve_navier_stokes(
        shear[None], NU, forcing=diagonal_forcing(32), num_snapshots=1, dt=0.1
    )[:, 0]
    with torch.inference_mode():
        answer = step(torch.from_numpy(shear[None]).float())
    np.testing.assert_allclose(answer.numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("symmetry", range(4))
def test_windows_are_turned_by_symmetries_of_the_equation(w, symmetry):
    def step(frame):
        field = resample(frame.double().numpy(), 32)
        forcing = diagonal_forcing(32)
        solution = solve_navier_stokes(field, NU, forcing=forcing, num_snapshots=1, dt=0.2)
        return torch.from_numpy(resample(solution[:, 0], 64))

    before, after = step(turned(w, symmetry)), turned(step(w), symmetry)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-12)


def test_windows_are_frames_in_a_row():
    frames = torch.arange(6.0)[:, None, None] + torch.zeros(3, 6, 4, 4)
    windows = random_windows(frames, 4, 32, torch.Generator().manual_seed(0)).abs()
    first = windows[:, :1]
    torch.testing.assert_close(windows - first, frames[:1, :4].expand(32, -1, -1, -1))
    assert first.min() == 0
    assert first.max() == 2
