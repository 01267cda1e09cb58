"""Sessions are the same through every door, and what they compute is what plain loops compute."""

import httpx
import numpy as np
import pytest

from certisolve import (
    Client,
    ForecastDiverged,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
)
from certisolve.wire import decode_safetensors
from certisolve_server.bench import LocalServer
from certisolve_server.sessions.interpolation import between
from family_models import DT, PENDULUM, SIZE
from session_worker import corrected, open_loop, turned
from sessions import SESSION_DOORS, open_door

every_door = pytest.mark.parametrize("door", SESSION_DOORS)

RNG = np.random.default_rng(9)
FIELD, FORCING = RNG.uniform(0.1, 0.9, (2, SIZE)).astype(np.float32)
FRAMES = RNG.uniform(0.1, 0.9, (6, SIZE)).astype(np.float32)
MEASURED = RNG.uniform(-1, 1, (4, 2)).astype(np.float32)
DRIFT = {"w": FIELD, "f": FORCING}


def drifted(w, num_steps):
    for _ in range(num_steps):
        w = np.float32(0.5) * w + FORCING
    return w


@every_door
def test_measurements_at_each_step_are_a_history(door, family_server: LocalServer):
    with open_door(door, family_server) as client:
        session = client.session("recall", {"u": FRAMES[0]}, t=2.0)
        session.observe(2.1, {"u": FRAMES[1]})
        info = session.observe([2.2, 2.3, 2.4, 2.5], {"u": FRAMES[2:]})
        assert (info.t, info.sequence, info.model.name) == (2.5, 2, "recall")
        forecast = session.predict([2.6, 2.8])
        session.close()
    with Client(family_server.url("http")) as client:
        solution = client.solve("recall", {"u": FRAMES}, t=[0.1, 0.3])
    assert list(forecast.t) == [2.6, 2.8]
    assert (forecast.status, forecast.axes) == ("ok", solution.axes)
    for name, field in solution.fields.items():
        np.testing.assert_allclose(forecast.fields[name], field, rtol=1e-6)


@every_door
def test_what_is_masked_is_forecast(door, family_server: LocalServer):
    mask = np.arange(SIZE) % 2 == 0
    measured = np.where(mask, 0.25, np.nan).astype(np.float32)
    with open_door(door, family_server) as client:
        session = client.session("drift", DRIFT)
        session.observe(0.2, {"w": measured}, mask={"w": mask})
        forecast = session.predict(0.4)
        session.close()
    known = np.where(mask, np.float32(0.25), drifted(FIELD, 2))
    np.testing.assert_allclose(forecast.fields["w"][0], drifted(known, 2), rtol=1e-6)
    assert forecast.diagnostics.expected_error is None


@every_door
def test_a_cascade_follows_measurements_at_any_times(door, family_server: LocalServer):
    times, gain, num_steps = [0.1, 0.13, 0.4], 0.5, 6
    with open_door(door, family_server) as client:
        session = client.session("pendulum", {"x": MEASURED[0]}, gain=gain, horizon_steps=num_steps)
        for time, measured in zip(times, MEASURED[1:], strict=True):
            session.observe(time, {"x": measured})
        forecast = session.predict([0.45, 0.7, 1.0])
        info = session.info
        session.close()
    layers, observers = open_loop(MEASURED[0], num_steps)
    intervals = np.diff([0.0, *times])
    for interval, measured in zip(intervals, MEASURED[1:], strict=True):
        layers, observers = corrected(layers, observers, measured, interval, gain)
    expected = between(layers, DT, [0.05, 0.3, 0.6])
    np.testing.assert_allclose(forecast.fields["x"], expected, rtol=2e-6, atol=2e-6)
    noise_gain = np.prod([1 + DT * gain * 4 * np.exp(-PENDULUM.decay * i) for i in range(6)])
    assert info.noise_gain == pytest.approx(noise_gain)
    assert forecast.diagnostics.noise_gain == pytest.approx(noise_gain)
    assert info.gain == gain


