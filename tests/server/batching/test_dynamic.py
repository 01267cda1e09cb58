"""Who runs together, and when: no request is lost, doubled, overtaken or kept waiting in vain."""

import sys
import tracemalloc
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from certisolve_server.batching import DynamicBatcher, Request


def batcher(max_batch_size: int = 4, max_queue_delay: float = 0.0) -> DynamicBatcher:
    return DynamicBatcher(lambda lane: max_batch_size, max_queue_delay)


def add(target: DynamicBatcher, lane: str, *ids: str, at: float = 0.0, deadline=None) -> None:
    for request_id in ids:
        target.add(Request(request_id, lane, at, deadline))


def ids(batch) -> list[str]:
    return [request.id for request in batch.requests]


def test_nothing_waits_in_a_new_batcher():
    waiting = batcher()
    assert len(waiting) == 0
    assert waiting.next_batch(0.0, device_idle=True) is None
    assert waiting.wake_at() is None
    assert waiting.expire(1e9) == []


def test_a_lane_is_served_in_order_of_arrival():
    waiting = batcher(max_batch_size=2)
    add(waiting, "a", "1", "2", "3", "4", "5")
    batches = [ids(waiting.next_batch(0.0, device_idle=True)) for _ in range(3)]
    assert batches == [["1", "2"], ["3", "4"], ["5"]]


def test_the_lane_whose_head_waited_longest_is_served_first():
    waiting = batcher()
    add(waiting, "busy", "1", at=2.0)
    add(waiting, "quiet", "2", at=1.0)
    add(waiting, "busy", "3", "4", at=3.0)
    assert ids(waiting.next_batch(3.0, device_idle=True)) == ["2"]
    assert ids(waiting.next_batch(3.0, device_idle=True)) == ["1", "3", "4"]


def test_a_steady_stream_does_not_starve_another_lane():
    waiting = batcher(max_batch_size=2)
    add(waiting, "rare", "patient", at=0.5)
    served = []
    for step in range(4):
        add(waiting, "stream", f"{step}a", f"{step}b", at=float(step))
        served += ids(waiting.next_batch(float(step), device_idle=True))
    assert "patient" in served


def test_full_lanes_do_not_overtake_an_older_ripe_one():
    waiting = batcher(max_batch_size=2, max_queue_delay=1.0)
    add(waiting, "old", "1", at=0.0)
    add(waiting, "full", "2", "3", at=0.5)
    assert ids(waiting.next_batch(1.0, device_idle=False)) == ["1"]


def test_lanes_are_never_mixed():
    waiting = batcher(max_batch_size=8)
    add(waiting, "a", "1")
    add(waiting, "b", "2")
    add(waiting, "a", "3")
    first = waiting.next_batch(0.0, device_idle=True)
    assert first.lane == "a"
    assert ids(first) == ["1", "3"]


def test_each_lane_has_its_own_largest_batch():
    waiting = DynamicBatcher({"wide": 3, "narrow": 1}.__getitem__)
    add(waiting, "wide", "1", "2", "3", "4")
    add(waiting, "narrow", "5", "6", at=1.0)
    sizes = [len(waiting.next_batch(1.0, device_idle=True).requests) for _ in range(4)]
    assert sizes == [3, 1, 1, 1]


def test_an_idle_device_never_waits_for_company():
    waiting = batcher(max_queue_delay=3600.0)
    add(waiting, "a", "1")
    assert ids(waiting.next_batch(0.0, device_idle=True)) == ["1"]


def test_a_busy_device_waits_for_company_and_not_a_moment_longer():
    waiting = batcher(max_queue_delay=0.1)
    add(waiting, "a", "1", at=0.2)
    wake_at = waiting.wake_at()
    assert waiting.next_batch(wake_at - 1e-9, device_idle=False) is None
    # At `wake_at` itself: 0.2 + 0.1 is no round number, and a caller must not spin on it.
    assert ids(waiting.next_batch(wake_at, device_idle=False)) == ["1"]


def test_a_busy_device_is_given_a_full_batch_at_once():
    waiting = batcher(max_batch_size=2, max_queue_delay=3600.0)
    add(waiting, "a", "1")
    assert waiting.next_batch(0.0, device_idle=False) is None
    add(waiting, "a", "2")
    assert ids(waiting.next_batch(0.0, device_idle=False)) == ["1", "2"]


def test_the_batcher_wakes_for_its_oldest_head():
    waiting = batcher(max_queue_delay=1.0)
    add(waiting, "a", "1", at=5.0)
    add(waiting, "b", "2", at=4.0)
    assert waiting.wake_at() == 5.0
    assert waiting.cancel("2")
    assert waiting.wake_at() == 6.0


def test_a_request_expires_at_its_deadline_and_not_before():
    waiting = batcher()
    add(waiting, "a", "1", deadline=1.0)
    assert waiting.expire(0.999) == []
    assert [request.id for request in waiting.expire(1.0)] == ["1"]
    assert len(waiting) == 0
    assert waiting.next_batch(1.0, device_idle=True) is None


