"""Many-step requests: none is lost, ended twice, overtaken in its lane or kept from its turn."""

import tracemalloc
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from certisolve_server.batching import ContinuousBatcher, Plan, SlotStatus, SteppingRequest

RUNNING, FINISHED, DIVERGED, FAILED = (
    SlotStatus.RUNNING,
    SlotStatus.FINISHED,
    SlotStatus.DIVERGED,
    SlotStatus.FAILED,
)

QUANTUM_S = 1e-3


def batcher(*sizes: int, budget: int = 1000, max_charge_s: float = 0.5) -> ContinuousBatcher:
    return ContinuousBatcher(lambda lane: sizes or (1, 2, 4), budget, QUANTUM_S, max_charge_s)


def add(target, lane, *ids, state_bytes=1, deadline=None) -> None:
    for request_id in ids:
        target.add(SteppingRequest(request_id, lane, state_bytes, deadline))


@dataclass
class Device:
    """Lays states out as a plan says, and refuses a layout that cannot be one gather."""

    slots: dict[object, list[str]] = field(default_factory=lambda: defaultdict(list))

    def lay_out(self, plan: Plan) -> None:
        table = dict(enumerate(self.slots[plan.lane]))
        for slot in plan.leaves:
            del table[slot]
        moved = {target: table.pop(source) for source, target in plan.moves}
        joined = {slot: request_id for request_id, slot in plan.joins}
        assert not moved.keys() & {source for source, _ in plan.moves}
        assert len(table) + len(moved) + len(joined) == plan.num_slots
        table |= moved | joined
        assert sorted(table) == list(range(plan.num_slots)), "dense"
        self.slots[plan.lane] = [table[slot] for slot in range(plan.num_slots)]

    def ids(self, plan: Plan) -> list[str]:
        return [self.slots[plan.lane][slot] for slot in plan.slots]


def step(target, device, ends=(), duration_s=0.01, status=FINISHED):
    """Carry the next plan out, in which the requests of `ends` end."""
    plan = target.next_plan()
    device.lay_out(plan)
    statuses = [status if each in ends else RUNNING for each in device.ids(plan)]
    return plan, target.advance(plan, statuses, duration_s)


def fail(target, device):
    plan = target.next_plan()
    device.lay_out(plan)
    return plan, target.fail(plan, 0.01)


def ended(pairs) -> list[tuple[str, SlotStatus]]:
    return [(request.id, status) for request, status in pairs]


def test_nothing_is_planned_without_requests():
    rollouts = batcher()
    assert rollouts.next_plan() is None
    assert len(rollouts) == rollouts.num_waiting == rollouts.num_running == 0
    assert rollouts.expire(1e9) == []
    assert not rollouts.cancel("never")


def test_the_first_plan_takes_in_those_who_came_first():
    rollouts = batcher(1, 2, 4)
    add(rollouts, "a", *"pqrst")
    plan = rollouts.next_plan()
    assert plan == Plan("a", (), (), (("p", 0), ("q", 1), ("r", 2), ("s", 3)), 4, (0, 1, 2, 3), 4)
    assert (rollouts.num_running, rollouts.num_waiting) == (4, 1)


@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 2), (3, 5), (5, 5), (6, 9), (9, 9)])
def test_a_step_is_padded_to_the_smallest_allowed_batch(count, size):
    rollouts = batcher(2, 5, 9)
    add(rollouts, "a", *map(str, range(count)))
    assert rollouts.next_plan().batch_size == size


