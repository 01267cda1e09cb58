"""Who goes next: shares between tenants, order within one, whole batches of one lane."""

import random

import pytest

from certisolve_server.broker.fair_queue import FairQueue, Standing, Ticket
from certisolve_server.broker.lanes import LaneRecord, LaneRecords
from certisolve_server.jobs import Lane, ModelKey, Priority


def lane(name: str = "lane", cost_s: float = 0.001) -> LaneRecord:
    record = LaneRecord(Lane(ModelKey(name, "1"), ((3,),), ("<f4",)))
    record.observe(cost_s)
    return record


LANE, OTHER = lane("lane"), lane("other")


def ticket(job_id: str, tenant: str = "a", place: LaneRecord = LANE, **changes) -> Ticket:
    fields = {"priority": Priority.NORMAL, "arrived_at": 0.0} | changes
    return Ticket(job_id, tenant, place, **fields)


def line(*tickets: Ticket) -> FairQueue:
    queue = FairQueue()
    for each in tickets:
        queue.add(each)
    return queue


def take(queue: FairQueue, size: int = 100, now: float = 0.0, lanes=(LANE, OTHER)) -> list[str]:
    served = {record.lane for record in lanes}
    batch, _ = queue.take(lambda lane: size if lane in served else 0, now)
    return [each.id for each in batch]


def drain(queue: FairQueue, size: int = 1) -> list[str]:
    taken: list[str] = []
    while batch := take(queue, size):
        taken += batch
    return taken


def hand_back(queue: FairQueue, *tickets: Ticket, standing: Standing = Standing.AGAIN) -> None:
    for each in tickets:
        each.standing = standing
    queue.hand_back(tickets)


def test_nothing_is_taken_from_an_empty_queue():
    assert take(FairQueue()) == []


@pytest.mark.parametrize(
    ("tickets", "order"),
    [
        pytest.param([ticket("1"), ticket("2"), ticket("3")], "1 2 3", id="as they came"),
        pytest.param(
            [ticket("l", priority=Priority.LOW), ticket("n"), ticket("h", priority=Priority.HIGH)],
            "h n l",
            id="the urgent first",
        ),
        pytest.param(
            [
                ticket("low", priority=Priority.LOW),
                ticket("high", priority=Priority.HIGH, arrived_at=20.5),
                ticket("normal", arrived_at=9.0),
            ],
            "normal low high",
            id="who waited longer than the head start before the urgent",
        ),
        pytest.param(
            [ticket("1"), ticket("2", place=OTHER, priority=Priority.HIGH), ticket("3")],
            "2 1 3",
            id="lanes by their most urgent",
        ),
    ],
)
def test_order_within_a_tenant(tickets: list[Ticket], order: str):
    assert drain(line(*tickets)) == order.split()


@pytest.mark.parametrize(
    ("size", "batches"),
    [
        (1, ["a1", "b1", "a2", "b2", "a3", "b3", "a4", "a5", "a6"]),
        (3, ["a1", "b1", "a2", "b2", "a3", "b3", "a4", "a5", "a6"]),
    ],
)
def test_tenants_take_turns_however_large_the_batches_are(size: int, batches: list[str]):
    queue = line(*(ticket(f"a{number}", "a") for number in range(1, 7)))
    for number in range(1, 4):
        queue.add(ticket(f"b{number}", "b"))
    assert drain(queue, size) == batches


def test_a_batch_is_of_the_lane_of_whoever_is_next_and_filled_by_everyone():
    queue = line(ticket("a1", "a", OTHER), ticket("b1", "b"), ticket("a2", "a"), ticket("c1", "c"))
    queue.add(ticket("b2", "b", OTHER))
    assert take(queue) == ["a1", "b2"]
    assert sorted(take(queue)) == ["a2", "b1", "c1"]


def test_shares_are_of_time_and_not_of_jobs():
    quick, slow = lane("quick", 0.01), lane("slow", 0.1)
    queue = line(*(ticket(f"q{number}", "a", quick) for number in range(100)))
    for number in range(100):
        queue.add(ticket(f"s{number}", "b", slow))
    taken = [take(queue, 1, lanes=(quick, slow))[0][0] for _ in range(44)]
    assert taken.count("s") == 4


def test_who_was_idle_starts_where_the_others_are():
    queue = line(ticket("b0", "b"))
    take(queue)
    for number in range(50):
        queue.add(ticket(f"a{number}", "a"))
    for _ in range(40):
        take(queue, 1)
    for number in range(10):
        queue.add(ticket(f"b{number}", "b"))
    taken = drain(queue)
    assert [name[0] for name in taken[:20]].count("b") == 10


def test_who_had_a_costly_job_waits_its_turn_even_after_leaving():
    slow = lane("slow", 0.0105)
    queue = line(ticket("costly", "a", slow), ticket("b0", "b"))
    assert take(queue, 1, lanes=(slow,)) == ["costly"]
    for number in range(1, 20):
        queue.add(ticket(f"b{number}", "b"))
    queue.add(ticket("next", "a"))
    assert drain(queue).index("next") == 11


def test_a_tenant_that_cannot_be_served_here_is_passed_over():
    queue = line(ticket("a1", "a", OTHER), ticket("b1", "b"))
    assert take(queue, lanes=(LANE,)) == ["b1"]
    assert take(queue, lanes=(LANE,)) == []
    assert take(queue) == ["a1"]


def test_expired_tickets_leave_on_the_way_and_cost_nothing():
    queue = line(ticket("late", deadline=5.0), ticket("live", deadline=5.1))
    taken = queue.take(lambda lane: 1, 5.0)
    assert ([each.id for each in taken.batch], [each.id for each in taken.expired]) == (
        ["live"],
        ["late"],
    )


