"""A rollout is its program step by step, whoever shares the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Axis, Postprocess, Stepping
from certisolve_server.engines.stepping import finish
from certisolve_server.jobs import Work
from family_models import (
    DRIFT_CHECKS,
    SIZE,
    Direct,
    drift,
    drift_checks,
    drift_manifest,
    engine_of,
    recall,
    recall_manifest,
    spec,
    three_recalls,
)

RNG = np.random.default_rng(0)
FIELDS = RNG.uniform(-1, 1, (12, SIZE)).astype(np.float32)
RATES = RNG.uniform(0, 2, 12).astype(np.float32)


def columns(rows, rates=RATES):
    """Some requests of `drift`: each row starts from another field, under another forcing."""
    return [
        [FIELDS[row] for row in rows],
        [FIELDS[-1 - row] for row in rows],
        [np.float32(rates[row]) for row in rows],
    ]


def stepped(row, num_steps, rate=None):
    """The field w after each step, by the program alone."""
    w, f = (torch.from_numpy(FIELDS[[index]]) for index in (row, -1 - row))
    value = torch.tensor([RATES[row] if rate is None else rate])
    frames = []
    for _ in range(num_steps):
        _, w = drift(w, f, value)
        frames.append(w[0].numpy())
    return np.stack(frames)


def answers(engine, sent, steps, **asked):
    """Per request the outputs, with what was found, and whether it is all that was asked for."""
    ended = finish(engine, jobs(engine, sent, steps, **asked))
    for each in ended:
        if each.error:
            raise each.error
    return [(each.outputs, each.findings, each.ending is None) for each in ended]


def jobs(engine, sent, steps, **asked):
    """Requests of one lane."""
    rows = zip(*sent, strict=True)
    return [
        engine.job(row, Work(steps=each, **asked)) for row, each in zip(rows, steps, strict=True)
    ]


def test_frames_are_those_of_the_program_run_step_by_step():
    engine = engine_of(drift_manifest(), drift)
    [((v, w), found, finite)] = answers(engine, columns([0]), [(2, 3, 7)])
    expected = stepped(0, 7)[[1, 2, 6]]
    np.testing.assert_array_equal(w, expected)
    np.testing.assert_array_equal(v, 2 * expected)
    assert finite
    assert found["nfe"] == 7


some_steps = st.sets(st.integers(1, 9), min_size=1).map(lambda steps: tuple(sorted(steps)))


@given(st.lists(some_steps, min_size=1, max_size=5))
def test_every_request_of_a_batch_has_its_own_frames(steps):
    engine = engine_of(drift_manifest(), drift)
    rows = range(len(steps))
    for row, ((v, w), found, _) in zip(rows, answers(engine, columns(rows), steps), strict=True):
        expected = stepped(row, steps[row][-1])[[step - 1 for step in steps[row]]]
        np.testing.assert_array_equal(w, expected)
        np.testing.assert_array_equal(v, 2 * expected)
        assert found["nfe"] == steps[row][-1]


def test_the_program_runs_as_often_as_the_furthest_request_needs():
    program = Direct(drift)
    engine = engine_of(drift_manifest(), program)
    answers(engine, columns([0, 1, 2]), [(1,), (6,), (2, 3)])
    assert program.calls == 6


def test_only_frames_that_are_wanted_are_held():
    engine = engine_of(drift_manifest(), drift)
    some = answers(engine, columns([0, 1, 2]), [(1, 9), (400,), (2,)])
    assert [len(output) for outputs, _, _ in some for output in outputs] == [2, 2, 1, 1, 1, 1]


def test_an_input_that_is_no_output_stays_and_parameters_reach_every_step():
    engine = engine_of(drift_manifest(), drift)
    sent = [[np.zeros(SIZE, np.float32)], [np.ones(SIZE, np.float32)], [np.float32(1.0)]]
    [((_, w), _, _)] = answers(engine, sent, [(1, 2, 3, 4)])
    np.testing.assert_array_equal(w[:, 0], [1.0, 2.0, 3.0, 4.0])


def test_padding_adds_no_answers():
    sizes = set()

    def counted(w, f, rate):
        sizes.add(len(w))
        return drift(w, f, rate)

    engine = engine_of(drift_manifest(), counted)
    engine.device.padded = lambda batch_size: 1 << (batch_size - 1).bit_length()
    first, second, third = answers(engine, columns([0, 1, 2]), [(1,), (2, 3), (4, 5)])
    assert sizes == {4, 2, 1}
    for row, ((_, w), _, _), steps in [(0, first, [1]), (1, second, [2, 3]), (2, third, [4, 5])]:
        np.testing.assert_array_equal(w, stepped(row, 5)[[step - 1 for step in steps]])


# --- Divergence -----------------------------------------------------------------------------------


def test_what_diverges_after_its_own_end_is_finite():
    # Doubling overflows float32 within 130 steps, halving never does.
    engine = engine_of(drift_manifest(), drift)
    sent = columns([0, 0, 1], rates=[2.0, 0.5])
    steps = [(1, 2), (200,), (200,)]
    (_, w), _, finite = answers(engine, sent, steps)[0]
    np.testing.assert_array_equal(w, stepped(0, 2, rate=2.0))
    assert [each[2] for each in answers(engine, sent, steps)] == [True, False, True]
    assert finite


def test_findings_of_a_request_end_with_it():
    manifest = drift_manifest(
        postprocess=(Postprocess(kind="conserve", output="w", integral_of="f"),)
    )
    engine = engine_of(manifest, drift)
    alone = [answers(engine, columns([row]), [(row + 1,)])[0][1] for row in range(3)]
    together = answers(engine, columns([0, 1, 2]), [(1,), (2,), (3,)])
    for mine, (_, found, _) in zip(alone, together, strict=True):
        assert found == mine
    longer = answers(engine, columns([0, 1]), [(1,), (9,)])
    assert longer[0][1] == alone[0]


def test_the_largest_finding_on_the_way_is_told():
    defects = iter([0.1, 0.7, 0.2])

    def step(w, f, rate):
        del f, rate
        # A mean of 0 with an excess that the projection takes away again.
        return 2 * w, torch.ones_like(w) * next(defects) + w / w.abs().mean()

    manifest = drift_manifest(postprocess=(Postprocess(kind="conserve", output="w", value=0.0),))
    w = np.tile(np.float32([1.0, -1.0]), SIZE // 2)
    sent = [[w], [w], [np.float32(1.0)]]
    [(_, found, _)] = answers(engine_of(manifest, step), sent, [(3,)])
    # Relative to the mean of |1 + 0.7| and |-1 + 0.7|.
    assert found["conservation_defect"] == pytest.approx(0.7, rel=1e-5)


# --- Post-processing ------------------------------------------------------------------------------


def test_what_is_fed_back_is_post_processed():
    def step(w, f, rate):
        return w, w + f + rate[:, None]

    manifest = drift_manifest(postprocess=(Postprocess(kind="conserve", output="w", value=0.5),))
    sent = [[FIELDS[0]], [FIELDS[1]], [np.float32(1.0)]]
    [((v, w), _, _)] = answers(engine_of(manifest, step), sent, [(1, 2, 3)])
    # Means of float32, stored after each step.
    np.testing.assert_allclose(w.mean(axis=1), 0.5, atol=1e-6)
    np.testing.assert_array_equal(v[1:], w[:-1])


def test_the_mean_of_an_ensemble_is_fed_back():
    def step(w, f, rate):
        del f, rate
        return torch.stack((w + 1, w + 3), dim=1)

    manifest = drift_manifest(
        outputs=(spec("w", "x"), spec("spread", "x")),
        postprocess=(Postprocess(kind="ensemble", output="w", deviation="spread"),),
    )
    sent = [[np.zeros(SIZE, np.float32)]] * 2 + [[np.float32(1.0)]]
    [((w, spread), _, _)] = answers(engine_of(manifest, step), sent, [(1, 2, 3)])
    np.testing.assert_array_equal(w[:, 0], [2.0, 4.0, 6.0])
    np.testing.assert_allclose(spread, np.sqrt(2), rtol=1e-6)  # of 1 and 3, one freedom less


# --- Memory ---------------------------------------------------------------------------------------


def history(length, row=0):
    return FIELDS[row : row + length]


@pytest.mark.parametrize("length", [1, 2, 6])
def test_a_history_warms_up_the_states_and_its_last_frame_starts(length):
    engine = engine_of(recall_manifest(), recall)
    [((u, passes), found, _)] = answers(engine, [[history(length)]], [(1, 2, 3)])
    expected = [each[0].numpy() for each in three_recalls(torch.from_numpy(history(length))[None])]
    np.testing.assert_array_equal(u, expected[0])
    np.testing.assert_array_equal(passes[:, 0], length + np.arange(3))
    assert found["nfe"] == length + 2


def test_states_start_at_zero_and_are_carried():
    engine = engine_of(recall_manifest(), recall)
    [((u, _), _, _)] = answers(engine, [[history(1)]], [(1, 2)])
    start = history(1)[0]
    np.testing.assert_array_equal(u[0], start)
    np.testing.assert_array_equal(u[1], start + np.float32(0.5) * start)


def test_histories_of_a_batch_do_not_mix():
    engine = engine_of(recall_manifest(), recall)
    rows, steps = [0, 3, 6], [(1,), (2, 5), (3,)]
    together = answers(engine, [[history(4, row) for row in rows]], steps)
    for row, own, ((u, passes), found, _) in zip(rows, steps, together, strict=True):
        [((alone, alone_passes), alone_found, _)] = answers(engine, [[history(4, row)]], [own])
        np.testing.assert_array_equal(u, alone)
        np.testing.assert_array_equal(passes, alone_passes)
        assert found == alone_found


def test_a_state_may_be_on_the_grid_alone_or_on_channels_alone():
    manifest = recall_manifest(
        stepping=Stepping(dt=0.1, max_steps=8, states=(spec("a", "x"), spec("b", ("memory",)))),
        outputs=(spec("u", "x"),),
    )

    def step(u, a, b):
        assert a.shape == (1, SIZE)
        assert b.shape == (1, 2)
        return u + a + b.sum(), u, b + 1

    [((u,), _, _)] = answers(engine_of(manifest, step), [[history(1)]], [(3,)])
    assert u.shape == (1, SIZE)


def test_an_input_beside_the_history_is_the_same_for_every_frame():
    manifest = recall_manifest(inputs=(*recall_manifest().inputs, spec("f", "x")))

    def step(u, f, h):
        return f, *recall(u, h)[1:]

    sent = [[history(3)], [FIELDS[9]]]
    [((u, passes), _, _)] = answers(engine_of(manifest, step), sent, [(1, 2)])
    np.testing.assert_array_equal(u, np.stack([FIELDS[9]] * 2))
    np.testing.assert_array_equal(passes[:, 0], [3, 4])


# --- Checks ---------------------------------------------------------------------------------------


def test_checks_look_at_the_frames_of_each_request():
    engine = engine_of(drift_manifest(checks=DRIFT_CHECKS), drift, checks=drift_checks)
    steps = [(1,), (1, 2, 5), (4,), (2, 3, 9)]
    for row, (_, found, _) in enumerate(answers(engine, columns(range(4)), steps)):
        own = stepped(row, steps[row][-1])[[step - 1 for step in steps[row]]]
        assert found["residual"] == pytest.approx(own.mean(), abs=1e-6)
        assert found["knot_excess"] == pytest.approx(abs(own).max() - 10, abs=1e-5)


def test_checks_that_nobody_wants_are_not_run():
    checks = Direct(drift_checks)
    engine = engine_of(drift_manifest(checks=DRIFT_CHECKS), drift, checks=checks)
    [(_, found, _)] = answers(engine, columns([0]), [(1,)], checks=False)
    assert (checks.calls, set(found)) == (0, {"nfe"})


def test_a_check_that_mends_nothing_hides_no_defect_that_was_mended():
    manifest = drift_manifest(
        postprocess=(Postprocess(kind="conserve", output="w", value=0.5),),
        checks=replace(DRIFT_CHECKS, names=("conservation_defect",)),
    )
    engine = engine_of(manifest, drift, checks=lambda w, *rest: w[:, 0] * 0)
    bare = engine_of(replace(manifest, checks=None), drift)
    [(_, found, _)] = answers(engine, columns([0]), [(2,)])
    [(_, expected, _)] = answers(bare, columns([0]), [(2,)])
    assert found == expected


def test_a_check_that_returns_one_number_for_all_is_an_error():
    engine = engine_of(
        drift_manifest(checks=DRIFT_CHECKS), drift, checks=lambda w, *_: (w.mean(), w.mean())
    )
    with pytest.raises(Exception, match="a check of 1 rows"):
        answers(engine, columns([0, 1]), [(1,), (1,)])


def test_an_axis_of_points_in_front_is_a_history_and_elsewhere_it_is_not():
    axes = {**recall_manifest().axes, "probe": Axis(kind="points", maximum=9)}
    manifest = drift_manifest(axes=axes, inputs=(spec("w", "x"), spec("f", ("x", "probe"))))
    engine = engine_of(manifest, lambda w, f, rate: (w, w + f.sum(dim=-1) * rate[:, None]))
    sent = [[FIELDS[0]], [np.ones((SIZE, 3), np.float32)], [np.float32(1.0)]]
    [((_, w), _, _)] = answers(engine, sent, [(2,)])
    np.testing.assert_allclose(w[0], FIELDS[0] + 6, rtol=1e-6)
