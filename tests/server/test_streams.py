"""What is promised to whoever reads a stream: every frame once and in order, then the summary."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from certisolve_server.answers import Solution
from certisolve_server.broker import MemoryBroker
from certisolve_server.broker.base import Bounds
from certisolve_server.catalog import ModelEntry
from certisolve_server.errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    InvalidOption,
    QueueFull,
    UnknownModel,
)
from certisolve_server.jobs import Artifact, Terms
from certisolve_server.parts import Part, SolvedFrame, Start
from certisolve_server.streams import SolveStream
from dataplanes import FIELD, Plane, answer, claim, request
from family_models import drift_manifest
from rolling import Hand, frame_at, rolling_plane, rollout

pytestmark = pytest.mark.anyio


async def read(stream: SolveStream) -> list[Part]:
    async with aclosing(stream):
        return [part async for part in stream]


async def test_frames_come_as_they_are_told_between_a_start_and_a_summary():
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout(steps=5, save_every=2))
    start = await anext(stream)
    assert isinstance(start, Start)
    assert (start.num_frames, start.t) == (3, (0.2, 0.4, 0.5))
    assert start.axes == {"v": ("x",), "w": ("x",)}
    np.testing.assert_array_equal(start.coords["x"], np.arange(16) / 16)
    worker = await Hand.take(plane)
    assert worker.held.job.work.stream
    for index, (step, t) in enumerate(((2, 0.2), (4, 0.4), (5, 0.5))):
        await worker.tell(index)
        frame = await anext(stream)
        assert isinstance(frame, SolvedFrame)
        assert (frame.index, frame.step, frame.t) == (index, step, t)
        np.testing.assert_array_equal(frame.fields["v"], frame_at(step)[0])
        np.testing.assert_array_equal(frame.fields["w"], frame_at(step)[1])
    await worker.finish()
    [summary] = await read(stream)
    assert isinstance(summary, Solution)
    assert (summary.fields, summary.status, summary.t) == ({}, "ok", (0.2, 0.4, 0.5))
    assert summary.axes == {"v": ("t", "x"), "w": ("t", "x")}
    assert summary.diagnostics.nfe == 5
    assert summary.diagnostics.expected_error == 0.05
    assert (summary.batch_size, summary.timings.compute_ms) == (5, 3.0)
    assert plane.metric('certisolve_requests_total{code="ok",model="drift"}') == 1


async def test_frames_that_nobody_told_are_those_of_the_answer():
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout(steps=4))
    worker = await Hand.take(plane)
    await worker.tell(1, 2)
    await worker.finish()
    _, *frames, _ = await read(stream)
    assert [frame.step for frame in frames] == [1, 2, 3, 4]
    np.testing.assert_array_equal([frame.fields["w"][0] for frame in frames], [1, 2, 3, 4])


async def test_a_rollout_that_diverges_ends_with_its_last_good_frame():
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout(steps=6, save_every=2))
    worker = await Hand.take(plane)
    await worker.tell(0)
    await worker.finish((2, 3), "diverged")
    start, *frames, summary = await read(stream)
    assert start.num_frames == 3
    assert [(frame.index, frame.step) for frame in frames] == [(0, 2), (1, 3)]
    assert [frame.t for frame in frames] == pytest.approx([0.2, 0.3])
    assert (summary.status, summary.t) == ("diverged", pytest.approx((0.2, 0.3)))
    assert summary.diagnostics.expected_error is None


async def test_a_model_that_does_not_advance_has_one_frame():
    plane = Plane()
    stream = await plane.dataplane.stream(request())
    await answer(plane.broker, await claim(plane.broker))
    start, frame, summary = await read(stream)
    assert start.num_frames == 1
    assert (frame.index, frame.step, frame.t) == (0, None, 1.0)
    np.testing.assert_array_equal(frame.fields["u"], 2 * FIELD)
    assert summary.diagnostics.expected_error == 0.01


async def test_frames_are_told_on_the_grid_that_was_asked_for():
    manifest = drift_manifest(unvalidated_resolution="resample")
    plane = rolling_plane()
    plane.catalog.put(ModelEntry(Artifact(manifest, "d2", "/models/drift"), ready=True))
    stream = await plane.dataplane.stream(rollout(20, steps=1))
    worker = await Hand.take(plane)
    assert worker.held.job.inputs[0].shape == (16,)
    await worker.finish()
    start, frame, summary = await read(stream)
    assert start.coords["x"].shape == frame.fields["w"].shape == (20,)
    np.testing.assert_allclose(frame.fields["w"], 1, rtol=1e-6)
    assert summary.diagnostics.resampled_from == {"x": 20}


# --- Its end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_read", [0, 1, 2])
async def test_closing_it_cancels_the_job(num_read):
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout())
    worker = await Hand.take(plane)
    await worker.tell(0)
    for _ in range(num_read):
        await anext(stream)
    await stream.aclose()
    assert (await plane.broker.state(worker.held.job.id)).status == "cancelled"
    assert plane.metric('certisolve_requests_total{code="cancelled",model="drift"}') == 1


async def test_a_reader_that_is_cancelled_leaves_no_job():
    plane = rolling_plane()
    reading = asyncio.create_task(read(await plane.dataplane.stream(rollout())))
    worker = await Hand.take(plane)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (await plane.broker.state(worker.held.job.id)).status == "cancelled"


async def test_closing_after_the_end_changes_nothing():
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout())
    await (await Hand.take(plane)).finish()
    await read(stream)
    await stream.aclose()
    assert plane.metric('certisolve_requests_total{code="ok",model="drift"}') == 1
    assert plane.metric('certisolve_requests_total{code="cancelled",model="drift"}') == 0


async def test_frames_before_a_failure_are_told():
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout())
    worker = await Hand.take(plane)
    await worker.tell(0)
    await plane.broker.fail(worker.held, InternalError("the device is gone"))
    told = [await anext(stream), await anext(stream)]
    assert told[1].step == 1
    with pytest.raises(InternalError, match="the device is gone"):
        await anext(stream)
    await stream.aclose()
    assert plane.metric('certisolve_requests_total{code="internal",model="drift"}') == 1


async def test_a_job_that_somebody_else_cancels_ends_the_stream():
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout())
    worker = await Hand.take(plane)
    await plane.broker.cancel(worker.held.job.id)
    with pytest.raises(Cancelled):
        await read(stream)


async def test_a_deadline_ends_the_stream_and_says_where_the_time_went():
    plane = rolling_plane()
    terms = Terms(deadline=time.time() + 0.1)
    stream = await plane.dataplane.stream(rollout(terms=terms))
    worker = await Hand.take(plane)
    with pytest.raises(DeadlineExceeded, match="the job spent"):
        await read(stream)
    assert (await plane.broker.state(worker.held.job.id)).status == "cancelled"


async def test_without_a_deadline_silence_ends_it():
    plane = rolling_plane(max_wait_s=0.05)
    stream = await plane.dataplane.stream(rollout())
    worker = await Hand.take(plane)
    await worker.tell(0)
    with pytest.raises(DeadlineExceeded, match="no answer"):
        await read(stream)


# --- What is refused before it begins -------------------------------------------------------------


async def test_a_key_is_refused():
    plane = rolling_plane()
    with pytest.raises(InvalidOption) as raised:
        await plane.dataplane.stream(rollout(terms=Terms(idempotency_key="again")))
    assert raised.value.field == "Idempotency-Key"
    assert (await plane.broker.depth()).num_jobs == 0


async def test_a_full_queue_refuses_a_stream():
    plane = rolling_plane(broker=MemoryBroker(Bounds(max_jobs=1)))
    await plane.dataplane.stream(rollout())
    with pytest.raises(QueueFull):
        await plane.dataplane.stream(rollout())
    assert plane.metric('certisolve_requests_total{code="queue_full",model="drift"}') == 1


async def test_an_unknown_model_is_refused_and_leaves_no_label():
    plane = rolling_plane()
    with pytest.raises(UnknownModel):
        await plane.dataplane.stream(replace(rollout(), model="drfit"))
    assert plane.metric('certisolve_requests_total{code="unknown_model",model=""}') == 1


async def test_frames_that_were_asked_for_count_in_the_queue():
    plane = rolling_plane()
    await plane.dataplane.stream(rollout(steps=5))
    assert (await plane.broker.depth()).num_bytes == (2 + 5 * 2) * 16 * 4
