"""What is promised to whoever solves: one answer, in time, or the reason why not."""

import asyncio
import contextlib
import time
from dataclasses import replace

import numpy as np
import pytest

from certisolve_server.answers import Solution
from certisolve_server.broker import MemoryBroker
from certisolve_server.broker.base import Bounds, Capacity
from certisolve_server.catalog import Catalog, ModelEntry
from certisolve_server.dataplane import JobView
from certisolve_server.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InternalError,
    InvalidOption,
    ModelNotReady,
    QueueFull,
    QueueUnavailable,
    UnknownJob,
    UnknownModel,
)
from certisolve_server.jobs import Artifact, SolveRequest, Work
from certisolve_server.telemetry import Tracing
from dataplanes import ARTIFACT, FIELD, Clock, Plane, answer, claim, request, work_once
from family_models import drift_manifest
from helpers import field_manifest

pytestmark = pytest.mark.anyio


class OutOfReach(MemoryBroker):
    """A queue whose connection is lost."""

    @property
    def fault(self):
        return "no connection"

    async def depth(self):
        raise QueueUnavailable("no connection", retry_after_s=1.0)


class LosesStates(MemoryBroker):
    """A queue that is lost as soon as it has taken a job."""

    async def state(self, job_id, *, wait_s=0.0, unlike=None):
        raise QueueUnavailable("no connection", retry_after_s=1.0)


class AnswersMeanwhile(MemoryBroker):
    """A queue in which a job ends just before it is to be kept."""

    async def keep(self, job_id):
        await work_once(self)
        return await super().keep(job_id)


# --- Answers --------------------------------------------------------------------------------------


async def test_a_solve_is_answered_with_fields_and_coordinates():
    plane = Plane()
    solving = asyncio.create_task(plane.dataplane.solve(request()))
    await work_once(plane.broker)
    solution = await solving
    np.testing.assert_array_equal(solution.fields["u"], 2 * FIELD)
    np.testing.assert_array_equal(solution.coords["x"], np.arange(16) / 16)
    assert solution.artifact is ARTIFACT
    assert plane.metric('certisolve_requests_total{code="ok",model="double"}') == 1


async def test_the_terms_travel_with_the_job():
    plane = Plane()
    solving = asyncio.create_task(plane.dataplane.solve(request(tenant="lab", priority="high")))
    [held] = await claim(plane.broker)
    assert (held.job.terms.tenant, held.job.terms.priority) == ("lab", "high")
    await answer(plane.broker, [held])
    await solving


def _drift(**options):
    """A catalog of one rollout, and a request of it."""
    catalog = Catalog()
    catalog.put(ModelEntry(Artifact(drift_manifest(), "d2", "/models/drift"), ready=True))
    return catalog, SolveRequest("drift", None, {"w": FIELD, "f": FIELD}, **options)


async def test_what_is_asked_beside_the_inputs_travels_with_the_job():
    catalog, sent = _drift(t=(0.2, 0.5), diagnostics=False)
    plane = Plane(catalog=catalog)
    await plane.dataplane.submit_solve(sent)
    [held] = await plane.broker.claim(Capacity({catalog.find("drift").artifact.key: 1}), start=True)
    assert held.job.work == Work(steps=(2, 5), checks=False)
    assert held.job.parameters == (0.5,)


async def test_more_frames_than_an_answer_may_hold_are_refused_by_their_times():
    catalog, sent = _drift(t=tuple(step / 10 for step in range(1, 34)))
    plane = Plane(catalog=catalog, max_body_bytes=32 * 2 * 16 * 4)
    with pytest.raises(InvalidOption, match="ask for fewer times") as raised:
        await plane.dataplane.submit_solve(sent)
    assert raised.value.field == "t"
    catalog, fewer = _drift(t=tuple(step / 10 for step in range(1, 33)))
    await plane.dataplane.submit_solve(fewer)


async def test_frames_that_were_asked_for_count_in_the_queue():
    catalog, sent = _drift(t=(0.1, 0.2, 0.3))
    num_bytes = (2 + 3 * 2) * FIELD.nbytes
    plane = Plane(MemoryBroker(Bounds(max_bytes=2 * num_bytes)), catalog=catalog)
    for _ in range(2):
        await plane.dataplane.submit_solve(sent)
    assert (await plane.broker.depth()).num_bytes == 2 * num_bytes
    with pytest.raises(QueueFull):
        await plane.dataplane.submit_solve(sent)