@every_door
def test_an_integration_is_corrected_at_any_time(door, family_server: LocalServer):
    with open_door(door, family_server) as client:
        session = client.session("rotation", {"y": MEASURED[0]}, t=1.0, parameters={"rate": 2.0})
        session.observe(1.37, {"y": [0.25, 0.0]}, mask={"y": [True, False]})
        forecast = session.predict([1.4, 2.9])
        session.close()
    start = np.array([0.25, turned(MEASURED[0], 2 * 0.37)[1]], np.float32)
    # To the tolerance of the integration.
    np.testing.assert_allclose(forecast.fields["y"][1], turned(start, 2 * 1.53), atol=1e-4)
    assert list(forecast.t) == [1.4, 2.9]
    assert forecast.diagnostics.expected_error is None


@every_door
def test_a_session_is_taken_away_brought_back_and_found_again(door, family_server: LocalServer):
    with open_door(door, family_server) as client:
        session = client.session("recall", {"u": FRAMES[:3]}, ttl=60.0)
        session.observe(0.1, {"u": FRAMES[3]})
        snapshot = session.snapshot()
        again = client.restore_session(snapshot)
        found = client.attach_session(session.id)
        assert found.info == session.info
        assert (again.t, again.info.expires_in_s, again.info.sequence) == (0.1, 60.0, 0)
        forecasts = [each.predict(0.3).fields["u"] for each in (session, again, found)]
        for forecast in forecasts[1:]:
            np.testing.assert_array_equal(forecast, forecasts[0])
        found.observe(0.2, {"u": FRAMES[4]})
        assert session.refresh().t == 0.2
        assert again.refresh().t == 0.1
        for each in (session, again, found):
            each.close()  # the last one is gone already
        with pytest.raises(NotFound) as raised:
            session.refresh()
        assert raised.value.code == "unknown_session"


@every_door
def test_an_observation_that_is_sent_again_counts_once(door, family_server: LocalServer):
    with open_door(door, family_server) as client:
        session = client.session("drift", DRIFT)
        first = session.observe(0.1, {"w": FIELD})
        assert session.observe(0.1, {"w": FIELD}) == first
        session.close()


REFUSED = {
    "opened with a map": (("members", {"u0": FIELD}), {}, "invalid_option", "model"),
    "no such model": (("nothing", DRIFT), {}, "unknown_model", "model"),
    "an input too few": (("drift", {"w": FIELD}), {}, "missing_input", "inputs.f"),
    "too much noise": (
        ("pendulum", {"x": MEASURED[0]}),
        {"max_noise_gain": 1.5},
        "out_of_range",
        "options.gain",
    ),
    "gain of a rollout": (("drift", DRIFT), {"gain": 1.0}, "invalid_option", "options.gain"),
    "many measurements": (("pendulum", {"x": MEASURED}), {}, "wrong_shape", "inputs.x"),
    "for ever": (("drift", DRIFT), {"ttl": 1e6}, "out_of_range", "options.ttl_s"),
}


@every_door
@pytest.mark.parametrize("case", REFUSED)
def test_what_no_session_begins_with_is_refused_alike(door, case, family_server: LocalServer):
    arguments, options, code, field = REFUSED[case]
    with open_door(door, family_server) as client:
        with pytest.raises((InvalidRequest, NotFound)) as raised:
            client.session(*arguments, **options)
        assert (raised.value.code, raised.value.field) == (code, field)


REFUSED_CALLS = {
    "now": (lambda s: s.observe(0.0, {"w": FIELD}), "out_of_range", "t.0"),
    "between steps": (lambda s: s.observe(0.15, {"w": FIELD}), "out_of_range", "t.0"),
    "shape": (lambda s: s.observe(0.1, {"w": FIELD[1:]}), "wrong_shape", "values.w"),
    "unknown": (lambda s: s.observe(0.1, {"v": FIELD}), "unknown_input", "values.v"),
    "nan": (lambda s: s.observe(0.1, {"w": FIELD * np.nan}), "not_finite", "values.w"),
    "stray mask": (
        lambda s: s.observe(0.1, {"w": FIELD}, mask={"v": FIELD > 0}),
        "unknown_input",
        "masks.v",
    ),
    "forecast of now": (lambda s: s.predict(0.0), "out_of_range", "t.0"),
    "forecast between steps": (lambda s: s.predict([0.1, 0.15]), "out_of_range", "t.1"),
    "more than is sent back": (
        lambda s: s.predict(np.arange(1, 514) / 10),
        "invalid_option",
        "t",
    ),
}


