"""A queue knows requests that come again, and takes no more than it may hold."""

import anyio
import pytest

from broker_jobs import ALL, answer, claim_one, depth, ids, job, learn_pace, run_one, submit
from certisolve_server.broker import AbstractBroker, Bounds, Idempotency
from certisolve_server.errors import IdempotencyConflict, QueueFull, UnknownJob

pytestmark = pytest.mark.anyio


# --- The same request again -----------------------------------------------------------------------


async def _submit_under(
    gateway: AbstractBroker, name: str, key: str, digest: str = "digest", tenant: str = "default"
) -> str:
    return await gateway.submit(
        job(name, key=key, tenant=tenant),
        keep_result=True,
        idempotency=Idempotency(key, digest),
    )


async def test_a_request_that_comes_again_under_its_key_is_the_same_job(
    participants, gateway, worker
):
    assert await _submit_under(gateway, "1", "key") == "1"
    another = await participants.join("another gateway")
    assert await _submit_under(another, "2", "key") == "1"
    assert (await depth(gateway))[0] == 1
    claim = await claim_one(worker, start=True)
    assert await _submit_under(gateway, "3", "key") == "1"
    await answer(worker, claim)
    assert await _submit_under(gateway, "4", "key") == "1"
    assert (await another.result("1")).outputs[0][0] == 7.0
    assert await depth(gateway) == (0, 0)
    with pytest.raises(UnknownJob):
        await gateway.state("2")


async def test_a_key_is_not_to_be_used_for_another_request(gateway, worker):
    await _submit_under(gateway, "1", "key", "digest")
    with pytest.raises(IdempotencyConflict):
        await _submit_under(gateway, "2", "key", "another digest")
    await answer(worker, await claim_one(worker))
    with pytest.raises(IdempotencyConflict):
        await _submit_under(gateway, "2", "key", "another digest")
    assert await depth(gateway) == (0, 0)


async def test_keys_of_different_tenants_are_unrelated(gateway):
    assert await _submit_under(gateway, "1", "key", "digest", tenant="a") == "1"
    assert await _submit_under(gateway, "2", "key", "another digest", tenant="b") == "2"
    assert await _submit_under(gateway, "3", "another key", "digest", tenant="a") == "3"


async def test_a_key_is_forgotten_together_with_the_result(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(result_ttl_s=30.0, lease_s=100.0)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await _submit_under(gateway, "1", "key")
            claim = await claim_one(worker)
            await participants.elapse(50.0)
            assert await _submit_under(gateway, "2", "key") == "1"
            await answer(worker, claim)
            await participants.elapse(29.0)
            assert await _submit_under(gateway, "2", "key") == "1"
            await participants.elapse(2.0)
            assert await _submit_under(gateway, "2", "key", "another digest") == "2"


async def test_a_full_queue_still_knows_the_keys_of_its_jobs(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_jobs=1)) as participants:
            gateway = await participants.join("gateway")
            await _submit_under(gateway, "1", "key")
            assert await _submit_under(gateway, "2", "key") == "1"
            with pytest.raises(QueueFull):
                await _submit_under(gateway, "2", "another key")


# --- Bounds ---------------------------------------------------------------------------------------


BOUNDS = {"count": Bounds(max_jobs=2), "bytes": Bounds(max_bytes=2 * job("1").num_bytes)}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
async def test_a_queue_takes_no_more_than_it_may_hold(queue, bounds):
    with anyio.fail_after(20):
        async with queue(bounds) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await submit(gateway, job("1"), job("2"))
            claim = await claim_one(worker, start=True)
            with pytest.raises(QueueFull) as caught:
                await submit(gateway, job("3"))
            assert caught.value.retry_after_s > 0
            with pytest.raises(UnknownJob):
                await gateway.state("3")
            await answer(worker, claim)
            await submit(gateway, job("3"))
            assert ids(await worker.claim(ALL)) == ["2", "3"]


async def test_a_full_queue_says_how_long_its_work_will_take(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_jobs=3)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await learn_pace(gateway, worker, 2000.0)
            await submit(gateway, job("1"), job("2"), job("3"))
            with pytest.raises(QueueFull) as caught:
                await submit(gateway, job("4"))
            assert caught.value.retry_after_s == pytest.approx(6.0, rel=0.1)


async def test_results_that_are_kept_are_bounded_too(queue):
    with anyio.fail_after(20):
        async with queue(Bounds(max_result_bytes=8, result_ttl_s=30.0)) as participants:
            gateway, worker = await participants.join("gateway"), await participants.join("worker")
            await answer(worker, await run_one(gateway, worker, "1"))
            with pytest.raises(QueueFull) as caught:
                await submit(gateway, job("2"), keep_result=True)
            assert caught.value.retry_after_s > 0
            await submit(gateway, job("3"), keep_result=False)
            assert (await gateway.state("1")).status == "succeeded"
            await participants.elapse(31.0)
            await submit(gateway, job("2"), keep_result=True)
