"""The same request under the same key is the same job."""

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_server import admission
from certisolve_server.errors import Cancelled, DeadlineExceeded, IdempotencyConflict
from certisolve_server.jobs import SolveRequest, Terms
from dataplanes import FIELD, Plane, answer, claim, request, work_once


@pytest.mark.anyio
async def test_the_same_key_and_request_is_the_same_job():
    plane = Plane()
    first = await plane.dataplane.submit_solve(request(idempotency_key="k"))
    again = await plane.dataplane.submit_solve(request(FIELD.copy(), idempotency_key="k"))
    assert again.id == first.id
    assert (await plane.broker.depth()).num_jobs == 1


@pytest.mark.anyio
async def test_twenty_at_once_are_one_job_and_twenty_answers():
    plane = Plane()
    solving = [
        asyncio.create_task(plane.dataplane.solve(request(idempotency_key="k"))) for _ in range(20)
    ]
    await asyncio.sleep(0)
    assert len(await work_once(plane.broker)) == 1
    for solution in await asyncio.gather(*solving):
        np.testing.assert_array_equal(solution.fields["u"], 2 * FIELD)
    late = await plane.dataplane.solve(request(idempotency_key="k"))
    np.testing.assert_array_equal(late.fields["u"], 2 * FIELD)
    assert (await plane.broker.depth()).num_jobs == 0


@pytest.mark.anyio
async def test_another_request_under_the_key_is_a_conflict():
    plane = Plane()
    await plane.dataplane.submit_solve(request(idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        await plane.dataplane.submit_solve(request(FIELD + 1, idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        await plane.dataplane.solve(request(FIELD + 1, idempotency_key="k"))
    assert (await plane.broker.depth()).num_jobs == 1


@pytest.mark.anyio
async def test_tenants_do_not_share_keys():
    plane = Plane()
    ours = await plane.dataplane.submit_solve(request(idempotency_key="k", tenant="ours"))
    theirs = await plane.dataplane.submit_solve(
        request(FIELD + 1, idempotency_key="k", tenant="theirs")
    )
    assert ours.id != theirs.id


@pytest.mark.anyio
async def test_one_who_goes_away_takes_the_job_from_nobody():
    plane = Plane()
    leaving, staying = (
        asyncio.create_task(plane.dataplane.solve(request(idempotency_key="k"))) for _ in range(2)
    )
    held = await claim(plane.broker)
    leaving.cancel()
    hurried = request(idempotency_key="k", deadline=time.time() + 0.02)
    with pytest.raises(DeadlineExceeded):
        await plane.dataplane.solve(hurried)
    await answer(plane.broker, held)
    np.testing.assert_array_equal((await staying).fields["u"], 2 * FIELD)
    assert leaving.cancelled()


@pytest.mark.anyio
async def test_a_repeated_request_meets_the_end_of_its_job_whatever_it_was():
    plane = Plane()
    job = await plane.dataplane.submit_solve(request(idempotency_key="k"))
    await plane.dataplane.cancel(job.id)
    with pytest.raises(Cancelled):
        await plane.dataplane.solve(request(idempotency_key="k"))


@pytest.mark.anyio
async def test_a_keyed_solve_that_outlasts_the_wait_is_that_job():
    plane = Plane()
    view = await plane.dataplane.solve_within(request(idempotency_key="k"), 0.0)
    again = await plane.dataplane.submit_solve(request(idempotency_key="k"))
    assert again.id == view.id


@pytest.mark.anyio
async def test_a_large_request_is_hashed_beside_the_event_loop():
    plane = Plane()
    field = np.zeros(1 << 19, np.float32)
    plane.catalog.put(_any_resolution(plane.catalog.find("double")))
    job = await plane.dataplane.submit_solve(request(field, idempotency_key="k"))
    again = await plane.dataplane.submit_solve(request(field.copy(), idempotency_key="k"))
    assert again.id == job.id


# --- The digest -----------------------------------------------------------------------------------


def solve(**changes):
    base = SolveRequest("m", None, {"a": FIELD, "b": FIELD[:4]}, parameters={"x": 1.0, "y": 2.0})
    return replace(base, **changes)


SAME = {
    "order of inputs": solve(inputs={"b": FIELD[:4], "a": FIELD}),
    "order of parameters": solve(parameters={"y": 2.0, "x": 1.0}),
    "terms": solve(terms=Terms(deadline=5.0, tenant="lab", idempotency_key="k")),
    "layout in memory": solve(inputs={"a": np.repeat(FIELD, 2)[::2], "b": FIELD[:4]}),
    "byte order in memory": solve(inputs={"a": FIELD.astype(">f4"), "b": FIELD[:4]}),
}
OTHERS = {
    "model": solve(model="n"),
    "version": solve(version="1"),
    "value": solve(inputs={"a": FIELD + 1, "b": FIELD[:4]}),
    "name": solve(inputs={"a": FIELD, "c": FIELD[:4]}),
    "swapped": solve(inputs={"a": FIELD[:4], "b": FIELD}),
    "dtype": solve(inputs={"a": FIELD.view(np.int32), "b": FIELD[:4]}),
    "shape": solve(inputs={"a": FIELD.reshape(4, 4), "b": FIELD[:4]}),
    "one input less": solve(inputs={"a": FIELD}),
    "bytes that move to the next input": solve(inputs={"a": FIELD[:15], "b": FIELD[-1:]}),
    "parameter": solve(parameters={"x": 1.0, "y": 2.5}),
    "parameter left out": solve(parameters={"x": 1.0}),
    "times": solve(t=(1.0,)),
    "no times": solve(t=()),
    "options": solve(diagnostics=False),
}


@pytest.mark.parametrize("other", SAME.values(), ids=SAME)
def test_how_a_request_is_written_does_not_matter(other):
    assert admission.digest(other) == admission.digest(solve())


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_is_asked_for_does(other):
    assert admission.digest(other) != admission.digest(solve())


def test_no_two_of_these_are_confused():
    digests = [admission.digest(each) for each in (solve(), *OTHERS.values())]
    assert len(set(digests)) == len(digests)


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=8))
def test_numbers_in_json_are_the_same_with_and_without_a_point(values):
    def untyped(dtype):
        inputs = {"u0": np.asarray(values, dtype)}
        return SolveRequest("m", None, inputs, untyped=frozenset({"u0"}))

    assert admission.digest(untyped(np.int64)) == admission.digest(untyped(np.float64))


def _any_resolution(entry):
    manifest = entry.artifact.manifest
    resolution = replace(manifest.resolutions[0], sizes={"x": 1 << 19})
    manifest = replace(manifest, resolutions=(resolution,))
    return replace(entry, artifact=replace(entry.artifact, manifest=manifest))
