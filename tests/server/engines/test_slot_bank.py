"""Jobs join, leave and fail between steps, and none of them feels the others."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.engines.stepping import finish
from certisolve_server.jobs import Work
from family_models import (
    DT,
    SIZE,
    drift,
    drift_manifest,
    engine_of,
    pendulum,
    pendulum_manifest,
    recall,
    recall_manifest,
    rotation,
    rotation_manifest,
)
from lanes import serve

NUM_SLOTS = 32
RNG = np.random.default_rng(4)


def lienard(y, t, rate):
    """Van der Pol's oscillator: stiff where the rate is large."""
    del t
    x, z = y[:, 0], y[:, 1]
    return torch.stack((rate * (x - x**3 / 3 - z), x / rate), dim=1)


def field(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def some_steps(seed):
    rng = np.random.default_rng(seed)
    return tuple(sorted({int(step) for step in rng.integers(1, 13, rng.integers(1, 4))}))


def drift_job(engine, seed, **asked):
    rate = np.float32(0.3 + 0.01 * (seed % 50))
    row = [field(seed, SIZE), field(seed + 1, SIZE), rate]
    return engine.job(row, Work(steps=some_steps(seed), **asked))


def recall_job(engine, seed, **asked):
    return engine.job([field(seed, 4, SIZE)], Work(steps=some_steps(seed), **asked))


def pendulum_job(engine, seed, **asked):
    return engine.job([field(seed, 5, 2)], Work(steps=some_steps(seed), **asked))


def rotation_job(engine, seed, **asked):
    t = tuple(0.1 * step for step in some_steps(seed))
    return engine.job([field(seed, 2), np.float32(1 + seed % 9)], Work(t=t, **asked))


def lienard_job(engine, seed, **asked):
    t = tuple(0.2 * step for step in some_steps(seed))
    rate = np.float32([1.0, 40.0, 8.0][seed % 3])
    return engine.job([field(seed, 2), rate], Work(t=t, **asked))


FAMILIES = {
    "rollout": (drift_manifest(), drift, drift_job),
    "memory-rollout": (recall_manifest(), recall, recall_job),
    "feedback-ode": (pendulum_manifest(), pendulum, pendulum_job),
    "ode": (rotation_manifest(), rotation, rotation_job),
    "stiff ode": (rotation_manifest(), lienard, lienard_job),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def opened(family):
    manifest, program, job = FAMILIES[family]
    return engine_of(manifest, program), job


def assert_same(actual, expected):
    """To the bit: these programs give a row the same bits in every batch."""
    assert actual.error is None
    assert expected.error is None
    assert (actual.findings, actual.t, actual.ending) == (
        expected.findings,
        expected.t,
        expected.ending,
    )
    for kept, alone in zip(
        (*actual.outputs, *actual.states), (*expected.outputs, *expected.states), strict=True
    ):
        np.testing.assert_array_equal(kept, alone)


@every_family
@settings(max_examples=5, deadline=None)  # integrations on a busy machine
@given(data=st.data())
def test_a_job_comes_to_the_same_alone_and_among_others_that_come_and_go(family, data):
    engine, job_of = opened(family)
    count = data.draw(st.integers(1, 4 if "ode" in family else 12))
    jobs = [job_of(engine, seed, keeps_states=seed % 2 == 0) for seed in range(count)]
    arrivals = data.draw(st.lists(st.integers(0, 15), min_size=count, max_size=count))
    cancellations = data.draw(st.dictionaries(st.integers(1, count), st.integers(0, 20)))
    together = serve(
        engine,
        jobs,
        arrivals,
        num_slots=data.draw(st.integers(1, 6)),
        cancellations=cancellations,
    )
    for index, (job, came_to) in enumerate(zip(jobs, together, strict=True)):
        if came_to is None:
            assert index in cancellations
        else:
            assert_same(came_to, finish(engine, [job])[0])


@every_family
def test_a_job_comes_to_the_same_among_31_others(family):
    engine, job_of = opened(family)
    jobs = [job_of(engine, seed) for seed in range(NUM_SLOTS)]
    arrivals = [seed % 7 for seed in range(NUM_SLOTS)]
    for job, came_to in zip(jobs, serve(engine, jobs, arrivals, num_slots=NUM_SLOTS), strict=True):
        assert_same(came_to, finish(engine, [job])[0])


@every_family
def test_one_that_diverges_among_31_hurts_nobody(family):
    engine, job_of = opened(family)
    jobs = [job_of(engine, seed) for seed in range(NUM_SLOTS)]
    endless = np.full_like(jobs[9].inputs[0], np.inf)
    jobs[9] = replace(jobs[9], inputs=(endless, *jobs[9].inputs[1:]))
    arrivals = [seed % 3 for seed in range(NUM_SLOTS)]
    together = serve(engine, jobs, arrivals, num_slots=NUM_SLOTS)
    assert together[9].ending == "diverged"
    assert together[9].finite
    for index, (job, came_to) in enumerate(zip(jobs, together, strict=True)):
        if index != 9:
            assert_same(came_to, finish(engine, [job])[0])


@every_family
def test_one_that_breaks_the_program_fails_alone(family):
    manifest, program, job_of = FAMILIES[family]

    def brittle(first, *rest):
        if (first == 7).any():
            raise ArithmeticError("seven")
        return program(first, *rest)

    engine, sound = engine_of(manifest, brittle), engine_of(manifest, program)
    jobs = [job_of(engine, seed) for seed in range(NUM_SLOTS)]
    poison = np.full_like(jobs[9].inputs[0], 7)
    jobs[9] = replace(jobs[9], inputs=(poison, *jobs[9].inputs[1:]))
    arrivals = [0 if seed % 2 else 3 for seed in range(NUM_SLOTS)]
    together = serve(engine, jobs, arrivals, num_slots=NUM_SLOTS)
    assert isinstance(together[9].error, ArithmeticError)
    for index, (job, came_to) in enumerate(zip(jobs, together, strict=True)):
        if index != 9:
            assert_same(came_to, finish(sound, [job])[0])


@every_family
def test_one_that_cannot_begin_fails_alone(family):
    engine, job_of = opened(family)
    jobs = [job_of(engine, seed) for seed in range(6)]
    jobs[2] = replace(jobs[2], work=Work())  # asks for nothing
    jobs[4] = replace(jobs[4], work=Work())
    together = serve(engine, jobs, [0, 0, 0, 4, 4, 5], num_slots=3)
    assert isinstance(together[2].error, ValueError)
    assert isinstance(together[4].error, ValueError)
    for index in (0, 1, 3, 5):
        assert_same(together[index], finish(engine, [jobs[index]])[0])


@every_family
def test_one_whose_frames_find_no_room_fails_alone(family):
    engine, job_of = opened(family)
    jobs = [job_of(engine, seed) for seed in range(3)]
    bank = opened_bank(engine, jobs)

    def full(*_):
        raise MemoryError("full")

    bank._courses[1].frames.put = full
    ended, slots = {}, [0, 1, 2]
    while slots:
        run = bank.run(slots, len(slots), interrupted=lambda: False, max_s=60.0)
        ended |= run.ended
        slots = [slot for slot in slots if slot not in ended]
    assert isinstance(ended[1].error, MemoryError)
    for slot in (0, 2):
        assert_same(ended[slot], finish(engine, [jobs[slot]])[0])


@every_family
def test_jobs_that_all_cannot_begin_make_no_step(family):
    engine, job_of = opened(family)
    bank = engine.open_bank()
    broken = replace(job_of(engine, 0), work=Work())
    bank.lay_out([], [], [(broken, 0), (broken, 1)])
    run = bank.run([0, 1], 2, interrupted=lambda: False, max_s=1.0)
    assert (run.num_steps, [slot for slot, _ in run.ended]) == (0, [0, 1])
    bank.lay_out([0, 1], [], [(job_of(engine, 1), 0)])
    assert bank.run([0], 1, interrupted=lambda: True, max_s=1.0).num_steps == 1


@every_family
def test_slots_on_a_device_that_pads_and_lags_come_to_the_same(family):
    engine, job_of = opened(family)
    jobs = [job_of(engine, seed, stream=seed % 2 == 0) for seed in range(11)]
    arrivals = [seed % 4 for seed in range(11)]
    expected = [finish(engine, [job])[0] for job in jobs]
    # As a GPU does, on a processor: sizes of powers of two, and looks a step behind.
    engine.device.pipeline_depth = 2
    engine.device.padded = lambda size: 1 << (size - 1).bit_length()
    for came_to, alone in zip(serve(engine, jobs, arrivals, num_slots=8), expected, strict=True):
        assert_same(came_to, alone)
    together = finish(engine, jobs)
    for came_to, alone in zip(together, expected, strict=True):
        assert_same(came_to, alone)


# --- One run --------------------------------------------------------------------------------------


def opened_bank(engine, jobs):
    bank = engine.open_bank()
    bank.lay_out([], [], [(job, slot) for slot, job in enumerate(jobs)])
    return bank


def step_once(bank, size=1):
    return bank.run(range(size), size, interrupted=lambda: True, max_s=1.0)


def drifting(engine, steps, rate=0.5, **asked):
    row = [field(1, SIZE), field(2, SIZE), np.float32(rate)]
    return engine.job(row, Work(steps=steps, **asked))


def test_a_run_goes_on_until_one_ends():
    engine = engine_of(drift_manifest(), drift)
    bank = opened_bank(engine, [drifting(engine, (7,)), drifting(engine, (4,))])
    run = bank.run([0, 1], 2, interrupted=lambda: False, max_s=60.0)
    assert run.num_steps == 4
    assert [slot for slot, _ in run.ended] == [1]
    assert run.padded_size == 2
    assert run.compute_ms > 0
    assert bank.progress()[0][1] == 4 / 7


def test_a_run_ends_when_it_is_interrupted_or_its_time_is_over():
    engine = engine_of(drift_manifest(), drift)
    bank = opened_bank(engine, [drifting(engine, (400,))])
    asked = iter([False, False, True])
    assert bank.run([0], 1, interrupted=lambda: next(asked), max_s=60.0).num_steps == 3
    assert bank.run([0], 1, interrupted=lambda: False, max_s=0.0).num_steps == 1


def test_a_run_ends_with_a_frame_that_is_streamed():
    engine = engine_of(drift_manifest(), drift)
    streamed = drifting(engine, (2, 5, 6), stream=True)
    bank = opened_bank(engine, [drifting(engine, (1, 2, 9)), streamed])
    told, ended = [], []
    while not any(slot == 1 for slot, _ in ended):
        run = bank.run([0, 1], 2, interrupted=lambda: False, max_s=60.0)
        told += [(slot, frame.index, round(frame.t / DT)) for slot, frame in run.frames]
        ended += run.ended
    assert told == [(1, 0, 2), (1, 1, 5), (1, 2, 6)]


def test_streamed_frames_are_those_of_the_answer():
    engine = engine_of(drift_manifest(), drift)
    bank = opened_bank(engine, [drifting(engine, (2, 5, 6), stream=True)])
    frames, ended = [], []
    while not ended:
        run = bank.run([0], 1, interrupted=lambda: False, max_s=60.0)
        frames += [frame for _, frame in run.frames]
        ended = run.ended
    for index, output in enumerate(ended[0][1].outputs):
        np.testing.assert_array_equal(np.stack([f.outputs[index] for f in frames]), output)


def test_what_the_first_step_raises_leaves_every_state_as_it_was():
    fails = []

    def brittle(w, f, rate):
        if fails:
            raise ArithmeticError(fails.pop())
        return drift(w, f, rate)

    engine = engine_of(drift_manifest(), brittle)
    [expected] = finish(engine, [drifting(engine, (1, 2, 3))])
    bank = opened_bank(engine, [drifting(engine, (1, 2, 3)), drifting(engine, (9,))])
    step_once(bank, 2)
    fails.append("now")
    with pytest.raises(ArithmeticError, match="now"):
        step_once(bank, 2)
    assert bank.progress()[0][1] == pytest.approx(1 / 3)
    run = bank.run([0, 1], 2, interrupted=lambda: False, max_s=60.0)
    assert_same(dict(run.ended)[0], expected)


def test_what_a_later_step_raises_is_met_by_the_next_run():
    def brittle(w, f, rate):
        if (w > 4).any():
            raise ArithmeticError("large")
        return w, w + 1 + 0 * f * rate[:, None]

    engine = engine_of(drift_manifest(), brittle)
    job = engine.job([np.zeros(SIZE, np.float32), field(2, SIZE), np.float32(1)], Work(steps=(9,)))
    bank = opened_bank(engine, [job])
    run = bank.run([0], 1, interrupted=lambda: False, max_s=60.0)
    assert (run.num_steps, run.ended) == (5, [])
    with pytest.raises(ArithmeticError):
        bank.run([0], 1, interrupted=lambda: False, max_s=60.0)


def test_a_slot_may_be_stepped_without_the_others():
    engine = engine_of(drift_manifest(), drift)
    jobs = [drifting(engine, (3,), rate) for rate in (0.2, 0.4, 0.6)]
    bank = opened_bank(engine, jobs)
    ended = dict(bank.run([1], 1, interrupted=lambda: False, max_s=60.0).ended)
    assert [share for _, share in bank.progress()] == [0.0, 1.0, 0.0]
    bank.lay_out([1], [(2, 1)], [])
    run = bank.run([0, 1], 2, interrupted=lambda: False, max_s=60.0)
    ended |= {2 * slot: what for slot, what in run.ended}
    for index, job in enumerate(jobs):
        assert_same(ended[index], finish(engine, [job])[0])


# --- Divergence -----------------------------------------------------------------------------------


def doubling(steps, **asked):
    """Overflows with step 128: a field of 1, doubled."""
    engine = engine_of(drift_manifest(), drift)
    row = [np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32), np.float32(2.0)]
    return engine, engine.job(row, Work(steps=steps, **asked))


# v = 2 w is infinite with step 127.
@pytest.mark.parametrize(
    ("steps", "good"),
    [
        ((200,), (126,)),
        ((3, 200), (3, 126)),
        ((3, 126, 127), (3, 126)),
        ((3, 125, 127, 300), (3, 125, 126)),
    ],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_frames_before_a_divergence_are_kept_with_the_last_good_one(steps, good, depth):
    engine, job = doubling(steps, stream=True)
    engine.device.pipeline_depth = depth
    bank, frames, ended = opened_bank(engine, [job]), [], []
    while not ended:
        run = bank.run([0], 1, interrupted=lambda: False, max_s=60.0)
        frames += [frame for _, frame in run.frames]
        ended = run.ended
    [(_, came_to)] = ended
    assert (came_to.ending, came_to.finite, came_to.states) == ("diverged", True, ())
    assert came_to.t == pytest.approx([step * DT for step in good])
    np.testing.assert_array_equal(
        came_to.outputs[1][:, 0], [np.float32(2.0) ** step for step in good]
    )
    assert came_to.findings["nfe"] == 127
    # The last good frame is told as any other.
    assert [frame.index for frame in frames] == list(range(len(good)))
    assert [frame.t for frame in frames] == list(came_to.t)


@pytest.mark.parametrize("rest", [1, 125, 126, 127])
def test_the_last_good_frame_is_known_after_a_rest_and_a_move(rest):
    engine, job = doubling((200,))
    bank = opened_bank(engine, [drifting(engine, (2000,)), job])
    for _ in range(rest - 1):
        step_once(bank, 2)
    bank.lay_out([0], [(1, 0)], [])
    [(_, came_to)] = bank.run([0], 1, interrupted=lambda: False, max_s=60.0).ended
    assert came_to.t == pytest.approx([126 * DT])
    np.testing.assert_array_equal(came_to.outputs[1], np.full((1, SIZE), 2.0**126, np.float32))


def test_a_first_step_that_is_not_finite_leaves_no_frames():
    engine = engine_of(drift_manifest(), drift)
    job = engine.job([np.full(SIZE, 3e38, np.float32)] * 2 + [np.float32(2)], Work(steps=(1, 2)))
    [came_to] = finish(engine, [job])
    assert (came_to.ending, came_to.t) == ("diverged", ())
    assert [output.shape for output in came_to.outputs] == [(0, SIZE)] * 2


def test_what_is_predicted_within_a_history_may_be_anything():
    def step(u, h):
        return torch.log(u[:, :1] - 2) + 0 * u, u, h

    engine = engine_of(recall_manifest(), step)
    history = np.full((3, SIZE), 1.0, np.float32)
    history[-1] = 3.0
    [came_to] = finish(engine, [engine.job([history], Work(steps=(1,)))])
    assert came_to.ending is None
    np.testing.assert_array_equal(came_to.outputs[0], np.zeros((1, SIZE)))


# --- Going on -------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6))
def test_a_session_goes_on_as_if_it_had_never_rested(first, second, length):
    engine = engine_of(recall_manifest(), recall)
    history = field(3, length, SIZE)
    [whole] = finish(engine, [engine.job([history], Work(steps=(first, first + second)))])
    [before] = finish(engine, [engine.job([history], Work(steps=(first,), keeps_states=True))])
    job = engine.job([before.outputs[0][-1:]], Work(steps=(second,), keeps_states=True))
    [after] = finish(engine, [replace(job, states=before.states)])
    np.testing.assert_array_equal(before.outputs[0][0], whole.outputs[0][0])
    np.testing.assert_array_equal(after.outputs[0][0], whole.outputs[0][1])
    np.testing.assert_array_equal(after.outputs[1][0], whole.outputs[1][1])


def test_sessions_and_those_who_begin_anew_share_steps():
    engine = engine_of(recall_manifest(), recall)
    states = (field(5, SIZE, 2),)
    jobs = [engine.job([field(seed, 1, SIZE)], Work(steps=(4,))) for seed in range(4)]
    jobs = [replace(job, states=states) if index % 2 else job for index, job in enumerate(jobs)]
    bank = opened_bank(engine, jobs)
    run = bank.run(range(4), 4, interrupted=lambda: False, max_s=60.0)
    assert run.num_steps == 4
    for (_, came_to), job in zip(run.ended, jobs, strict=True):
        assert_same(came_to, finish(engine, [job])[0])


def test_states_of_another_shape_fail_alone():
    engine = engine_of(recall_manifest(), recall)
    job = engine.job([field(0, 1, SIZE)], Work(steps=(2,)))
    broken = replace(job, states=(field(5, SIZE + 1, 2),))
    first, second = serve(engine, [job, broken], [0, 0], num_slots=2)
    assert second.error is not None
    assert_same(first, finish(engine, [job])[0])


# --- Room -----------------------------------------------------------------------------------------


def test_a_slot_takes_what_its_tensors_take():
    drifts = engine_of(drift_manifest(), drift)
    # w and f, and both outputs twice.
    assert drifts.state_bytes(drifting(drifts, (1,)).lane) == 4 * SIZE * (2 + 2 * 2)
    recalls = engine_of(recall_manifest(), recall)
    lane = recalls.job([field(0, 5, SIZE)], Work(steps=(1,))).lane
    assert recalls.state_bytes(lane) == 4 * SIZE * (1 + 5 + 2 * 2 + 2 * 2)


def test_the_last_of_a_lane_frees_its_tensors():
    engine = engine_of(drift_manifest(), drift)
    bank = opened_bank(engine, [drifting(engine, (3,))])
    bank.run([0], 1, interrupted=lambda: False, max_s=math.inf)
    bank.lay_out([0], [], [])
    assert not bank._rows