@every_door
def test_what_a_session_cannot_do_is_refused_alike(door, family_server: LocalServer):
    with open_door(door, family_server) as client:
        session = client.session("drift", DRIFT)
        before = session.info
        for call, code, field in REFUSED_CALLS.values():
            with pytest.raises(InvalidRequest) as raised:
                call(session)
            assert (raised.value.code, raised.value.field) == (code, field)
        assert session.refresh() == before
        session.close()


@every_door
def test_a_forecast_that_diverges_leaves_the_session_where_it_stood(
    door, family_server: LocalServer
):
    with open_door(door, family_server) as client:
        session = client.session("drift", DRIFT, t=3.0, parameters={"rate": 2.0})
        with pytest.raises(ForecastDiverged) as raised:
            session.observe(23.0, {"w": FIELD}, mask={"w": FIELD > 0.5})
        assert (raised.value.code, raised.value.field) == ("forecast_diverged", "t.0")
        forecast = session.predict([3.1, 23.0])
        assert forecast.status == "diverged"
        # By the session's clock; doubling overflows float32 after some 128 steps.
        assert forecast.t[0] == pytest.approx(3.1)
        assert forecast.t[-1] == pytest.approx(15.8, abs=0.5)
        assert session.refresh().sequence == 0
        session.close()


@every_door
def test_a_snapshot_too_large_or_of_nothing_is_refused(door, family_server: LocalServer):
    with open_door(door, family_server) as client:
        with pytest.raises(PayloadTooLarge):
            client.restore_session(bytes(1 << 17))
        with pytest.raises(InvalidRequest):
            client.restore_session(b"nothing of the kind")


def test_people_write_json(family_server: LocalServer):
    url = family_server.url("http")
    with httpx.Client(base_url=url) as client:
        body = {"model": "drift", "t": 1.0, "inputs": {"w": [0.5] * SIZE, "f": [0.1] * SIZE}}
        opened = client.post("/v1/sessions", json=body)
        assert opened.status_code == 201
        path = opened.headers["Location"]
        assert path == f"/v1/sessions/{opened.json()['id']}"
        observation = {
            "t": [1.1],
            "values": {"w": [[0.75] * SIZE]},
            "masks": {"w": [[True] * 8 + [False] * 8]},
        }
        observed = client.post(f"{path}/observe", json=observation)
        assert (observed.status_code, observed.json()["sequence"]) == (200, 1)
        forecast = client.post(f"{path}/predict", json={"t": [1.2]}).json()
        np.testing.assert_allclose(forecast["fields"]["w"], [[0.475] * 8 + [0.275] * 8], rtol=1e-6)
        assert forecast["t"] == [1.2]
        assert client.get(path).json() == observed.json()
        tensors, metadata = decode_safetensors(client.get(f"{path}/state").content)
        assert (metadata["kind"], tensors["inputs.w"].shape) == ("session", (SIZE,))
        unknown_key = client.post(f"{path}/predict", json={"times": [1.2]})
        assert (unknown_key.status_code, unknown_key.json()["field"]) in (
            (422, "t"),
            (422, "times"),
        )
        assert client.delete(path).status_code == 200
        gone = client.get(path)
        assert (gone.status_code, gone.json()["code"]) == (404, "unknown_session")


def test_curl_calls_everything_a_form(family_server: LocalServer):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with httpx.Client(base_url=family_server.url("http"), headers=form) as client:
        body = b'{"model": "pendulum", "inputs": {"x": [0.5, 0]}, "options": {"gain": 0.25}}'
        path = client.post("/v1/sessions", content=body).headers["Location"]
        observed = client.post(
            f"{path}/observe", content=b'{"t": [0.1], "values": {"x": [[1, 0]]}}'
        )
        assert observed.json()["gain"] == 0.25
        forecast = client.post(f"{path}/predict", content=b'{"t": [0.15, 0.2]}').json()
        assert (forecast["axes"]["x"], forecast["batch_size"]) == (["t", "state"], 0)
        client.delete(path)