async def test_a_model_without_times_answers_whatever_it_was_sent():
    # Twice as much comes back as was sent; nobody could ask for less of it.
    outputs = (*field_manifest("m").outputs, *field_manifest("m").inputs)
    outputs = (outputs[0], replace(outputs[1], name="v"))
    catalog = Catalog()
    manifest = field_manifest("double", outputs=outputs)
    catalog.put(ModelEntry(Artifact(manifest, "d1", "/models/double"), ready=True))
    plane = Plane(catalog=catalog, max_body_bytes=FIELD.nbytes)
    await plane.dataplane.submit_solve(request())


async def test_the_job_carries_on_the_trace_of_its_solve():
    class Child(type(Tracing.disabled())):
        def solve(self, model, traceparent):
            return contextlib.nullcontext(f"{traceparent}/{model}")

    plane = Plane(tracing=Child())
    await plane.dataplane.submit_solve(request(traceparent="00-a-b-01"))
    [held] = await claim(plane.broker)
    assert held.job.terms.traceparent == "00-a-b-01/double"


async def test_a_worker_s_error_is_the_caller_s():
    plane = Plane()
    solving = asyncio.create_task(plane.dataplane.solve(request()))
    [held] = await claim(plane.broker)
    await plane.broker.fail(held, InternalError("broken"))
    with pytest.raises(InternalError, match="broken"):
        await solving
    assert plane.metric('certisolve_requests_total{code="internal",model="double"}') == 1


async def test_cancelling_the_call_cancels_the_job():
    plane = Plane()
    solving = asyncio.create_task(plane.dataplane.solve(request()))
    held = await claim(plane.broker)
    solving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await solving
    assert (await plane.broker.depth()).num_jobs == 0
    assert await plane.broker.start(held) == []
    assert plane.metric('certisolve_requests_total{code="cancelled",model="double"}') == 1


# --- Refusals -------------------------------------------------------------------------------------


REFUSALS = {
    "unknown model": (request(model="nope"), UnknownModel, "'nope'"),
    "too large": (request(np.zeros(32, np.float32)), BodyTooLarge, "at most 100"),
    "too late": (request(deadline=1.0), DeadlineExceeded, "on arrival"),
    "loading": (request(model="late"), ModelNotReady, "no worker has loaded it yet"),
    "refused at load": (request(model="bad"), ModelNotReady, "no program"),
}


@pytest.mark.parametrize(("refused", "error", "reason"), REFUSALS.values(), ids=REFUSALS)
async def test_what_is_refused_never_reaches_the_queue(refused, error, reason):
    plane = Plane(max_body_bytes=100)
    plane.catalog.put(ModelEntry(Artifact(field_manifest("late"), "l", "/")))
    plane.catalog.put(ModelEntry(Artifact(field_manifest("bad"), "b", "/"), fault="no program"))
    for call in (
        plane.dataplane.solve(refused),
        plane.dataplane.solve_within(refused, 1.0),
        plane.dataplane.submit_solve(refused),
    ):
        with pytest.raises(error, match=reason):
            await call
    assert (await plane.broker.depth()).num_jobs == 0


async def test_strangers_cannot_grow_the_metrics():
    plane = Plane()
    for number in range(3):
        with pytest.raises(UnknownModel):
            await plane.dataplane.solve(request(model=f"nope{number}"))
    assert plane.metric('certisolve_requests_total{code="unknown_model",model=""}') == 3


async def test_a_full_queue_refuses_before_and_after_the_body_is_read():
    plane = Plane(MemoryBroker(Bounds(max_jobs=1)))
    plane.dataplane.check_pressure()
    await plane.dataplane.submit_solve(request())
    with pytest.raises(QueueFull) as hinted:
        plane.dataplane.check_pressure()
    with pytest.raises(QueueFull) as refused:
        await plane.dataplane.solve(request())
    assert hinted.value.retry_after_s > 0
    assert refused.value.retry_after_s > 0
    assert plane.metric('certisolve_requests_total{code="queue_full",model="double"}') == 1
    assert plane.metric('certisolve_requests_total{code="queue_full",model=""}') == 1