# Five run in slots 0 to 4; some end, others wait.
LAYOUTS = {
    "nobody ends": ("", "", (), (), ()),
    "the last ends": ("t", "", (4,), (), ()),
    "the first ends and the last takes its place": ("p", "", (0,), ((4, 0),), ()),
    "a waiting one takes the place, and nothing moves": ("q", "x", (1,), (), (("x", 1),)),
    "more wait than end": ("q", "xy", (1,), (), (("x", 1), ("y", 5))),
    "more end than wait": ("pqs", "x", (0, 1, 3), ((4, 1),), (("x", 0),)),
    "a gap at the end is not filled": ("qst", "", (1, 3, 4), ((2, 1),), ()),
    "all end": ("pqrst", "", (0, 1, 2, 3, 4), (), ()),
    "all end, and others begin": ("pqrst", "xy", (0, 1, 2, 3, 4), (), (("x", 0), ("y", 1))),
    "more wait than there are slots": ("r", "xyzw", (2,), (), (("x", 2), ("y", 5), ("z", 6))),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_gaps_go_to_new_requests_and_then_to_the_last_slots(case):
    ends, waiting, leaves, moves, joins = LAYOUTS[case]
    rollouts, device = batcher(1, 4, 7), Device()
    add(rollouts, "a", *"pqrst")
    step(rollouts, device, ends)
    add(rollouts, "a", *waiting)
    plan, _ = step(rollouts, device)
    assert (plan.leaves, plan.moves, plan.joins) == (leaves, moves, joins)
    assert plan.slots == tuple(range(plan.num_slots))
    still = set("pqrst") - set(ends) | {request_id for request_id, _ in joins}
    assert set(device.slots["a"]) == still


def test_a_plan_that_only_frees_a_lane_has_no_step_and_comes_before_others():
    rollouts, device = batcher(), Device()
    add(rollouts, "a", "p")
    step(rollouts, device, "p", duration_s=0.9)
    add(rollouts, "b", "q")
    plan, _ = step(rollouts, device)
    assert plan == Plan("a", (0,), (), (), 0, (), 0)
    assert rollouts.taken_bytes == 0
    assert rollouts.next_plan().lane == "b"


def test_requests_of_different_lengths_share_steps():
    wanted = {"p": 3, "q": 1, "r": 5, "s": 2, "t": 1}
    rollouts, device, steps = batcher(1, 2), Device(), Counter()
    add(rollouts, "a", *wanted)
    while plan := rollouts.next_plan():
        device.lay_out(plan)
        steps.update(device.ids(plan))
        statuses = [FINISHED if steps[i] == wanted[i] else RUNNING for i in device.ids(plan)]
        rollouts.advance(plan, statuses, 0.01)
    assert steps == wanted
    assert len(rollouts) == rollouts.taken_bytes == 0


def test_a_diverged_request_ends_and_its_mates_go_on():
    rollouts, device = batcher(), Device()
    add(rollouts, "a", *"pqr")
    _, ends = step(rollouts, device, "q", status=DIVERGED)
    assert ended(ends) == [("q", DIVERGED)]
    plan, ends = step(rollouts, device)
    assert (plan.leaves, device.ids(plan), ends) == ((1,), ["p", "r"], ())


def test_a_cancelled_request_has_left_by_the_next_plan_of_its_lane():
    rollouts, device = batcher(2), Device()
    add(rollouts, "a", *"pqrs")
    step(rollouts, device)
    assert rollouts.cancel("p")
    assert rollouts.cancel("r"), "waiting"
    assert not rollouts.cancel("p"), "ends once"
    plan, _ = step(rollouts, device)
    assert device.ids(plan) == ["s", "q"]


def test_a_cancel_during_a_step_is_its_only_end():
    rollouts, device = batcher(), Device()
    add(rollouts, "a", "p", "q")
    plan = rollouts.next_plan()
    device.lay_out(plan)
    assert rollouts.cancel("p")
    assert ended(rollouts.advance(plan, [FINISHED, FINISHED], 0.01)) == [("q", FINISHED)]


def test_an_id_can_come_back_before_its_old_slot_is_given_up():
    rollouts, device = batcher(1), Device()
    add(rollouts, "a", "p")
    plan = rollouts.next_plan()
    device.lay_out(plan)
    rollouts.cancel("p")
    add(rollouts, "a", "p")
    assert rollouts.advance(plan, [FINISHED], 0.01) == ()
    plan, _ = step(rollouts, device)
    assert (plan.leaves, plan.joins) == ((0,), (("p", 0),))


def test_a_lane_can_come_back_while_it_is_freed():
    rollouts, device = batcher(), Device()
    add(rollouts, "a", "p")
    step(rollouts, device, "p")
    freeing = rollouts.next_plan()
    device.lay_out(freeing)
    add(rollouts, "a", "q")
    assert rollouts.advance(freeing, [], 0.0) == ()
    plan, _ = step(rollouts, device)
    assert device.ids(plan) == ["q"]


def test_deadlines_end_those_who_wait_and_those_who_run_and_not_before():
    rollouts, device = batcher(1), Device()
    add(rollouts, "a", "p", "q", deadline=1.0)
    add(rollouts, "a", "r")
    step(rollouts, device)
    assert rollouts.expire(0.999) == []
    assert [request.id for request in rollouts.expire(1.0)] == ["p", "q"]
    assert rollouts.expire(1.0) == []
    plan, _ = step(rollouts, device)
    assert (plan.leaves, plan.joins) == ((0,), (("r", 0),))


def test_a_request_that_is_held_again_expires_once():
    rollouts, request = batcher(), SteppingRequest("p", "a", 1, deadline=1.0)
    rollouts.add(request)
    rollouts.cancel("p")
    rollouts.add(request)
    assert rollouts.expire(2.0) == [request]
    assert rollouts.expire(2.0) == []


def test_a_lane_with_no_free_byte_waits_for_one():
    rollouts, device = batcher(budget=10), Device()
    add(rollouts, "a", "p", state_bytes=6)
    add(rollouts, "a", "q", state_bytes=5)
    step(rollouts, device)
    assert (rollouts.num_running, rollouts.taken_bytes) == (1, 6)
    plan, _ = step(rollouts, device, "p")
    assert plan.joins == ()
    plan, _ = step(rollouts, device)
    assert plan.joins == (("q", 0),)
    assert rollouts.taken_bytes == 5


def test_a_large_state_is_not_overtaken_by_small_ones_of_other_lanes():
    rollouts, device = batcher(budget=10), Device()
    add(rollouts, "small", "p", "q", state_bytes=3)
    step(rollouts, device)
    add(rollouts, "large", "r", state_bytes=8)
    add(rollouts, "small", "s", state_bytes=3)
    plan, _ = step(rollouts, device, "pq")
    assert plan.joins == (), "there would be room for s, but r came first"
    joined = []
    while "s" not in joined:
        plan, _ = step(rollouts, device, "r")
        joined += [request_id for request_id, _ in plan.joins]
    assert joined == ["r", "s"]


def test_earlier_requests_that_no_slot_is_free_for_hold_no_bytes_back():
    rollouts, device = batcher(1, budget=10), Device()
    add(rollouts, "a", "p", "q", state_bytes=5)
    step(rollouts, device)
    add(rollouts, "b", "r", state_bytes=5)
    plan, _ = step(rollouts, device)
    assert plan.joins == (("r", 0),)


def test_what_can_never_start_is_refused():
    rollouts = batcher(budget=10)
    with pytest.raises(ValueError, match="11 bytes"):
        add(rollouts, "a", "p", state_bytes=11)
    add(rollouts, "a", "p")
    with pytest.raises(ValueError, match="held already"):
        add(rollouts, "b", "p")
    assert len(rollouts) == 1


@pytest.mark.parametrize("sizes", [(), (0, 1), (4, 2), (2, 2)])
def test_sizes_that_are_no_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="batch sizes"):
        add(ContinuousBatcher(lambda lane: sizes, 10), "a", "p")


