"""What is streamed is what would be solved, through every door, to a real server."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from certisolve import Client, Frame, InvalidRequest, NotFound, PayloadTooLarge, Solution
from certisolve_server.bench import LocalServer
from doors import DOORS, solve_through, stream_through
from family_models import SIZE

every_door = pytest.mark.parametrize("door", DOORS)

RNG = np.random.default_rng(5)
FIELD, FORCING = RNG.uniform(0.1, 0.9, (2, SIZE)).astype(np.float32)

DRIFTING = {"w": FIELD, "f": FORCING}

#: Model, inputs and what else is asked.
ASKED = {
    "steps": ("drift", DRIFTING, {"steps": 7}),
    "some steps": ("drift", DRIFTING, {"steps": 7, "save_every": 3}),
    "times": ("drift", DRIFTING, {"t": [0.2, 0.7]}),
    "the rest": ("drift", DRIFTING, {"t": [0.2, 0.7], "resume_from": 2}),
    "nothing": ("drift", DRIFTING, {}),
    "beyond the horizon": ("drift", DRIFTING, {"steps": 20}),
    "a parameter": ("drift", DRIFTING, {"parameters": {"rate": 1.5}}),
    "a memory": ("recall", {"u": RNG.uniform(0.1, 0.9, (5, SIZE))}, {"steps": 4}),
    "feedback": ("pendulum", {"x": RNG.uniform(-1, 1, (6, 2))}, {"steps": 8, "save_every": 2}),
    "an integration": ("rotation", {"y": [1.0, 0.0]}, {"t": [0.1, 0.7, 1.9], "rtol": 1e-4}),
    "a map": ("members", {"u0": FIELD}, {}),
    "a linear system": ("screened", {"k": FIELD, "f": FORCING}, {"tolerance": 1e-5}),
    "no diagnostics": ("drift", DRIFTING, {"diagnostics": False}),
}
STEPPING = ("drift", "recall", "pendulum")


def assert_same(streamed: Solution, solved: Solution) -> None:
    """All but the timings."""
    assert streamed.fields.keys() == solved.fields.keys()
    for name, field in solved.fields.items():
        assert streamed.fields[name].dtype == field.dtype
        np.testing.assert_array_equal(streamed.fields[name], field)
    for name, points in solved.coords.items():
        np.testing.assert_array_equal(streamed.coords[name], points)
    assert streamed.t.tolist() == solved.t.tolist()
    assert streamed.axes == solved.axes
    assert (streamed.status, streamed.model) == (solved.status, solved.model)
    assert streamed.diagnostics == solved.diagnostics


@every_door
@pytest.mark.parametrize("case", ASKED)
def test_frames_add_up_to_what_would_be_solved(door, case, family_server: LocalServer):
    model, inputs, options = ASKED[case]
    frames, streamed = stream_through(door, family_server, model, inputs, **options)
    [solved] = solve_through(door, family_server, model, [inputs], **options)
    assert_same(streamed, solved)
    assert [frame.index for frame in frames] == list(range(frames[0].num_frames))
    if model in STEPPING:
        assert [round(frame.t / 0.1) for frame in frames] == [frame.step for frame in frames]
    else:
        assert {frame.step for frame in frames} == {None}
    if model in (*STEPPING, "rotation"):
        assert [frame.t for frame in frames] == solved.t.tolist()
    else:
        assert len(frames) == 1


@every_door
def test_what_overflows_ends_early_and_says_so(door, family_server: LocalServer):
    inputs, options = DRIFTING, {"parameters": {"rate": 2.0}, "t": [0.1, 20.0]}
    frames, streamed = stream_through(door, family_server, "drift", inputs, **options)
    [solved] = solve_through(door, family_server, "drift", [inputs], **options)
    assert_same(streamed, solved)
    assert streamed.status == "diverged"
    # That of t = 0.1, and the last one that is finite, which nobody had asked for by its time.
    assert [(frame.index, frame.num_frames) for frame in frames] == [(0, 2), (1, 2)]
    assert 1 < frames[1].step < 200
    assert all(np.isfinite(frame.fields["w"]).all() for frame in frames)


@every_door
def test_a_frame_is_on_the_grid_that_was_sent(door, server: LocalServer):
    inputs = {"u0": np.ones(20, np.float32)}
    [frame], solution = stream_through(door, server, "resampling", inputs)
    assert frame.fields["u"].shape == frame.coords["x"].shape == (20,)
    assert solution.diagnostics.resampled_from == {"x": 20}
    assert frame.t == 1.0


REFUSED = {
    "an unknown model": ("nope", {}, NotFound, "model"),
    "an unknown version": ("drift", {"version": "7"}, NotFound, "version"),
    "steps of an integration": ("rotation", {"steps": 2}, InvalidRequest, "steps"),
    "steps of a map": ("members", {"steps": 2}, InvalidRequest, "steps"),
    "steps and times": ("drift", {"steps": 2, "t": [0.1]}, InvalidRequest, "steps"),
    "nothing left": ("drift", {"steps": 2, "resume_from": 2}, InvalidRequest, None),
    "too many steps": ("drift", {"steps": 5000}, InvalidRequest, "steps"),
    "too much": ("drift", {"steps": 600}, InvalidRequest, "steps"),
    "between steps": ("drift", {"t": [0.15]}, InvalidRequest, "t.0"),
}


@every_door
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_refused_by_its_field(door, case, family_server: LocalServer):
    model, options, error, field = REFUSED[case]
    inputs = {"members": {"u0": FIELD}, "rotation": {"y": [1.0, 0.0]}}.get(model, DRIFTING)
    with pytest.raises(error) as raised:
        stream_through(door, family_server, model, inputs, **options)
    assert raised.value.field == (field or "options.resume_from")


@every_door
def test_a_body_that_is_too_large_is_refused(door, family_server: LocalServer):
    with pytest.raises(PayloadTooLarge):
        stream_through(door, family_server, "members", {"u0": np.zeros(300_000, np.float32)})


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_streams_share_the_device_with_solves(scheme, family_server: LocalServer):
    rows = RNG.uniform(0.1, 0.9, (16, SIZE)).astype(np.float32)
    together = threading.Barrier(16, timeout=30)

    def stream(client: Client, row: np.ndarray, steps: int) -> tuple[list[Frame], Solution]:
        together.wait()
        with client.stream("drift", {"w": row, "f": FORCING}, steps=steps) as told:
            frames = list(told)
            return frames, told.solution(frames)

    with Client(family_server.url(scheme)) as client, ThreadPoolExecutor(16) as pool:
        counts = [n % 8 + 1 for n in range(16)]
        streamed = list(pool.map(stream, [client] * 16, rows, counts))
        for row, steps, (frames, solution) in zip(rows, counts, streamed, strict=True):
            alone = client.solve("drift", {"w": row, "f": FORCING}, steps=steps)
            np.testing.assert_allclose(solution.fields["w"], alone.fields["w"], rtol=1e-6)
            assert [frame.step for frame in frames] == list(range(1, steps + 1))


def test_curl_gets_events(family_server: LocalServer):
    body = {"inputs": {"w": FIELD.tolist(), "f": FORCING.tolist()}, "steps": 2}
    url = f"{family_server.http}/v1/models/drift/solve/stream"
    with httpx.Client() as http, http.stream("POST", url, json=body) as response:
        events = [line for line in response.iter_lines() if line.startswith("event: ")]
    assert events == ["event: start", "event: frame", "event: frame", "event: summary"]
