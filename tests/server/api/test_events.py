"""Changes of a job become server-sent events that any EventSource can read."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from certisolve_server.api.app import create_app
from certisolve_server.api.events import job_events
from certisolve_server.dataplane import JobView
from certisolve_server.errors import InternalError, QueueUnavailable
from certisolve_server.jobs import JobState
from dataplanes import Plane, request

pytestmark = pytest.mark.anyio
FIRST = JobView("j", JobState("queued", position=3, expected_wait_s=1.5))


async def changes(*views: JobView | Exception) -> AsyncIterator[JobView]:
    for view in views:
        if isinstance(view, Exception):
            raise view
        yield view


async def collect(first: JobView, *views: JobView | Exception) -> list[tuple[str, str, dict]]:
    text = b"".join([chunk async for chunk in job_events(first, changes(*views))]).decode()
    assert text.endswith("\n\n")
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert fields.keys() == {"id", "event", "data"}
        events.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return events


async def test_every_change_is_an_event_and_the_last_is_named_after_the_end():
    running = JobView("j", JobState("running", progress=0.5))
    done = JobView("j", JobState("succeeded", progress=1.0))
    first, second, last = await collect(FIRST, running, done)
    assert first == (
        "1",
        "status",
        {
            "id": "j",
            "status": "queued",
            "position": 3,
            "expected_wait_s": 1.5,
            "progress": 0.0,
            "problem": None,
        },
    )
    assert (second[0], second[1], second[2]["progress"]) == ("2", "status", 0.5)
    assert (last[0], last[1], last[2]["location"]) == ("3", "succeeded", "/v1/jobs/j")
    assert "location" not in first[2]


async def test_a_failure_carries_its_problem():
    failed = JobView("j", JobState("failed", error=InternalError("line\nbreak")))
    [(_, name, document)] = await collect(failed)
    assert (name, document["status"]) == ("failed", "failed")
    assert document["problem"]["detail"] == "line\nbreak"


async def test_what_ends_the_stream_early_is_told():
    lost = QueueUnavailable("no connection", retry_after_s=1.0)
    [_, (number, name, document)] = await collect(FIRST, lost)
    assert (number, name, document["code"]) == ("2", "problem", "queue_unavailable")
    [_, (_, name, document)] = await collect(FIRST, RuntimeError("secret"))
    assert (name, document["code"]) == ("problem", "internal")
    assert "secret" not in json.dumps(document)


async def test_a_long_silence_is_filled_with_comments():
    quiet = asyncio.Event()

    async def silent() -> AsyncIterator[JobView]:
        await quiet.wait()
        yield JobView("j", JobState("cancelled"))

    chunks = []
    async for chunk in job_events(FIRST, silent(), heartbeat_s=0.001):
        chunks.append(chunk)
        if len(chunks) == 4:
            quiet.set()
    comments = [chunk for chunk in chunks if chunk.startswith(b":")]
    assert len(comments) >= 3
    assert all(comment.endswith(b"\n\n") for comment in comments)
    assert chunks[-1].startswith(b"id: 2\nevent: cancelled\n")


async def test_watching_stops_with_the_stream():
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[JobView]:
        try:
            await asyncio.Event().wait()
            yield FIRST
        finally:
            stopped.set()

    events = job_events(FIRST, endless(), heartbeat_s=0.001)
    await anext(events)
    await anext(events)
    await events.aclose()
    await asyncio.wait_for(stopped.wait(), 5)


async def test_a_slow_reader_is_told_less_often_and_still_the_end():
    produced = []

    async def many() -> AsyncIterator[JobView]:
        for number in range(100):
            produced.append(number)
            yield JobView("j", JobState("queued", position=100 - number))
        yield JobView("j", JobState("cancelled"))

    events = job_events(FIRST, many())
    await anext(events)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(produced) <= 3  # not piled up in memory
    rest = [chunk async for chunk in events]
    assert b"event: cancelled" in rest[-1]


async def test_a_client_that_goes_away_leaves_nothing_behind():
    plane = Plane()
    app = create_app(plane.dataplane)
    job = await plane.dataplane.submit_solve(request())
    before, told = asyncio.all_tasks(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await told.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            told.set()

    path = f"/v1/jobs/{job.id}/events"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    async with asyncio.timeout(5):  # the job itself does not end
        await app(scope, receive, send)
        if left := asyncio.all_tasks() - before:
            await asyncio.wait(left)
    assert (await plane.dataplane.job(job.id)).state.status == "queued"
