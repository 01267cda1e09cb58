"""Bundled models in sessions: noisy, irregular and partial measurements make forecasts better."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from certisolve import AsyncClient, Client
from certisolve.v1 import session_pb2, session_pb2_grpc
from certisolve.v1.tensor_pb2 import Tensor
from certisolve.wire import from_bytes
from certisolve_server.bench import LocalServer, local_server
from certisolve_zoo.catalog import CATALOG
from certisolve_zoo.pdes.spiral import DISTURBED, START, solve_spiral
from certisolve_zoo.specs import projectile_feedback
from certisolve_zoo.specs.feedback_cascades import DT
from certisolve_zoo.specs.spiral_feedback import OPEN_LOOP_ERROR

PAGE = Path(__file__).parents[2] / "docs" / "sessions.md"
ARTIFACTS = Path(__file__).parents[2] / "models" / "artifacts"
NUM_WINDOWS = 12
NUM_MEASUREMENTS = 60
MEAN_INTERVAL = 0.01
NOISE = 0.05
#: By which noise may be amplified; benchmarks/sessions.py tries others.
MAX_NOISE_GAIN = 20.0

Ask = session_pb2.ConverseRequest


@pytest.fixture(scope="module")
def bundled() -> Iterator[LocalServer]:
    if not ARTIFACTS.is_dir():
        pytest.fail("models/artifacts is missing: run `make models`")
    with local_server(
        ARTIFACTS, ["--load", "spiral-feedback,projectile-feedback,ks1d-memno"]
    ) as server:
        yield server


class Window:
    """Measurements of the disturbed spiral, and the truth half a second after the last."""

    def __init__(self, seed: int, start: float) -> None:
        rng = np.random.default_rng((1_000_003, seed))
        y0 = solve_spiral(DISTURBED, np.array([START]), np.array([start]))[0]
        # Arrivals without memory, as of a sensor that nobody waits for.
        gaps = rng.exponential(MEAN_INTERVAL, NUM_MEASUREMENTS) + 1e-4
        self.t = np.concatenate([[0.0], np.cumsum(gaps)])
        truth = solve_spiral(DISTURBED, y0, np.append(self.t, self.t[-1] + 0.5))[0]
        noise = NOISE * rng.normal(size=(len(self.t), 2))
        self.measured = (truth[:-1] + noise).astype(np.float32)
        self.truth = truth[-1]


def _tensor(array: np.ndarray) -> Tensor:
    return Tensor(dtype="F32", shape=array.shape, data=array.tobytes())


async def _converse(stub: session_pb2_grpc.SessionServiceStub, window: Window) -> tuple:
    """The forecast after all measurements, and all that was answered on the way."""

    async def asks() -> AsyncIterator[Ask]:
        options = session_pb2.SessionOptions(automatic_gain=True, max_noise_gain=MAX_NOISE_GAIN)
        inputs = {"x": _tensor(window.measured[0])}
        yield Ask(
            tag=0,
            open=session_pb2.OpenSession(model="spiral-feedback", inputs=inputs, options=options),
        )
        for tag in range(1, len(window.t)):
            values = {"x": _tensor(window.measured[tag : tag + 1])}
            yield Ask(tag=tag, observe=session_pb2.Measurements(t=[window.t[tag]], values=values))
        yield Ask(tag=900, predict=session_pb2.PredictRequest(t=[window.t[-1] + 0.5]))
        yield Ask(tag=901, predict=session_pb2.PredictRequest(t=[window.t[-1] - 0.5]))
        yield Ask(tag=902, close=session_pb2.SessionRequest())

    replies = [reply async for reply in stub.Converse(asks())]
    *_, forecast, problem, closed = replies
    assert [reply.tag for reply in replies] == [*range(len(window.t)), 900, 901, 902]
    assert (problem.problem.code, problem.problem.field) == ("out_of_range", "t.0")
    assert closed.WhichOneof("answer") == "closed"
    tensor = forecast.forecast.fields["x"]
    state = from_bytes("x", tensor.dtype, tensor.shape, tensor.data)[0]
    return state, replies[-4].info


def test_the_forecast_is_better_than_without_measurements(bundled: LocalServer) -> None:
    starts = 17.5 / NUM_WINDOWS * (np.arange(NUM_WINDOWS) + 0.5)
    windows = [Window(seed, start) for seed, start in enumerate(starts)]

    async def forecasts() -> list[tuple]:
        async with grpc.aio.insecure_channel(
            bundled.url("grpc").removeprefix("grpc://")
        ) as channel:
            stub = session_pb2_grpc.SessionServiceStub(channel)
            return await asyncio.gather(*(_converse(stub, window) for window in windows))

    answers = asyncio.run(forecasts())
    errors = [
        np.linalg.norm(state - window.truth)
        for (state, _), window in zip(answers, windows, strict=True)
    ]
    info = answers[0][1]
    assert info.sequence == NUM_MEASUREMENTS
    assert info.noise_gain == pytest.approx(MAX_NOISE_GAIN)
    assert 0 < info.gain < 1
    # Of a window the error depends on its phase; the mean is what the model's record is of.
    assert np.mean(errors) < 0.6 * OPEN_LOOP_ERROR
    assert max(errors) < OPEN_LOOP_ERROR


def test_measurements_that_are_lost_now_and_then_hardly_matter(bundled: LocalServer) -> None:
    samples = projectile_feedback.windows(projectile_feedback.UNSEEN_SEED, NUM_WINDOWS)
    measured, truth = samples.inputs[0].numpy()[:, -31:], samples.target.numpy()[:, -1, :3]
    times = DT * np.arange(measured.shape[1])

    async def distance(client: AsyncClient, seed: int) -> float:
        # Components are lost one by one, and whole measurements too.
        rng, window = np.random.default_rng(seed), measured[seed]
        taken = np.append(rng.uniform(size=len(window) - 2) < 0.8, True)
        mask = (rng.uniform(size=window.shape) < 0.8)[1:][taken]
        async with await client.session("projectile-feedback", {"x": window[0]}) as session:
            await session.observe(times[1:][taken], {"x": window[1:][taken]}, mask={"x": mask})
            forecast = await session.predict(times[-1] + 0.5)
        return float(np.linalg.norm(forecast.fields["x"][0, :3] - truth[seed]))

    async def distances() -> list[float]:
        async with AsyncClient(bundled.url("grpc")) as client:
            return await asyncio.gather(*(distance(client, n) for n in range(NUM_WINDOWS)))

    assert np.mean(asyncio.run(distances())) < 0.6 * projectile_feedback.OPEN_LOOP_ERROR


def test_the_memory_of_chaos_is_that_of_the_frames_it_has_seen(bundled: LocalServer) -> None:
    [samples] = CATALOG["ks1d-memno"].unseen(1, Path())
    history, target = (array[0].numpy() for array in (samples.inputs[0], samples.target))
    with Client(bundled.url("http")) as client:
        solution = client.solve("ks1d-memno", {"u": history}, t=[0.1, 1.0])
        with client.session("ks1d-memno", {"u": history[0]}) as session:
            times = np.round(0.1 * np.arange(1, len(history)), 1)
            session.observe(times, {"u": history[1:]})
            forecast = session.predict(np.round(times[-1] + np.array([0.1, 1.0]), 1))
            assert session.info.state_bytes > 100 * history[0].nbytes
        # A session that has seen only the last frame knows less.
        with client.session("ks1d-memno", {"u": history[-1]}) as forgetful:
            worse = forgetful.predict(0.1)
    np.testing.assert_allclose(forecast.fields["u"], solution.fields["u"], rtol=1e-4, atol=1e-4)
    errors = [np.linalg.norm(each.fields["u"][0] - target[0]) for each in (forecast, worse)]
    assert errors[0] < 0.5 * errors[1]


def test_the_page_runs_as_written(bundled: LocalServer) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    x0, x1, x2 = Window(0, 3.0).measured[:3]
    names = {"x0": x0, "x1": x1, "x2": x2}
    exec(
        compile(
            program.replace("grpc://127.0.0.1:8001", bundled.url("grpc")), "sessions.md", "exec"
        ),
        names,
    )
    assert names["forecast"].fields["x"].shape == (2, 2)
    assert names["again"].t == 0.017
