import numpy as np
import pytest
import torch

from certisolve_zoo.evaluation import answer
from certisolve_zoo.pdes.kuramoto_sivashinsky import solve_kuramoto_sivashinsky
from certisolve_zoo.pdes.random_fields import random_sines
from certisolve_zoo.records import WEIGHTS, Record, load_model
from certisolve_zoo.specs import ks1d_data as ks
from certisolve_zoo.specs import ks1d_ffno, ks1d_memno, ks1d_solvers
from certisolve_zoo.training import relative_l2

NUM_SAMPLES = 32


@pytest.fixture(scope="module")
def memory():
    return load_model(ks1d_memno.SPEC, WEIGHTS)


@pytest.fixture(scope="module")
def markov():
    return load_model(ks1d_ffno.SPEC, WEIGHTS)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    return ks1d_memno.unseen(NUM_SAMPLES, tmp_path_factory.mktemp("cache"))[0]


@torch.inference_mode()
def test_serving_equals_training_over_the_whole_window(memory, unseen):
    frames = torch.cat([unseen.inputs[0], unseen.target], dim=1)[:8]
    step = ks1d_memno.KsMemoryStep(memory)
    state, stepped = memory.initial_state(frames[:, 0]), []
    for frame in frames.unbind(1):
        following, state = step(frame, state)
        stepped.append(following)
    difference = relative_l2(torch.stack(stepped, dim=1), memory(frames))
    # Roundings of float32 over 25 steps and of the fast Fourier transform.
    assert difference.max() < 1e-5


def test_memory_halves_the_error(memory, markov, unseen, tmp_path):
    [alone] = ks1d_ffno.unseen(NUM_SAMPLES, tmp_path)
    assert torch.equal(alone.inputs[0], unseen.inputs[0][:, -1])
    assert torch.equal(alone.target, unseen.target)
    [with_memory] = answer(memory, ks1d_memno.SPEC, unseen.inputs)
    [without] = answer(markov, ks1d_ffno.SPEC, alone.inputs)
    error = relative_l2(with_memory, unseen.target).mean()
    assert 2 * error < relative_l2(without, alone.target).mean()


def test_the_records_say_so():
    ours, twin = (Record.load(WEIGHTS, name).resolutions[0] for name in ("ks1d-memno", "ks1d-ffno"))
    assert 2 * ours.error < twin.error
    for remembered, forgotten in zip(ours.error_at_t, twin.error_at_t, strict=True):
        assert remembered < forgotten


def test_the_twins_are_of_the_same_size(memory, markov):
    sizes = [sum(each.numel() for each in model.parameters()) for model in (memory, markov)]
    assert sizes[1] < sizes[0] < 1.01 * sizes[1]


@torch.inference_mode()
def test_the_more_is_remembered_the_better_the_next_frame(memory, unseen):
    [history] = unseen.inputs
    errors = [
        relative_l2(ks.forecast(memory, history[:, -given:], 1)[:, 0], unseen.target[:, 0]).mean()
        for given in (1, 2, 4, 10)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 4


@torch.inference_mode()
def test_shifts_of_space_commute_with_a_forecast(memory, unseen):
    history = unseen.inputs[0][:4]
    shifted = ks1d_memno.predict(memory, history.roll(7, dims=2))[:, :3]
    expected = ks1d_memno.predict(memory, history)[:, :3].roll(7, dims=2)
    # Roundings of float32, which chaos amplifies.
    assert relative_l2(shifted, expected).max() < 1e-4


def test_a_longer_set_begins_with_the_shorter_one():
    short, long = (ks.samples((3,), num_samples) for num_samples in (2, 65))
    assert torch.equal(long.inputs[0][:2], short.inputs[0])
    assert torch.equal(long.target[:2], short.target)


def test_the_classical_solver_is_right_where_nothing_is_hidden():
    start = random_sines(np.random.default_rng(5), 2, ks.FINE_POINTS)
    exact = solve_kuramoto_sivashinsky(
        start, ks.NU, domain_extent=ks.EXTENT, num_snapshots=ks.NUM_STEPS, interval=ks.DT, dt=0.01
    )[..., :: ks.STRIDE]
    coarse = start[:, :: ks.STRIDE]
    solved = ks1d_solvers.interpolated(coarse, num_points=ks.FINE_POINTS, dt=0.01)
    np.testing.assert_allclose(solved, exact, atol=1e-9)


def test_a_history_helps_the_classical_solver_too(unseen):
    errors = []
    for solver in ks1d_solvers.FROM_HISTORY[:2]:
        solved = torch.from_numpy(solver.solve(unseen.inputs[0].numpy()))
        errors.append(relative_l2(solved, unseen.target).mean())
    assert errors[1] < errors[0] / 2


def test_the_mean_on_the_coarse_grid_is_not_conserved(unseen):
    """Wave 64 is folded onto it: a program that kept it would be off by a percent."""
    frames = unseen.target
    drift = (frames - frames[:, :1]).mean(dim=2).square().mean().sqrt()
    assert drift > 0.005 * frames.square().mean().sqrt()