def test_requests_without_a_deadline_never_expire():
    waiting = batcher()
    add(waiting, "a", "1")
    assert waiting.expire(sys.float_info.max) == []
    assert len(waiting) == 1


def test_what_was_served_or_cancelled_does_not_expire():
    waiting = batcher(max_batch_size=1)
    add(waiting, "a", "served", "cancelled", deadline=1.0)
    waiting.next_batch(0.0, device_idle=True)
    assert waiting.cancel("cancelled")
    assert waiting.expire(2.0) == []


def test_an_id_that_comes_back_has_its_new_deadline():
    waiting = batcher()
    add(waiting, "a", "1", deadline=1.0)
    waiting.cancel("1")
    add(waiting, "b", "1", deadline=9.0)
    assert waiting.expire(1.0) == []
    assert [request.lane for request in waiting.expire(9.0)] == ["b"]


def test_only_what_waits_can_be_cancelled():
    waiting = batcher()
    add(waiting, "a", "1", "2")
    assert waiting.cancel("1")
    assert not waiting.cancel("1")
    assert not waiting.cancel("never")
    assert ids(waiting.next_batch(0.0, device_idle=True)) == ["2"]
    assert not waiting.cancel("2")


def test_far_deadlines_of_answered_requests_take_no_memory():
    waiting = batcher(max_batch_size=1)
    tracemalloc.start()
    for number in range(20_000):
        add(waiting, "a", str(number), deadline=1e12)
        waiting.next_batch(0.0, device_idle=True)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20_000 * 8, "fewer bytes than one pointer for each request"


SIZES = {"a": 1, "b": 2, "c": 3}
DELAY = 2.0


class AgainstANaiveModel(RuleBasedStateMachine):
    """A list in order of arrival, searched from the front, is right by inspection."""

    def __init__(self) -> None:
        super().__init__()
        self.batcher = DynamicBatcher(SIZES.__getitem__, DELAY)
        self.waiting: list[Request] = []
        self.now = 0.0
        self.added: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    @rule(
        name=st.sampled_from("pqrstuvw"),
        lane=st.sampled_from("abc"),
        patience=st.none() | st.integers(0, 5),
    )
    def add(self, name, lane, patience):
        if name in {request.id for request in self.waiting}:
            return
        deadline = None if patience is None else self.now + patience
        request = Request(name, lane, self.now, deadline)
        self.batcher.add(request)
        self.waiting.append(request)
        self.added[name] += 1

    @rule(step=st.sampled_from([0.5, 1.0, 2.5]))
    def wait(self, step):
        self.now += step

    @rule(name=st.sampled_from("pqrstuvw"))
    def cancel(self, name):
        expected = [request for request in self.waiting if request.id == name]
        assert self.batcher.cancel(name) == bool(expected)
        self._leave(expected)

    @rule()
    def expire(self):
        expected = {
            request
            for request in self.waiting
            if request.deadline is not None and request.deadline <= self.now
        }
        expired = self.batcher.expire(self.now)
        assert set(expired) == expected
        assert len(expired) == len(expected)
        self._leave(expired)

    @rule(idle=st.booleans())
    def serve(self, idle):
        heads = {}
        for request in self.waiting:
            heads.setdefault(request.lane, request)
        ripe = [head for head in heads.values() if idle or self._is_ripe(head)]
        batch = self.batcher.next_batch(self.now, device_idle=idle)
        if not ripe:
            assert batch is None
            return
        oldest = min(head.arrived_at for head in ripe)
        assert batch.lane in {head.lane for head in ripe if head.arrived_at == oldest}
        assert list(batch.requests) == self._lane(batch.lane)[: SIZES[batch.lane]]
        self._leave(batch.requests)

    @precondition(lambda self: self.waiting)
    @rule()
    def wake(self):
        wake_at = self.batcher.wake_at()
        assert wake_at == min(request.arrived_at for request in self.waiting) + DELAY
        self.now = max(self.now, wake_at)
        batch = self.batcher.next_batch(self.now, device_idle=False)
        assert batch is not None
        self._leave(batch.requests)

    @invariant()
    def nothing_is_lost_or_doubled(self):
        assert len(self.batcher) == len(self.waiting)
        still = Counter(request.id for request in self.waiting)
        assert self.added == self.left + still

    def _is_ripe(self, head: Request) -> bool:
        full = len(self._lane(head.lane)) >= SIZES[head.lane]
        return full or self.now >= head.arrived_at + DELAY

    def _lane(self, lane: object) -> list[Request]:
        return [request for request in self.waiting if request.lane == lane]

    def _leave(self, requests) -> None:
        for request in requests:
            self.waiting.remove(request)
            self.left[request.id] += 1


TestAgainstANaiveModel = AgainstANaiveModel.TestCase
TestAgainstANaiveModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_draining_a_batcher_yields_every_request_once(size):
    waiting = batcher(max_batch_size=size)
    for number in range(50):
        add(waiting, f"lane{number % 4}", str(number), at=float(number))
    seen: list[str] = []
    while batch := waiting.next_batch(50.0, device_idle=True):
        assert len(batch.requests) <= size
        seen += ids(batch)
    assert sorted(seen, key=int) == [str(number) for number in range(50)]
