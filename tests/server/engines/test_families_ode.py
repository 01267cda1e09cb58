"""An integration has the frames of its own steps, whoever shares the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from certisolve.manifest import Axis, Integration, Program
from certisolve_server.artifacts import read_artifact
from certisolve_server.engines import ProgramError, open_device
from certisolve_server.engines.families import open_engine
from certisolve_server.engines.stepping import finish
from certisolve_server.jobs import Work
from family_models import engine_of, parameter, rotation, rotation_manifest, spec
from helpers import Pointwise, write_artifact

RNG = np.random.default_rng(2)


def point(dtype=np.float32):
    return RNG.uniform(-1, 1, 2).astype(dtype)


def turned(y, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * y[0] + s * y[1], c * y[1] - s * y[0]])


def integration(**changes):
    values = {
        "method": "tsit5",
        "rtol": 1e-5,
        "atol": 1e-7,
        "smallest_rtol": 1e-6,
        "max_steps": 1000,
        "horizon": 2.0,
    }
    return Integration(**(values | changes))


def solve(manifest, field, sent, times, **asked):
    """Per request what it came to; each of `sent` is a state and a rate."""
    engine = engine_of(manifest, field)
    jobs = [
        engine.job([y, np.float32(rate)], Work(t=t, **asked))
        for (y, rate), t in zip(sent, times, strict=True)
    ]
    ended = finish(engine, jobs)
    assert [each.error for each in ended] == [None] * len(ended)
    return ended


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "rodas3"])
def test_frames_are_the_solution_at_the_times_that_were_asked_for(method):
    manifest = rotation_manifest(integration=integration(method=method))
    y, t = point(), (0.1, 0.15, 1.0, 1.999, 2.0)
    [ended] = solve(manifest, rotation, [(y, 3.0)], [t])
    expected = [turned(y, 3.0 * each) for each in t]
    # rtol 1e-5 in each of some tens of steps.
    np.testing.assert_allclose(ended.outputs[0], expected, atol=1e-3)
    assert ended.outputs[0].dtype == np.float32
    assert ended.finite
    assert (ended.ending, ended.t) == (None, None)
    assert ended.findings["nfe"] > 0
    assert ended.findings["rejected_steps"] >= 0


def test_a_tighter_tolerance_takes_more_work_and_comes_closer():
    manifest = rotation_manifest(integration=integration(rtol=1e-3, atol=1e-3))
    y = point(np.float64)
    manifest = replace(
        manifest, inputs=(spec("y", ("state",), "F64"),), outputs=(spec("y", ("state",), "F64"),)
    )
    [loose] = solve(manifest, rotation, [(y, 9.0)], [(2.0,)])
    [tight] = solve(manifest, rotation, [(y, 9.0)], [(2.0,)], rtol=1e-9, atol=1e-9)
    errors = [np.abs(each.outputs[0][0] - turned(y, 18.0)).max() for each in (loose, tight)]
    assert errors[1] < 1e-7 < 1e-4 < errors[0]
    assert tight.findings["nfe"] > 2 * loose.findings["nfe"]


def test_requests_of_a_batch_take_the_steps_that_they_take_alone():
    manifest = rotation_manifest()
    sent = [(point(), rate) for rate in (0.2, 50.0, 3.0, 100.0)]
    times = [(2.0,), (0.5, 0.7), (0.1, 0.2, 4.0), (1.0,)]
    together = solve(manifest, rotation, sent, times)
    for row, each in enumerate(together):
        [alone] = solve(manifest, rotation, [sent[row]], [times[row]])
        np.testing.assert_array_equal(each.outputs[0], alone.outputs[0])
        assert each.findings == alone.findings


def test_a_state_may_have_any_shape():
    manifest = rotation_manifest(
        axes={"point": Axis(kind="points", maximum=9), "state": Axis(kind="channel", size=2)},
        inputs=(spec("y", ("point", "state")),),
        outputs=(spec("y", ("point", "state")),),
    )

    def field(y, t, rate):
        assert y.shape[1:] == (3, 2)
        assert t.shape == rate.shape == y.shape[:1]
        return rate[:, None, None] * torch.stack((y[..., 1], -y[..., 0]), dim=-1)

    y = np.stack([point() for _ in range(3)])
    [ended] = solve(manifest, field, [(y, 1.0)], [(0.5, 1.0)])
    expected = [[turned(each, t) for each in y] for t in (0.5, 1.0)]
    np.testing.assert_allclose(ended.outputs[0], expected, atol=1e-3)


def test_the_field_sees_the_time_since_the_input():
    def field(y, t, rate):
        return rate[:, None] * torch.stack((t, 2 * t), dim=1) + 0 * y

    [ended] = solve(rotation_manifest(), field, [(np.zeros(2, np.float32), 1.0)], [(1.0, 2.0)])
    np.testing.assert_allclose(ended.outputs[0], [[0.5, 1.0], [2.0, 4.0]], rtol=1e-4)


# --- Ends -----------------------------------------------------------------------------------------


def explosion(y, t, rate):
    """A pole at t = 1 / (rate y)."""
    return rate[:, None] * y * y


def test_what_diverges_keeps_its_frames_and_its_last_good_state():
    manifest = rotation_manifest(integration=integration(max_steps=100_000))
    sent = [(np.ones(2, np.float32), 1.0), (np.ones(2, np.float32), -1.0)]
    diverged, calm = solve(manifest, explosion, sent, [(0.5, 1.5), (0.5, 1.5)])
    assert diverged.ending in ("diverged", "dt_underflow")
    assert diverged.finite
    first, last = diverged.outputs[0]
    np.testing.assert_allclose(first, 2.0, rtol=1e-3)
    assert diverged.t[0] == 0.5
    assert 0.99 < diverged.t[1] < 1.01
    assert last[0] > 100
    np.testing.assert_allclose(calm.outputs[0][:, 0], [1 / 1.5, 1 / 2.5], rtol=1e-3)
    assert calm.ending is None


def test_a_beginning_that_is_not_finite_has_no_frames():
    sent = [(np.array([np.inf, 0], np.float32), 1.0), (point(), 1.0)]
    broken, fine = solve(rotation_manifest(), rotation, sent, [(1.0,), (1.0,)])
    assert (broken.ending, broken.t) == ("diverged", ())
    assert broken.outputs[0].shape == (0, 2)
    assert fine.ending is None


def test_a_request_that_takes_too_many_steps_ends_where_it_is():
    manifest = rotation_manifest(integration=integration(max_steps=20))
    short, long = solve(manifest, rotation, [(point(), 1.0)] * 2, [(0.5,), (0.5, 1000.0)])
    assert short.ending is None
    assert long.ending == "max_steps"
    assert long.t[0] == 0.5
    assert 0.5 < long.t[1] < 1000.0
    assert len(long.outputs[0]) == 2


# --- Stiffness ------------------------------------------------------------------------------------


def lienard(y, t, mu):
    """Van der Pol's oscillator in Liénard's coordinates."""
    x, z = y[:, 0], y[:, 1]
    return torch.stack((mu * (x - x**3 / 3 - z), x / mu), dim=1)


def oscillator(**changes):
    return rotation_manifest(
        parameters=(parameter("mu", 0.5, 100.0, 1.0),),
        integration=integration(**({"max_steps": 20_000, "rtol": 1e-4, "atol": 1e-6} | changes)),
    )


def reference(mu, t):
    def field(t, y):
        return [mu * (y[0] - y[0] ** 3 / 3 - y[1]), y[0] / mu]

    return solve_ivp(field, (0, t), [2.0, 0.0], method="Radau", rtol=1e-9, atol=1e-10).y[:, -1]


@pytest.mark.parametrize("mu", [1.0, 30.0])
def test_a_stiff_request_goes_on_with_the_implicit_method(mu):
    y = np.array([2.0, 0.0], np.float32)
    [auto] = solve(oscillator(), lienard, [(y, mu)], [(10.0,)])
    [implicit] = solve(oscillator(method="rodas3"), lienard, [(y, mu)], [(10.0,)])
    np.testing.assert_allclose(auto.outputs[0][0], reference(mu, 10.0), atol=5e-3)
    np.testing.assert_allclose(implicit.outputs[0][0], reference(mu, 10.0), atol=5e-3)


def test_stiffness_costs_less_than_stability_would():
    y = np.array([2.0, 0.0], np.float32)
    manifest = oscillator()
    [auto] = solve(manifest, lienard, [(y, 100.0)], [(20.0,)])
    onnx = replace(
        manifest, program=Program(format="onnx", file="program.onnx"), files={"program.onnx": ""}
    )
    [explicit] = solve(onnx, lienard, [(y, 100.0)], [(20.0,)])
    np.testing.assert_allclose(auto.outputs[0], explicit.outputs[0], atol=5e-3)
    assert auto.findings["nfe"] < 0.5 * explicit.findings["nfe"]


def test_a_request_that_is_stiff_no_more_goes_back_to_the_explicit_method():
    def fading(y, t, mu):
        """Stiff until t = 10."""
        return lienard(y, t, 1 + mu * torch.sigmoid(20 * (10 - t)))

    engine = engine_of(oscillator(), fading)
    bank = engine.open_bank()
    job = engine.job([np.array([2.0, 0.0], np.float32), np.float32(100.0)], Work(t=(5.0, 20.0)))
    bank.lay_out([], [], [(job, 0)])
    implicit = []
    while not bank.run([0], 1, interrupted=lambda: True, max_s=1.0).ended:
        implicit.append(bank._courses[0].move)
    assert True in implicit
    assert (implicit[0], implicit[-1]) == (False, False)


def test_stiff_and_calm_requests_share_a_batch():
    sent = [(np.array([2.0, 0.0], np.float32), mu) for mu in (0.5, 100.0, 3.0, 60.0)]
    together = solve(oscillator(), lienard, sent, [(10.0,)] * 4)
    for each, (y, mu) in zip(together, sent, strict=True):
        [alone] = solve(oscillator(), lienard, [(y, mu)], [(10.0,)])
        np.testing.assert_array_equal(each.outputs[0], alone.outputs[0])
        assert each.findings == alone.findings


def test_rodas3_needs_a_program_with_derivatives():
    manifest = rotation_manifest(
        integration=integration(method="rodas3"),
        program=Program(format="onnx", file="program.onnx"),
        files={"program.onnx": ""},
    )
    with pytest.raises(ProgramError, match="ONNX program does not have"):
        engine_of(manifest, rotation)


def test_an_exported_field_has_derivatives_for_the_implicit_method(tmp_path):
    manifest = oscillator(method="rodas3")
    example = torch.rand(3, 2), torch.rand(3), torch.rand(3)
    directory = write_artifact(
        tmp_path,
        Pointwise(lienard),
        manifest,
        answer=lambda y, mu: y[:, None].repeat(1, 3, 1),
        example=example,
    )
    engine = open_engine(read_artifact(directory), open_device("cpu"))
    y = np.array([2.0, 0.0], np.float32)
    [ended] = finish(engine, [engine.job([y, np.float32(30.0)], Work(t=(10.0,)))])
    [expected] = solve(manifest, lienard, [(y, 30.0)], [(10.0,)])
    np.testing.assert_array_equal(ended.outputs[0], expected.outputs[0])
