"""Batches for models that answer in many steps: who is in them changes between steps."""

import heapq
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import count, islice

from .deadlines import Deadlines
from .fair_share import FairShare
from .plan import Ended, Plan, SlotStatus, SteppingRequest
from .slots import Slot, Slots


class ContinuousBatcher:
    """Steps the lane with the least device time; its free slots go to those who wait for it.

    The caller asks for a plan, carries it out and reports it, by `advance` or, if the step raised,
    by `fail`; one plan is out at a time. Requests come, and are cancelled or expire, at any
    moment. Each ends once: in what `advance` or `fail` returns, by a `cancel` that was true, or in
    what `expire` returns. Its slot is given up with the next plan of its lane, its bytes with it.

    Within a lane requests start in order of arrival. Bytes are granted in order of arrival over
    all lanes: a large state waits for room, and no later one takes it meanwhile.

    After a failed step each of its slots is stepped alone once. Those who fail again end; the rest
    go on together, one step further. That needs an engine whose failed step leaves every state as
    it was, and a failed plan whose layout holds.

    Arguments:
        batch_sizes: the allowed ones of a lane, ascending; the largest is its number of slots.
            Asked when the lane gets its first request.
        budget_bytes: what the states of all slots together may take on the device.
        quantum_s: device time in seconds; lanes whose steps are shorter take turns (see FairShare).
        max_charge_s: the most device time that one step counts for, in seconds.
    """

    def __init__(
        self,
        batch_sizes: Callable[[Hashable], Sequence[int]],
        budget_bytes: int,
        quantum_s: float = 1e-3,
        max_charge_s: float = 0.1,
    ) -> None:
        self._batch_sizes = batch_sizes
        self._budget_bytes = budget_bytes
        self._taken_bytes = 0
        self._lanes: dict[Hashable, Slots] = {}
        self._shares = FairShare(quantum_s, max_charge_s)
        self._held: dict[str, SteppingRequest] = {}
        self._running: dict[str, Slot] = {}
        self._deadlines = Deadlines(self._held)
        self._arrivals = count()
        self._out: Plan | None = None

    def add(self, request: SteppingRequest) -> None:
        """Take a request in.

        Raises:
            ValueError: its id is held already, or its state alone exceeds the budget.
        """
        if request.id in self._held:
            raise ValueError(f"request {request.id} is held already")
        if request.state_bytes > self._budget_bytes:
            raise ValueError(
                f"request {request.id} needs {request.state_bytes} bytes of state on the device;"
                f" {self._budget_bytes} are allowed"
            )
        if request.lane not in self._lanes:
            self._lanes[request.lane] = Slots(self._batch_sizes(request.lane))
            self._shares.enter(request.lane)
        self._lanes[request.lane].waiting[request.id] = (next(self._arrivals), request)
        self._held[request.id] = request
        self._deadlines.remember(request)

    def cancel(self, request_id: str) -> bool:
        """End a request that waits or runs; False if it is not held."""
        held = request_id in self._held
        if held:
            self._end(request_id, SlotStatus.CANCELLED)
        return held

    def expire(self, now: float) -> list[SteppingRequest]:
        """End and return the requests, waiting or running, whose deadline is not after `now`."""
        expired = self._deadlines.passed(now)
        for request in expired:
            self._end(request.id, SlotStatus.EXPIRED)
        return expired

    def next_plan(self) -> Plan | None:
        """What to do next; None only if no request is held and no slot is taken.

        Raises:
            RuntimeError: the last plan was not reported yet.
        """
        if self._out is not None:
            raise RuntimeError("a plan is out: report it by advance or fail first")
        lane = self._next_lane()
        self._out = None if lane is None else self._plan(lane)
        return self._out

    def advance(
        self, plan: Plan, statuses: Sequence[SlotStatus], duration_s: float
    ) -> tuple[Ended, ...]:
        """The plan was carried out.

        Arguments:
            plan: the one that is out.
            statuses: of `plan.slots`, in their order, after the step.
            duration_s: the device time of the step, in seconds.

        Returns:
            The requests that ended by it, without those that were cancelled or expired meanwhile.
        """
        return self._report(plan, statuses, duration_s)

    def fail(self, plan: Plan, duration_s: float) -> tuple[Ended, ...]:
        """The step of the plan raised.

        Returns:
            The request that ended by it, if it was tried alone; else none: all are tried alone.
        """
        alone = len(plan.slots) == 1
        status = SlotStatus.FAILED if alone else SlotStatus.RUNNING
        return self._report(plan, [status] * len(plan.slots), duration_s, failed=not alone)

    @property
    def out(self) -> bool:
        """Whether a plan is out."""
        return self._out is not None

    @property
    def num_running(self) -> int:
        """Requests that have a slot."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Requests that have none yet."""
        return len(self._held) - len(self._running)

    @property
    def taken_bytes(self) -> int:
        """The states on the device, those of ended requests included until a plan drops them."""
        return self._taken_bytes

    def __len__(self) -> int:
        return len(self._held)

    def _next_lane(self) -> Hashable | None:
        for lane, slots in self._lanes.items():
            if slots.only_ended:  # gives bytes back without a step; others may wait for them
                return lane
        ready = (
            lane for lane, slots in self._lanes.items() if slots.taken or self._admissible(lane)
        )
        return self._shares.next(ready)

    def _admissible(self, lane: Hashable) -> list[SteppingRequest]:
        """Who may join a lane: those that fit beside all earlier ones who also have a free slot."""
        wanted = min(self._lanes[lane].num_free, len(self._lanes[lane].waiting))
        free_bytes = self._budget_bytes - self._taken_bytes + self._lanes[lane].ended_bytes
        joining: list[SteppingRequest] = []
        for request in self._startable() if wanted else ():
            free_bytes -= request.state_bytes
            if free_bytes < 0:
                break
            if request.lane == lane:
                joining.append(request)
            if len(joining) == wanted:
                break
        return joining

    def _startable(self) -> Iterator[SteppingRequest]:
        """Waiting requests that a slot is free for, in order of arrival."""
        heads = (islice(slots.waiting.values(), slots.num_free) for slots in self._lanes.values())
        return (request for _, request in heapq.merge(*heads, key=lambda entry: entry[0]))

    def _plan(self, lane: Hashable) -> Plan:
        slots, joining = self._lanes[lane], self._admissible(lane)
        self._taken_bytes += sum(request.state_bytes for request in joining) - slots.ended_bytes
        layout = slots.lay_out(joining)
        for request_id, index in layout.joins:
            del slots.waiting[request_id]
            self._running[request_id] = slots.taken[index]
        stepped = slots.next_step()
        self._forget_if_empty(lane)
        return Plan(lane, *layout, len(slots.taken), stepped, slots.batch_size(len(stepped)))

    def _report(
        self, plan: Plan, statuses: Sequence[SlotStatus], duration_s: float, failed: bool = False
    ) -> tuple[Ended, ...]:
        if plan is not self._out:
            raise RuntimeError("this plan is not out")
        if len(statuses) != len(plan.slots):
            raise ValueError(f"{len(statuses)} statuses for {len(plan.slots)} slots")
        self._out = None
        if not plan.slots:
            return ()
        self._shares.charge(plan.lane, duration_s)
        slots = self._lanes[plan.lane]
        stepped = [slots.taken[index] for index in plan.slots]
        note = slots.suspect if failed else slots.clear
        note(stepped)
        return tuple(
            Ended(self._end(slot.request.id, status), status)
            for slot, status in zip(stepped, statuses, strict=True)
            if status is not SlotStatus.RUNNING and slot.running
        )

    def _end(self, request_id: str, status: SlotStatus) -> SteppingRequest:
        request = self._held.pop(request_id)
        if request_id in self._running:
            self._lanes[request.lane].end(self._running.pop(request_id), status)
        else:
            del self._lanes[request.lane].waiting[request_id]
            self._forget_if_empty(request.lane)
        return request

    def _forget_if_empty(self, lane: Hashable) -> None:
        if self._lanes[lane].empty:
            del self._lanes[lane]
            self._shares.leave(lane)