def test_one_plan_is_out_at_a_time_and_reported_once():
    rollouts = batcher()
    add(rollouts, "a", "p")
    plan = rollouts.next_plan()
    with pytest.raises(RuntimeError):
        rollouts.next_plan()
    with pytest.raises(ValueError, match="2 statuses for 1 slots"):
        rollouts.advance(plan, [RUNNING, RUNNING], 0.01)
    rollouts.advance(plan, [RUNNING], 0.01)
    with pytest.raises(RuntimeError):
        rollouts.fail(plan, 0.01)


# --- Steps that raise -----------------------------------------------------------------------------


def test_a_request_that_breaks_the_step_ends_alone():
    rollouts, device, steps, ends = batcher(), Device(), Counter(), []
    add(rollouts, "a", *"pqr")
    for _ in range(6):
        plan = rollouts.next_plan()
        device.lay_out(plan)
        if "q" in device.ids(plan):
            ends += ended(rollouts.fail(plan, 0.01))
        else:
            steps.update(device.ids(plan))
            rollouts.advance(plan, [RUNNING] * len(plan.slots), 0.01)
    assert ends == [("q", FAILED)]
    assert steps == {"p": 3, "r": 3}, "nobody is a step behind"


def test_suspects_are_tried_once_each_and_newcomers_wait_in_their_slots():
    rollouts, device = batcher(), Device()
    add(rollouts, "a", *"pq")
    fail(rollouts, device)
    add(rollouts, "a", "r")
    stepped = [device.ids(step(rollouts, device)[0]) for _ in range(3)]
    assert stepped == [["p"], ["q"], ["p", "q", "r"]]