# --- Deadlines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reached", "stage", "account"),
    [
        ("queue", "queue", "s in the queue"),
        ("claimed", "device", "s waiting for the device"),
        ("started", "running", "s running"),
    ],
)
async def test_a_missed_deadline_says_where_the_time_went(reached, stage, account):
    clock = Clock()
    # Time stands still for the queue, whose own look at the deadline would come first.
    plane = Plane(MemoryBroker(Bounds(), clock), clock=clock)
    solving = asyncio.create_task(plane.dataplane.solve(request(deadline=clock.now + 0.05)))
    if reached != "queue":
        await claim(plane.broker, start=reached == "started")
    with pytest.raises(DeadlineExceeded, match=account):
        await solving
    assert plane.metric(f'certisolve_deadlines_missed_total{{stage="{stage}"}}') == 1
    assert (await plane.broker.depth()).num_jobs == 0


async def test_a_deadline_may_lie_beyond_the_wait_budget():
    plane = Plane(max_wait_s=0.01)
    deadline = time.time() + 20
    for call in (
        plane.dataplane.solve(request(deadline=deadline)),
        plane.dataplane.solve_within(request(deadline=deadline), None),
    ):
        solving = asyncio.create_task(call)
        held = await claim(plane.broker)
        await asyncio.wait([solving], timeout=0.05)  # longer than the budget
        await answer(plane.broker, held)
        assert isinstance(await solving, Solution)


async def test_who_cannot_be_handed_a_job_gives_up_after_the_wait_budget():
    plane = Plane(max_wait_s=0.01)
    with pytest.raises(DeadlineExceeded, match=r"0\.01\d s in the queue"):
        await plane.dataplane.solve(request())
    assert (await plane.broker.depth()).num_jobs == 0


async def test_a_deadline_that_passes_out_of_reach_of_the_queue_is_told_all_the_same():
    plane = Plane(LosesStates())
    deadline = time.time() + 0.02
    with pytest.raises(DeadlineExceeded, match="time unknown"):
        await plane.dataplane.solve(request(deadline=deadline))


# --- The wait budget ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait_s", "max_wait_s"), [(0.0, 20.0), (0.01, 20.0), (None, 0.01), (9, 0.01)]
)
async def test_a_solve_that_outlasts_the_wait_becomes_a_job(wait_s, max_wait_s):
    plane = Plane(max_wait_s=max_wait_s)
    view = await plane.dataplane.solve_within(request(), wait_s)
    assert isinstance(view, JobView)
    assert (view.state.status, view.state.position) == ("queued", 0)
    await work_once(plane.broker)
    for _ in range(2):
        kept = await plane.dataplane.job(view.id)
        np.testing.assert_array_equal(kept.solution.fields["u"], 2 * FIELD)
    assert plane.metric('certisolve_requests_total{code="accepted",model="double"}') == 1


async def test_a_solve_that_ends_as_the_wait_does_is_answered():
    plane = Plane(AnswersMeanwhile())
    solution = await plane.dataplane.solve_within(request(), 0.01)
    np.testing.assert_array_equal(solution.fields["u"], 2 * FIELD)


async def test_a_deadline_before_the_end_of_the_wait_counts():
    plane = Plane()
    deadline = time.time() + 0.02
    with pytest.raises(DeadlineExceeded):
        await plane.dataplane.solve_within(request(deadline=deadline), 10)


async def test_a_wait_before_the_deadline_makes_a_job_that_keeps_its_deadline():
    plane = Plane()
    deadline = time.time() + 20
    assert isinstance(await plane.dataplane.solve_within(request(deadline=deadline), 0), JobView)
    [held] = await claim(plane.broker)
    assert held.job.terms.deadline == deadline


async def test_a_job_whose_queue_is_lost_after_it_took_it_is_told_by_its_id():
    plane = Plane(LosesStates())
    view = await plane.dataplane.submit_solve(request())
    assert view.state.status == "queued"
    [held] = await claim(plane.broker)
    assert held.job.id == view.id


# --- Jobs -----------------------------------------------------------------------------------------


async def test_a_watched_job_is_told_at_each_change_and_ends_with_it():
    plane = Plane()
    job = await plane.dataplane.submit_solve(request())
    seen = []
    async for view in plane.dataplane.watch(job.id):
        seen.append(view.state.status)
        assert view.id == job.id
        if view.state.status == "queued":
            held = await claim(plane.broker)
        elif view.state.status == "running":
            await answer(plane.broker, held)
    assert seen == ["queued", "running", "succeeded"]


