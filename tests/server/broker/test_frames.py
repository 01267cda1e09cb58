"""The frames of one job: told in order however they come, and held no longer than they must be."""

import asyncio
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_server.broker.frames import FrameStream
from certisolve_server.errors import Cancelled, OutOfRange
from certisolve_server.jobs import (
    Frame,
    JobState,
    ModelKey,
    Outcome,
    SolveContext,
    SolveJob,
    Timings,
    Work,
)

MODEL = ModelKey("m", "1", "digest")
COUNT = 5
TIMES = tuple(float(index) for index in range(COUNT))
CONTEXT = SolveContext(TIMES, {}, None, None, True)
JOB = SolveJob("1", MODEL, (), (), 0.0, CONTEXT, work=Work(t=TIMES, stream=True))
OUTCOME = Outcome(
    MODEL, (np.arange(COUNT, dtype=np.float64),), True, Timings(0.0, 0.0, 0.0), 1, CONTEXT
)
SUCCEEDED = JobState("succeeded", OUTCOME)
FAILED = JobState("failed", error=OutOfRange("too large"))
CANCELLED = JobState("cancelled", error=Cancelled("the job was cancelled"))


def frame(index: int) -> Frame:
    return Frame(index, TIMES[index], (np.array(float(index)),))


async def told(stream: FrameStream) -> list[Frame]:
    return [each async for each in stream.told()]


def indices(frames: list[Frame]) -> list[int]:
    assert all(each.outputs[0] == each.index == each.t for each in frames)
    return [each.index for each in frames]


def read_all(stream: FrameStream) -> list[int]:
    """Everything there is of a job that has ended."""
    outcome = stream.state.outcome if stream.state else None
    return indices([*asyncio.run(told(stream)), *stream.rest(outcome)])


@given(st.lists(st.integers(0, COUNT - 1), max_size=12))
def test_all_frames_of_an_answer_are_told_in_order_whichever_came_before(came):
    stream = FrameStream(JOB)
    for index in came:
        stream.put(frame(index))
    stream.end(SUCCEEDED)
    assert read_all(stream) == list(range(COUNT))


@given(st.lists(st.integers(0, COUNT - 1), max_size=12))
def test_without_an_answer_frames_are_told_up_to_the_first_that_is_missing(came):
    stream = FrameStream(JOB)
    for index in came:
        stream.put(frame(index))
    stream.end(FAILED)
    first_missing = min(set(range(COUNT + 1)) - set(came))
    assert read_all(stream) == list(range(first_missing))


@given(st.data())
def test_a_reader_may_be_anywhere_when_frames_come(data):
    stream = FrameStream(JOB)
    received: list[Frame] = []

    async def interleave() -> None:
        reading = stream.told()
        for _ in range(data.draw(st.integers(0, 20))):
            stream.put(frame(data.draw(st.integers(0, COUNT - 1))))
            while data.draw(st.booleans()) and len(received) in stream._held:
                received.append(await anext(reading))
        stream.end(SUCCEEDED)
        received.extend([each async for each in reading])

    asyncio.run(interleave())
    assert indices([*received, *stream.rest(OUTCOME)]) == list(range(COUNT))


def _lose(stream: FrameStream, index: int) -> "weakref.ref[np.ndarray]":
    """Put a frame that nothing but the stream holds; whether it is still there."""
    lost = frame(index)
    stream.put(lost)
    return weakref.ref(lost.outputs[0])


@pytest.mark.parametrize("state", [SUCCEEDED, CANCELLED, None], ids=["answer", "cancelled", "kept"])
def test_after_the_end_nothing_is_held_but_the_answer(state):
    stream = FrameStream(JOB)
    held = [_lose(stream, index) for index in (0, 1, 3)]
    assert all(array() is not None for array in held)
    stream.end(state)
    held.append(_lose(stream, 4))
    assert all(array() is None for array in held)


def test_a_frame_that_was_told_or_is_held_already_is_not_held_again():
    stream = FrameStream(JOB)
    stream.put(frame(0))
    stream.put(frame(2))

    async def read_one() -> int:
        return (await anext(stream.told())).index

    assert asyncio.run(read_one()) == 0
    assert _lose(stream, 0)() is None
    assert _lose(stream, 2)() is None
    assert _lose(stream, 3)() is not None


def test_what_is_taken_from_an_answer_is_a_view_of_it():
    stream = FrameStream(JOB)
    outcome = replace(OUTCOME, outputs=(np.zeros((COUNT, 4)),))
    stream.end(replace(SUCCEEDED, outcome=outcome))
    frames = list(stream.rest(outcome))
    assert all(np.shares_memory(each.outputs[0], outcome.outputs[0]) for each in frames)


def test_times_of_an_answer_that_ended_early_are_its_own():
    stream = FrameStream(JOB)
    stream.put(frame(0))
    early = replace(OUTCOME, outputs=(np.array([0.0, 1.0]),), t=(0.0, 1.0), ending="diverged")
    stream.end(replace(SUCCEEDED, outcome=early))
    assert indices(list(stream.rest(early))) == [0, 1]