def test_when_all_have_expired_the_next_lane_is_taken():
    queue = line(ticket("late", deadline=5.0), ticket("live", place=OTHER, arrived_at=1.0))
    taken = queue.take(lambda lane: 4, 6.0)
    assert [each.id for each in taken.batch] == ["live"]
    assert [each.id for each in taken.expired] == ["late"]


def test_what_is_handed_back_goes_first_in_its_old_order():
    old = [ticket(str(number)) for number in range(4)]
    queue = line(*old, ticket("4"), ticket("urgent", priority=Priority.HIGH))
    assert take(queue, 5) == ["urgent", "0", "1", "2", "3"]
    hand_back(queue, *old[2:])
    hand_back(queue, *old[:2])
    assert take(queue) == ["0", "1", "2", "3", "4"]


def test_a_suspect_is_taken_alone_and_in_its_turn():
    first, suspect = ticket("suspect", arrived_at=1.0), ticket("younger suspect", arrived_at=3.0)
    queue = line(first, suspect)
    take(queue)
    hand_back(queue, first, suspect, standing=Standing.SUSPECT)
    for number, arrived_at in enumerate((0.0, 2.0, 4.0)):
        queue.add(ticket(str(number), arrived_at=arrived_at))
    assert take(queue) == ["0", "1", "2"]
    assert take(queue) == ["suspect"]
    queue.add(ticket("3", arrived_at=2.0))
    assert [take(queue) for _ in range(2)] == [["3"], ["younger suspect"]]


def test_a_suspect_that_cannot_be_served_here_hides_no_other():
    mine, foreign = ticket("mine", arrived_at=2.0), ticket("foreign", place=OTHER)
    queue = line(mine, foreign)
    take(queue), take(queue)
    hand_back(queue, mine, foreign, standing=Standing.SUSPECT)
    assert take(queue, lanes=(LANE,)) == ["mine"]
    assert take(queue) == ["foreign"]


def test_an_expired_suspect_leaves_too():
    suspect = ticket("1", deadline=5.0)
    queue = line(suspect)
    take(queue)
    hand_back(queue, suspect, standing=Standing.SUSPECT)
    assert queue.take(lambda lane: 1, 6.0).expired == [suspect]
    assert queue.num_tenants == 0


def test_what_is_removed_is_not_taken():
    gone = [ticket("1"), ticket("2", place=OTHER), ticket("3", "b")]
    queue = line(*gone, ticket("4"))
    for each in gone:
        queue.remove(each)
        queue.remove(each)
    assert drain(queue) == ["4"]


def test_position_counts_those_of_the_same_flow_ahead():
    tickets = [ticket("1"), ticket("2"), ticket("3", priority=Priority.HIGH), ticket("4", "b")]
    queue = line(*tickets)
    assert [queue.position(each) for each in tickets] == [0, 1, 0, 0]
    queue.remove(tickets[0])
    assert [queue.position(each) for each in tickets] == [None, 0, 0, 0]


def test_names_of_idle_tenants_are_not_kept_for_ever():
    queue = FairQueue()
    for number in range(10_000):
        queue.add(ticket("1", f"tenant {number}"))
        take(queue)
    assert len(queue._idle) <= 1024


def test_records_of_idle_lanes_are_not_kept_for_ever():
    records = LaneRecords()
    busy = records.of(LANE.lane)
    busy.num_jobs = 1
    for number in range(10_000):
        records.of(Lane(ModelKey("m", "1"), ((number,),), ("<f4",)))
    assert records.of(LANE.lane) is busy
    assert len(list(records)) <= 2048


def test_the_cost_of_a_lane_follows_what_its_jobs_took():
    record = LaneRecord(LANE.lane)
    assert (record.measured_s, record.cost_s) == (None, 0.001)
    record.observe(1.0)
    assert record.cost_s == 1.0
    record.observe(2.0)
    assert record.cost_s == pytest.approx(1.2)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_no_ticket_is_lost_or_doubled(seed: int):
    rng = random.Random(seed)
    queue, waiting, out = FairQueue(), {}, []
    lanes = [lane(name, cost_s) for name, cost_s in (("x", 0.001), ("y", 0.02), ("z", 0.3))]
    for number in range(3000):
        action = rng.random()
        if action < 0.5:
            new = ticket(
                str(number),
                rng.choice("abc"),
                rng.choice(lanes),
                priority=rng.choice(list(Priority)),
                arrived_at=number / 10,
            )
            queue.add(new)
            waiting[new.id] = new
        elif action < 0.6 and waiting:
            queue.remove(waiting.pop(rng.choice(list(waiting))))
        elif action < 0.7 and out:
            back = [out.pop(rng.randrange(len(out)))]
            hand_back(queue, *back, standing=rng.choice([Standing.AGAIN, Standing.SUSPECT]))
            waiting |= {each.id: each for each in back}
        else:
            limit = rng.randint(1, 6)
            batch, _ = queue.take(lambda lane, limit=limit: limit, number / 10)
            assert bool(batch) == bool(waiting)
            assert len({each.lane for each in batch}) <= 1
            assert len(batch) == 1 or all(each.standing is not Standing.SUSPECT for each in batch)
            for each in batch:
                assert waiting.pop(each.id) is each
            out += batch
    while batch := queue.take(lambda lane: 4, 0.0).batch:
        for each in batch:
            del waiting[each.id]
    assert not waiting
    assert queue.num_tenants == 0