async def test_a_watched_job_is_told_when_it_moves_up():
    plane = Plane()
    first = await plane.dataplane.submit_solve(request())
    second = await plane.dataplane.submit_solve(request())
    views = plane.dataplane.watch(second.id)
    assert (await anext(views)).state.position == 1
    await plane.dataplane.cancel(first.id)
    moved = await anext(views)
    assert (moved.state.status, moved.state.position) == ("queued", 0)
    await views.aclose()


async def test_an_unchanged_job_is_told_once():
    plane = Plane()
    job = await plane.dataplane.submit_solve(request())
    views = plane.dataplane.watch(job.id)
    await anext(views)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):  # more than one look at the position
            await anext(views)


async def test_an_ended_job_is_told_once_and_an_unknown_one_never():
    plane = Plane()
    job = await plane.dataplane.submit_solve(request())
    await plane.dataplane.cancel(job.id)
    assert [view.state.status async for view in plane.dataplane.watch(job.id)] == ["cancelled"]
    with pytest.raises(UnknownJob):
        await anext(plane.dataplane.watch("nope"))


async def test_a_result_outlives_the_model_it_was_computed_by():
    plane = Plane()
    job = await plane.dataplane.submit_solve(request())
    await work_once(plane.broker)
    newer = Artifact(field_manifest("double"), "d2", "/models/double")
    plane.catalog.replace([ModelEntry(newer, ready=True)])
    view = await plane.dataplane.job(job.id)
    assert view.solution.artifact.digest == "d1"


async def test_a_result_whose_model_nobody_knows_is_a_clear_error():
    plane = Plane()
    job = await plane.dataplane.submit_solve(request())
    await work_once(plane.broker)
    restarted = Plane(plane.broker, catalog=Catalog())
    with pytest.raises(ModelNotReady, match="double 1 of digest d1"):
        await restarted.dataplane.job(job.id)
    assert [v.state.status async for v in restarted.dataplane.watch(job.id)] == ["succeeded"]
    assert (await restarted.dataplane.cancel(job.id)).state.status == "succeeded"


async def test_jobs_and_keys_go_to_the_queue_that_others_see_and_solves_to_the_one_at_hand():
    shared = MemoryBroker(Bounds())
    plane = Plane(jobs_broker=shared)
    for call in (plane.dataplane.solve(request()), plane.dataplane.solve_within(request(), None)):
        solving = asyncio.create_task(call)
        await work_once(plane.broker)
        assert isinstance(await solving, Solution)
    for call in (
        plane.dataplane.submit_solve(request()),
        plane.dataplane.solve_within(request(), 0),
        plane.dataplane.submit_solve(request(idempotency_key="k1")),
    ):
        view = await call
        assert (await plane.dataplane.job(view.id)).state.status == "queued"
        assert (await plane.dataplane.cancel(view.id)).state.status == "cancelled"
    keyed = asyncio.create_task(plane.dataplane.solve(request(idempotency_key="k2")))
    await work_once(shared)
    await keyed
    assert (await plane.broker.depth()).num_jobs == (await shared.depth()).num_jobs == 0


# --- Health ---------------------------------------------------------------------------------------


async def test_ready_is_a_server_whose_models_are_loaded_and_whose_queue_is_in_reach():
    plane = Plane()
    assert plane.dataplane.ready()
    assert plane.dataplane.fault() is None
    plane.catalog.put(ModelEntry(Artifact(field_manifest("bad"), "b", "/"), fault="refused"))
    assert plane.dataplane.ready()
    plane.catalog.put(ModelEntry(Artifact(field_manifest("late"), "l", "/")))
    assert not plane.dataplane.ready()


async def test_a_fleet_is_ready_while_it_loads_more():
    plane = Plane(needs_every_model=False)
    served = ModelEntry(ARTIFACT, ready=True)
    loading = ModelEntry(Artifact(field_manifest("late"), "l", "/"))
    plane.catalog.replace([served, loading])
    assert plane.dataplane.ready()
    plane.catalog.replace([loading])
    assert not plane.dataplane.ready()
    plane.catalog.replace([])
    assert not plane.dataplane.ready()


async def test_without_its_queue_a_server_is_not_ready_and_still_has_metrics():
    plane = Plane(OutOfReach())
    assert plane.dataplane.fault() == "no connection"
    assert not plane.dataplane.ready()
    assert b"certisolve_queue_depth" not in await plane.dataplane.metrics()
    assert b"certisolve_queue_depth 0.0" in await Plane().dataplane.metrics()