def test_a_suspect_that_is_cancelled_is_not_tried():
    rollouts, device = batcher(), Device()
    add(rollouts, "a", *"pqr")
    plan, ends = fail(rollouts, device)
    assert (len(plan.slots), ends) == (3, ())
    rollouts.cancel("p")
    stepped = [device.ids(step(rollouts, device)[0]) for _ in range(3)]
    assert sorted(stepped[:2]) == [["q"], ["r"]]
    assert sorted(stepped[2]) == ["q", "r"]


def test_a_program_that_fails_in_company_only_still_makes_way():
    rollouts, device, steps = batcher(), Device(), Counter()
    add(rollouts, "a", *"pqr")
    for _ in range(12):
        plan = rollouts.next_plan()
        device.lay_out(plan)
        if len(plan.slots) > 1:
            assert rollouts.fail(plan, 0.01) == ()
        else:
            steps.update(device.ids(plan))
            rollouts.advance(plan, [RUNNING], 0.01)
    assert steps == {"p": 3, "q": 3, "r": 3}


# --- Whose turn it is -----------------------------------------------------------------------------


def lanes(rollouts, device, durations, count):
    stepped = []
    for _ in range(count):
        plan = rollouts.next_plan()
        device.lay_out(plan)
        rollouts.advance(plan, [RUNNING] * len(plan.slots), durations[plan.lane])
        stepped.append(plan.lane)
    return stepped


def test_lanes_share_device_time_and_not_steps():
    rollouts, device = batcher(), Device()
    add(rollouts, "slow", "p")
    add(rollouts, "fast", "q")
    counts = Counter(lanes(rollouts, device, {"slow": 0.08, "fast": 0.01}, 900))
    assert counts["fast"] == pytest.approx(8 * counts["slow"], rel=0.01)


def test_lanes_whose_steps_take_no_measurable_time_take_turns():
    rollouts, device = batcher(), Device()
    for lane in "abc":
        add(rollouts, lane, lane)
    assert "".join(lanes(rollouts, device, dict.fromkeys("abc", 0.0), 9)) == "abcabcabc"


@pytest.mark.parametrize("duration_s", [0.0, 1e-4, 0.01, 0.5, 60.0])
def test_a_new_lane_steps_after_one_step_of_each_other_lane(duration_s):
    rollouts, device = batcher(), Device()
    for lane in "abc":
        add(rollouts, lane, lane)
    durations = dict.fromkeys("abc", duration_s) | {"short": 1e-3}
    lanes(rollouts, device, durations, 200)
    add(rollouts, "short", "q")
    before = lanes(rollouts, device, durations, 4)
    before = before[: before.index("short")]
    assert len(set(before)) == len(before), "at most once each"


def test_an_idle_lane_has_saved_nothing_up():
    rollouts, device = batcher(), Device()
    add(rollouts, "idle", "p")
    add(rollouts, "busy", "q")
    rollouts.cancel("p")
    lanes(rollouts, device, {"busy": 0.01}, 100)
    add(rollouts, "idle", "p")
    counts = Counter(lanes(rollouts, device, {"busy": 0.01, "idle": 0.01}, 20))
    assert counts == {"busy": 10, "idle": 10}


