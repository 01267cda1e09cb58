"""The public API as a user's type checker sees it; checked by mypy --strict, never run."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import assert_type

import numpy as np
import torch
import xarray

from certisolve import (
    AsyncClient,
    AsyncJob,
    AsyncSession,
    AsyncStream,
    Call,
    Client,
    Derivative,
    Diagnostics,
    Frame,
    HttpTransport,
    IdempotencyConflict,
    Job,
    JobInfo,
    JobStatus,
    Manifest,
    MockTransport,
    ModelInfo,
    Overloaded,
    Priority,
    Reply,
    RetryPolicy,
    Session,
    SessionInfo,
    Solution,
    Stream,
    WorkerInfo,
)
from certisolve.grpc import GrpcTransport


def solve_everything() -> None:
    with Client("http://127.0.0.1:8000", timeout=5, retry=RetryPolicy(max_attempts=2)) as client:
        solution = client.solve(
            "burgers1d-fno",
            {"u0": np.zeros(256), "a": [0.0, 1.0], "b": torch.zeros(3), "c": xarray.DataArray([1])},
            parameters={"nu": 0.01},
            t=[0.5, 1.0],
            timeout=2.5,
        )
        assert_type(solution, Solution)
        assert_type(solution.diagnostics, Diagnostics | None)
        assert_type(solution.batch_size, int)
        assert_type(solution.timings_ms.compute, float)
        assert_type(solution.model.digest, str)
        fields: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = solution.fields
        dataset: xarray.Dataset = solution.to_xarray()
        del fields, dataset
        client.solve("m", {"u0": np.zeros(1)}, t=1.0)
        client.solve("m", {"u0": np.zeros(1)}, t=np.linspace(0, 1, 3))


def differentiate() -> None:
    with Client("http://127.0.0.1:8000") as client:
        found = client.jvp("m", {"u0": np.zeros(4)}, {"u0": np.zeros((2, 4))}, t=1.0, timeout=2)
        assert_type(found, Derivative)
        assert_type(found.solution, Solution)
        found = client.vjp("m", {"u0": np.zeros(4)}, {"u": torch.zeros(4)}, parameters={"nu": 0.1})
        gradient: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
        gradient = found.derivatives
        del gradient


def read_frames() -> None:
    with (
        Client("http://127.0.0.1:8000") as client,
        client.stream("m", {"u0": [1.0]}, steps=5, save_every=2, timeout=1.0) as frames,
    ):
        assert_type(frames, Stream)
        told = list(frames)
        assert_type(told, list[Frame])
        assert_type(told[0].step, int | None)
        assert_type(told[0].t, float)
        dataset: xarray.Dataset = told[0].to_xarray()
        assert_type(frames.summary, Solution)
        assert_type(frames.solution(told), Solution)
        del dataset


async def read_frames_later() -> None:
    async with AsyncClient("grpc://127.0.0.1:8001") as client:
        async for frame in client.stream("m", {"u0": [1.0]}, t=[0.5]):
            assert_type(frame, Frame)
        async with client.stream("m", {"u0": [1.0]}) as frames:
            assert_type(frames, AsyncStream)
            assert_type(await anext(frames), Frame)


def follow_measurements() -> None:
    with (
        Client("http://127.0.0.1:8000") as client,
        client.session("m", {"x": [1.0]}, automatic_gain=True, ttl=60) as session,
    ):
        assert_type(session, Session)
        assert_type(session.observe(0.1, {"x": [1.0]}, mask={"x": [True]}), SessionInfo)
        assert_type(session.predict([0.2, 0.3]), Solution)
        assert_type(session.info.noise_gain, float | None)
        assert_type(client.restore_session(session.snapshot()), Session)
        assert_type(client.attach_session(session.id), Session)


async def follow_measurements_later() -> None:
    async with (
        AsyncClient("grpc://127.0.0.1:8001") as client,
        await client.session("m", {"x": [1.0]}) as session,
    ):
        assert_type(session, AsyncSession)
        assert_type(await session.observe([0.1], {"x": [[1.0]]}), SessionInfo)
        assert_type(await session.predict(0.2), Solution)
        assert_type(await client.attach_session(session.id), AsyncSession)


def run_in_the_background() -> None:
    client = Client("grpcs://host:443", transport=GrpcTransport("grpcs://host:443"))
    job = client.submit_solve("m", {"u0": [1.0]})
    assert_type(job, Job[Solution])
    assert_type(job.status(), JobStatus)
    assert_type(job.wait(timeout=1), Solution)
    assert_type(client.job(job.id).cancel(), JobStatus)
    client.close()


def follow_a_job() -> None:
    urgent: Priority = "high"
    with Client("http://host", tenant="team-7") as client:
        assert_type(client.solve("m", {"u0": [1.0]}, priority="low"), Solution)
        try:
            job = client.submit_solve("m", {"u0": [1.0]}, priority=urgent, idempotency_key="k")
        except IdempotencyConflict as error:
            assert_type(error.status, int | None)
            return
        state = job.state()
        assert_type(state, JobInfo)
        assert_type(state.position, int | None)
        assert_type(state.expected_wait_s, float | None)
        assert_type(state.progress, float)
        for info in job.events():
            assert_type(info, JobInfo)
        with contextlib.closing(job.events()) as events:
            assert_type(next(events).status, JobStatus)


def look_around() -> None:
    client = Client("http://host", transport=HttpTransport("http://host"))
    assert_type(client.models(), list[ModelInfo])
    assert_type(client.model("m", version="1").manifest, Manifest)
    assert_type(client.model("m").workers, tuple[WorkerInfo, ...])
    try:
        client.models()
    except Overloaded as error:
        assert_type(error.retry_after_s, float | None)


async def solve_concurrently() -> None:
    async with AsyncClient("grpc://127.0.0.1:8001") as client:
        assert_type(await client.solve("m", {"u0": [1.0]}), Solution)
        job = await client.submit_solve("m", {"u0": [1.0]})
        assert_type(job, AsyncJob[Solution])
        assert_type(await job.wait(), Solution)
        assert_type(await job.state(), JobInfo)
        assert_type(await job.status(), JobStatus)
        async for info in job.events():
            assert_type(info.progress, float)
        async with contextlib.aclosing(job.events()) as events:
            assert_type(await anext(events), JobInfo)
        assert_type(await client.models(), list[ModelInfo])


def answer(call: Call) -> Reply:
    return Reply(call.tensors, {})


def follow(call: Call) -> Iterator[Reply]:
    yield Reply({}, {"id": call.job_id, "status": "queued"})


def test_without_a_server() -> None:
    Client("http://unused", transport=MockTransport(answer, events=follow))
    Client("http://unused", transport=MockTransport(answer))
    AsyncClient("http://unused", transport=MockTransport(answer))
