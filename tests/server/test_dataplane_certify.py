"""What a data plane does with questions: answers those it knows, and makes jobs of long ones."""

import json
from dataclasses import replace

import anyio
import numpy as np
import pytest

from certify_requests import BALL, certify_request
from certisolve_server.broker import MemoryBroker
from certisolve_server.broker.base import Capacity
from certisolve_server.dataplane import JobView
from certisolve_server.errors import InvalidOption, NotCertified
from certisolve_server.jobs import Frame, Outcome, Terms, Timings
from dataplanes import ARTIFACT, Plane

pytestmark = pytest.mark.anyio

CAPACITY = Capacity({ARTIFACT.key: 8}, pool="certify")
TERMS = Terms()


def document(upper=2.0, lower=1.0, status="budget_exhausted", **more) -> np.ndarray:
    said = {"upper": upper, "lower": lower, "status": status, "methods": {}, **more}
    return np.frombuffer(json.dumps(said).encode(), np.uint8)


async def claim(plane: Plane):
    [found] = await plane.broker.claim(CAPACITY, start=True)
    return found


async def answer(plane: Plane, found: np.ndarray, claimed=None):
    claimed = claimed or await claim(plane)
    outcome = Outcome(
        model=claimed.job.model,
        outputs=(found,),
        finite=True,
        timings=Timings(1.0, 0.0, 1.0),
        batch_size=1,
        context=claimed.job.context,
        kind="certify",
    )
    await plane.broker.complete([(claimed, outcome)])
    return claimed


async def ask(plane: Plane, found: np.ndarray | None = None, **changes):
    """The answer to a question, which a worker has to give unless `found` is None."""
    answers = []

    async def certify() -> None:
        answers.append(await plane.dataplane.certify(certify_request(**changes), TERMS))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(certify)
            if found is not None:
                tasks.start_soon(answer, plane, found)
    return answers[0].told()


async def test_a_question_that_is_known_is_answered_without_a_worker():
    plane = Plane()
    first = await ask(plane, document())
    assert await ask(plane, budget_s=1.0) == first
    again = await ask(plane, document(upper=1.5), budget_s=20.0)
    assert again["upper"] == 1.5
    worse = await ask(plane, document(upper=1.9), budget_s=30.0)
    assert worse["upper"] == 1.5
    other = replace(BALL, radius=0.2)
    assert (await ask(plane, document(upper=3.0), domain=other))["upper"] == 3.0


async def test_a_search_longer_than_the_patience_is_a_job_at_once():
    plane = Plane(max_wait_s=5.0)
    view = await plane.dataplane.certify_within(certify_request(budget_s=6.0), TERMS, None)
    assert isinstance(view, JobView)
    assert view.state.status == "queued"
    view = await plane.dataplane.certify_within(certify_request(budget_s=2.0), TERMS, 1.0)
    assert isinstance(view, JobView)


async def test_a_job_tells_the_best_so_far_and_then_its_certificate():
    plane = Plane()
    view = await plane.dataplane.submit_certify(certify_request(), TERMS)
    claimed = await claim(plane)
    better = document(upper=3.0, status="improving")
    await plane.broker.publish([(claimed, Frame(0, 0.1, (better,)))])
    running = await plane.dataplane.job(view.id)
    assert running.best.told()["upper"] == 3.0
    await answer(plane, document(), claimed)
    ended = await plane.dataplane.job(view.id)
    assert (ended.best, ended.solution) == (None, None)
    assert ended.certified.told()["upper"] == 2.0


async def test_a_stream_tells_what_is_better_and_last_the_answer():
    plane = Plane()
    stream = await plane.dataplane.certify_stream(certify_request(), TERMS)
    claimed = await claim(plane)
    told = []
    for index, upper in enumerate([5.0, 6.0, 4.0]):
        better = document(upper=upper, status="improving")
        await plane.broker.publish([(claimed, Frame(index, 0.1, (better,)))])
        if upper != 6.0:
            told.append((await anext(stream)).told()["upper"])
    await answer(plane, document(), claimed)
    told += [each.told()["upper"] async for each in stream]
    assert told == [5.0, 4.0, 2.0]


async def test_a_stream_of_which_nothing_was_told_has_the_answer_once():
    plane = Plane()
    stream = await plane.dataplane.certify_stream(certify_request(), TERMS)
    await answer(plane, document())
    assert [each.told()["upper"] async for each in stream] == [2.0]


async def test_leaving_a_stream_cancels_the_search():
    plane = Plane()
    stream = await plane.dataplane.certify_stream(certify_request(), TERMS)
    claimed = await claim(plane)
    await stream.aclose()
    assert list(await plane.broker.cancelled("certify")) == [claimed.job.id]


async def test_a_refusal_is_told_to_who_waits_and_is_counted():
    plane = Plane()

    async def refuse() -> None:
        await plane.broker.fail(await claim(plane), NotCertified("nothing is proven of it"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refuse)
        with pytest.raises(NotCertified):
            await plane.dataplane.certify(certify_request(), TERMS)
    assert plane.metric('certisolve_requests_total{code="not_certified",model="double"}') == 1


async def test_streams_take_no_key():
    plane = Plane()
    with pytest.raises(InvalidOption) as raised:
        await plane.dataplane.certify_stream(certify_request(), Terms(idempotency_key="k"))
    assert raised.value.field == "Idempotency-Key"


async def test_who_goes_away_ends_the_search():
    plane = Plane(MemoryBroker())
    with anyio.move_on_after(0.05):
        await plane.dataplane.certify(certify_request(), TERMS)
    depth = await plane.broker.depth()
    assert depth.num_jobs == 0