def test_short_steps_save_nothing_up_for_long_ones():
    rollouts, device = batcher(), Device()
    add(rollouts, "grows", "p")
    add(rollouts, "other", "q")
    lanes(rollouts, device, {"grows": QUANTUM_S / 10, "other": QUANTUM_S}, 400)
    counts = Counter(lanes(rollouts, device, {"grows": 50 * QUANTUM_S, "other": QUANTUM_S}, 100))
    assert counts["grows"] <= 3, "each is worth 50 of the other's"


def test_a_lane_does_not_lose_its_debt_by_leaving():
    rollouts, device, spent = batcher(), Device(), Counter()
    add(rollouts, "steady", "p")
    for number in range(400):
        if not number or "q" not in device.slots["hasty"]:
            rollouts.cancel("q")
            add(rollouts, "hasty", "q")
        plan = rollouts.next_plan()
        device.lay_out(plan)
        duration = {"steady": 0.01, "hasty": 0.1}[plan.lane] if plan.slots else 0.0
        spent[plan.lane] += duration
        ends = [FINISHED if plan.lane == "hasty" else RUNNING] * len(plan.slots)
        rollouts.advance(plan, ends, duration)
    assert spent["hasty"] <= spent["steady"] + 0.2


def test_a_stream_of_new_lanes_does_not_starve_an_old_one():
    rollouts, device, old_steps = batcher(), Device(), 0
    add(rollouts, "old", "p")
    for number in range(300):
        add(rollouts, number, f"new{number}")
        plan, _ = step(rollouts, device, {f"new{number}"}, duration_s=5 * QUANTUM_S)
        while not plan.slots:
            plan, _ = step(rollouts, device, {f"new{number}"}, duration_s=5 * QUANTUM_S)
        old_steps += plan.lane == "old"
        rollouts.cancel(f"new{number}")
    assert old_steps >= 300 / 7, "in debt for 5 rounds of at most one other step, then its own"


def test_a_step_that_hung_does_not_silence_its_lane():
    rollouts, device = batcher(max_charge_s=0.1), Device()
    add(rollouts, "hung", "p")
    add(rollouts, "other", "q")
    lanes(rollouts, device, {"hung": 60.0, "other": 0.01}, 1)
    assert "hung" in lanes(rollouts, device, {"hung": 0.01, "other": 0.01}, 13)


@given(st.lists(st.floats(2 * QUANTUM_S, 0.4), min_size=2, max_size=5))
@settings(max_examples=30, deadline=None)
def test_no_lane_waits_longer_than_the_others_take_to_use_as_much(durations):
    rollouts, device, waited = batcher(), Device(), [0.0] * len(durations)
    for lane in range(len(durations)):
        add(rollouts, lane, str(lane))
    for lane in lanes(rollouts, device, durations, 150):
        # Each other lane earns what this one owes, a quantum for the round, and ends in debt.
        bound = sum(durations[lane] + 2 * QUANTUM_S + other for other in durations)
        assert waited[lane] <= bound
        waited = [passed + durations[lane] for passed in waited]
        waited[lane] = 0.0


def test_far_deadlines_and_lanes_of_old_take_no_memory():
    rollouts = batcher()
    tracemalloc.start()
    for number in range(5_000):
        add(rollouts, number, "p", deadline=1e12)
        rollouts.cancel("p")
        assert rollouts.next_plan() is None
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 5_000 * 8, "fewer bytes than one pointer for each request"


SIZES = {"a": (1,), "b": (1, 2), "c": (2, 3)}
BUDGET = 7
NAMES = st.sampled_from("pqrstuvw")
# No step is charged more than a quantum, so that no lane is ever in debt.
DURATIONS = st.sampled_from([0.0, QUANTUM_S / 2, QUANTUM_S])


