"""Whose job goes next."""

import pytest

from broker_jobs import ALL, START, claim_one, ids, job, learn_pace, submit, up_to
from certisolve_server.jobs import Priority

pytestmark = pytest.mark.anyio


async def test_within_a_tenant_the_urgent_go_first(gateway, worker):
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        await submit(gateway, job(f"{priority}1", priority=priority))
        await submit(gateway, job(f"{priority}2", priority=priority))
    assert ids(await worker.claim(up_to(4))) == ["high1", "high2", "normal1", "normal2"]
    assert ids(await worker.claim(ALL)) == ["low1", "low2"]


async def test_urgency_is_worth_a_head_start_and_no_more(gateway, worker):
    lead_s = Priority.HIGH.head_start_s - Priority.LOW.head_start_s
    await submit(gateway, job("patient", priority=Priority.LOW))
    await submit(gateway, job("fresh", priority=Priority.HIGH, at=START + lead_s + 1))
    assert ids([await claim_one(worker)]) == ["patient"]
    await submit(gateway, job("impatient", priority=Priority.LOW, at=START + 2))
    assert ids([await claim_one(worker)]) == ["fresh"]


async def test_the_most_urgent_job_decides_the_lane(gateway, worker):
    await submit(gateway, job("1"), job("2", size=8, priority=Priority.HIGH), job("3", size=8))
    assert ids(await worker.claim(ALL)) == ["2", "3"]


async def test_a_tenant_is_not_behind_the_hundred_jobs_of_another(gateway, worker):
    await submit(gateway, *(job(f"a{number}", tenant="a") for number in range(100)))
    await submit(gateway, *(job(f"b{number}", tenant="b") for number in range(10)))
    claimed = [(await claim_one(worker)).job for _ in range(22)]
    assert [each.id for each in claimed if each.terms.tenant == "b"] == [
        f"b{number}" for number in range(10)
    ]


async def test_tenants_share_every_batch(gateway, worker):
    await submit(gateway, *(job(f"a{number}", tenant="a") for number in range(100)))
    await submit(gateway, *(job(f"b{number}", tenant="b") for number in range(10)))
    claimed = [each for _ in range(4) for each in ids(await worker.claim(up_to(8)))]
    assert len(claimed) == 32
    assert sum(each.startswith("b") for each in claimed) == 10


async def test_a_batch_is_filled_with_what_other_tenants_have_in_its_lane(gateway, worker):
    await submit(gateway, job("a1", tenant="a"), job("a2", 8, tenant="a"), job("b1", tenant="b"))
    await submit(gateway, job("b2", 8, tenant="b"), job("b3", tenant="b"), job("c1", tenant="c"))
    batches = [set(ids(await worker.claim(ALL))) for _ in range(2)]
    assert sorted(batches, key=len) == [{"a2", "b2"}, {"a1", "b1", "b3", "c1"}]


async def test_tenants_share_the_time_of_the_device_rather_than_the_number_of_jobs(gateway, worker):
    await learn_pace(gateway, worker, 10.0, tenant="quick", size=3)
    await learn_pace(gateway, worker, 100.0, tenant="slow", size=8)
    await submit(gateway, *(job(f"q{n}", 3, tenant="quick") for n in range(60)))
    await submit(gateway, *(job(f"s{n}", 8, tenant="slow") for n in range(60)))
    claimed = [(await claim_one(worker)).job.terms.tenant for _ in range(44)]
    # 4 of 44 in the long run; where the two start from is worth one or two.
    assert 2 <= claimed.count("slow") <= 7


async def test_a_tenant_that_idled_earned_no_credit(gateway, worker):
    await submit(gateway, job("b", tenant="b"))
    await claim_one(worker)
    await submit(gateway, *(job(f"a{number}", tenant="a") for number in range(80)))
    for _ in range(50):
        await claim_one(worker)
    await submit(gateway, *(job(f"b{number}", tenant="b") for number in range(30)))
    claimed = [(await claim_one(worker)).job.terms.tenant for _ in range(20)]
    assert 8 <= claimed.count("b") <= 12