class AgainstANaiveModel(RuleBasedStateMachine):
    """Lists searched from the front, and the table of a device, are right by inspection."""

    def __init__(self) -> None:
        super().__init__()
        self.batcher = ContinuousBatcher(SIZES.__getitem__, BUDGET, QUANTUM_S)
        self.now = 0.0
        self.waiting: list[SteppingRequest] = []
        self.slots: dict[str, list[SteppingRequest]] = {lane: [] for lane in SIZES}
        self.over: set[int] = set()
        self.suspects: set[int] = set()
        self.out: Plan | None = None
        self.added: list[SteppingRequest] = []
        self.ended: list[SteppingRequest] = []
        self.since: dict[str, Counter[str]] = {}

    @rule(
        name=NAMES,
        lane=st.sampled_from("abc"),
        state_bytes=st.integers(1, 5),
        patience=st.none() | st.integers(0, 5),
    )
    def add(self, name, lane, state_bytes, patience):
        if name in {request.id for request in self._held()}:
            return
        deadline = None if patience is None else self.now + patience
        request = SteppingRequest(name, lane, state_bytes, deadline)
        self.batcher.add(request)
        self.waiting.append(request)
        self.added.append(request)

    @rule(step=st.sampled_from([0.5, 1.0, 2.5]))
    def wait_and_expire(self, step):
        self.now += step
        expected = [r for r in self._held() if r.deadline is not None and r.deadline <= self.now]
        expired = self.batcher.expire(self.now)
        assert sorted(map(id, expired)) == sorted(map(id, expected))
        self._end(expired)

    @rule(name=NAMES)
    def cancel(self, name):
        expected = [request for request in self._held() if request.id == name]
        assert self.batcher.cancel(name) == bool(expected)
        self._end(expected)

    @precondition(lambda self: self.out is None)
    @rule()
    def plan(self):
        ready = {lane for lane in SIZES if self.slots[lane] or self._joining(lane)}
        self.out = plan = self.batcher.next_plan()
        if plan is None:
            assert not ready
            assert not self._held()
            return
        assert plan.lane in ready
        joining = self._joining(plan.lane)
        self._lay_out(plan, joining)
        self._check_step(plan)
        self._check_turn(plan, ready)

    @precondition(lambda self: self.out is not None)
    @rule(data=st.data(), duration_s=DURATIONS)
    def advance(self, data, duration_s):
        plan, self.out = self.out, None
        outcome = st.sampled_from([RUNNING, RUNNING, FINISHED, DIVERGED, FAILED])
        statuses = [data.draw(outcome) for _ in plan.slots]
        stepped = [self.slots[plan.lane][slot] for slot in plan.slots]
        expected = [
            (request, status)
            for request, status in zip(stepped, statuses, strict=True)
            if status is not RUNNING and id(request) not in self.over
        ]
        assert list(self.batcher.advance(plan, statuses, duration_s)) == expected
        self.suspects -= set(map(id, stepped))
        self._end([request for request, _ in expected])

    @precondition(lambda self: self.out is not None and self.out.slots)
    @rule(duration_s=DURATIONS)
    def fail(self, duration_s):
        plan, self.out = self.out, None
        stepped = [self.slots[plan.lane][slot] for slot in plan.slots]
        expected = []
        if len(stepped) == 1:
            expected = [(each, FAILED) for each in stepped if id(each) not in self.over]
            self.suspects -= set(map(id, stepped))
        else:
            self.suspects |= set(map(id, stepped))
        assert list(self.batcher.fail(plan, duration_s)) == expected
        self._end([request for request, _ in expected])

    @invariant()
    def no_request_is_lost_or_ended_twice(self):
        held = self._held()
        assert len(self.batcher) == len(held)
        assert self.batcher.num_waiting == len(self.waiting)
        assert Counter(map(id, self.added)) == Counter(map(id, self.ended + held))

    @invariant()
    def neither_slots_nor_bytes_exceed_what_is_allowed(self):
        assert all(len(self.slots[lane]) <= SIZES[lane][-1] for lane in SIZES)
        taken = sum(request.state_bytes for request in self._placed())
        assert taken == self.batcher.taken_bytes
        assert taken <= BUDGET

    def teardown(self):
        """All that is held ends, in no more plans than there are requests and slots to free."""
        bound = 2 * len(self._held()) + len(SIZES) + 1
        if self.out is not None:
            self._finish(self.out)
        plans = 0
        while plan := self.batcher.next_plan():
            self._lay_out(plan, self._joining(plan.lane))
            self._finish(plan)
            plans += 1
        assert plans <= bound
        assert not self._held()
        self.no_request_is_lost_or_ended_twice()
        self.neither_slots_nor_bytes_exceed_what_is_allowed()

    def _finish(self, plan: Plan) -> None:
        ends = self.batcher.advance(plan, [FINISHED] * len(plan.slots), 0.0)
        self._end([request for request, _ in ends])

    def _lay_out(self, plan: Plan, joining: list[SteppingRequest]) -> None:
        before = self.slots[plan.lane]
        assert plan.leaves == tuple(i for i, each in enumerate(before) if id(each) in self.over)
        assert [join.request_id for join in plan.joins] == [each.id for each in joining]
        table = {i: each for i, each in enumerate(before) if id(each) not in self.over}
        for source, target in plan.moves:
            assert target not in table
            table[target] = table.pop(source)
        for (_, slot), request in zip(plan.joins, joining, strict=True):
            assert slot not in table
            table[slot] = request
            self.waiting.remove(request)
        assert sorted(table) == list(range(plan.num_slots)), "dense"
        self.slots[plan.lane] = [table[slot] for slot in range(plan.num_slots)]

    def _check_step(self, plan: Plan) -> None:
        taken = self.slots[plan.lane]
        suspects = [i for i, request in enumerate(taken) if id(request) in self.suspects]
        if suspects:
            assert len(plan.slots) == 1
            assert plan.slots[0] in suspects
        else:
            assert plan.slots == tuple(range(len(taken)))
        allowed = [size for size in SIZES[plan.lane] if size >= len(plan.slots)]
        assert plan.batch_size == (allowed[0] if plan.slots else 0)

    def _check_turn(self, plan: Plan, ready: set[str]) -> None:
        self.since = {lane: self.since.get(lane, Counter()) for lane in ready - {plan.lane}}
        for others in self.since.values():
            others[plan.lane] += bool(plan.slots)
            assert others[plan.lane] <= 1, "no other lane steps twice while one waits for its turn"

    def _joining(self, lane: str) -> list[SteppingRequest]:
        """Bytes are granted in order of arrival to those that a slot is free for."""
        free = {each: SIZES[each][-1] - len(self._live(each)) for each in SIZES}
        left = BUDGET - sum(
            request.state_bytes
            for request in self._placed()
            if not (request.lane == lane and id(request) in self.over)
        )
        joining = []
        for request in self.waiting:
            if not free[request.lane]:
                continue
            if request.state_bytes > left:
                break
            left -= request.state_bytes
            free[request.lane] -= 1
            if request.lane == lane:
                joining.append(request)
        return joining

    def _live(self, lane: str) -> list[SteppingRequest]:
        return [request for request in self.slots[lane] if id(request) not in self.over]

    def _placed(self) -> list[SteppingRequest]:
        return [request for slots in self.slots.values() for request in slots]

    def _held(self) -> list[SteppingRequest]:
        return self.waiting + [request for lane in SIZES for request in self._live(lane)]

    def _end(self, requests) -> None:
        for request in requests:
            waits = any(each is request for each in self.waiting)
            if waits:
                self.waiting = [each for each in self.waiting if each is not request]
            else:
                self.over.add(id(request))
            self.ended.append(request)
        # A lane without requests is no lane; one of its name that comes later waits anew.
        waited_for = {each.lane for each in self.waiting}
        lanes = [lane for lane in self.since if self.slots[lane] or lane in waited_for]
        self.since = {lane: self.since[lane] for lane in lanes}


TestAgainstANaiveModel = AgainstANaiveModel.TestCase
TestAgainstANaiveModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
