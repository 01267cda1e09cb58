"""Who goes next: tenants share the device equally, and within a tenant the oldest job goes first.

Start-time fair queueing (Goyal, Guo, Vin: Start-time Fair Queuing, SIGCOMM 1996). Every tenant has
a virtual time, which grows by the cost of each of its jobs that is taken; the tenant that is least
far goes next. One that was idle starts where the others are, so that idling earns no credit.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from certisolve_server.jobs import Lane, Priority

from .lanes import LaneRecord

# Strangers choose the names of tenants; how far idle ones came is forgotten beyond this.
_MAX_IDLE_TENANTS = 1024


class Standing(StrEnum):
    """How a job stands in line.

    Attributes:
        NEW: as its priority says.
        AGAIN: it was handed back, and goes before those that are new.
        SUSPECT: a worker died of it, perhaps; it is taken alone.
    """

    NEW = "new"
    AGAIN = "again"
    SUSPECT = "suspect"


@dataclass(slots=True, eq=False)
class Ticket:
    """A job in line.

    Attributes:
        id: of the job.
        tenant: on whose account.
        lane: who may share a batch with it.
        priority: decides among the tenant's jobs.
        arrived_at: seconds.
        deadline: seconds on the same clock; None for no deadline.
        standing: how it stands in line.
        number: the queue's, in order of arrival.
    """

    id: str
    tenant: str
    lane: LaneRecord
    priority: Priority
    arrived_at: float
    deadline: float | None = None
    standing: Standing = Standing.NEW
    number: int = 0

    @property
    def score(self) -> float:
        """When it arrived, less the head start of its priority; the lowest goes first."""
        return self.arrived_at - _HEAD_START_S[self.priority]

    def expired(self, now: float) -> bool:
        """Whether nobody wants the answer any more."""
        return self.deadline is not None and self.deadline <= now


class Taken(NamedTuple):
    """Tickets that left the line.

    Attributes:
        batch: of one lane, next in line first.
        expired: met on the way, their deadlines passed.
    """

    batch: list[Ticket]
    expired: list[Ticket]


class FairQueue:
    """Tickets in line. Pure: time is an argument."""

    def __init__(self) -> None:
        self._active: dict[str, _Tenant] = {}
        self._idle: dict[str, float] = {}
        self._virtual_time = 0.0
        self._num_added = 0

    def add(self, ticket: Ticket) -> None:
        """Take a new ticket in, behind those of its tenant, lane and priority."""
        self._num_added += 1
        ticket.number = self._num_added
        self._tenant(ticket.tenant).add(ticket)

    def hand_back(self, tickets: Sequence[Ticket]) -> None:
        """Take tickets in again, where they were before, ahead of those never taken."""
        for ticket in tickets:
            self._tenant(ticket.tenant).insert(ticket)

    def remove(self, ticket: Ticket) -> None:
        """Forget a ticket; it may have left before."""
        tenant = self._active.get(ticket.tenant)
        if tenant is not None:
            tenant.remove(ticket)
            self._retire_if_empty(tenant)

    def take(self, limit: Callable[[Lane], int], now: float) -> Taken:
        """The next tickets of one lane.

        Args:
            limit: most tickets of a lane; 0 leaves the lane alone.
            now: seconds.
        """
        taken = Taken([], [])
        while not taken.batch:
            head = self._head(limit)
            if head is None:
                break
            if head.standing is Standing.SUSPECT:
                self._take_alone(head, now, taken)
            else:
                self._fill(head.lane, limit(head.lane.lane), now, taken)
        return taken

    def position(self, ticket: Ticket) -> int | None:
        """How many of its tenant, lane and priority go first; None if it is not in line."""
        tenant = self._active.get(ticket.tenant)
        return None if tenant is None else tenant.position(ticket)

    @property
    def num_tenants(self) -> int:
        """Those with tickets in line."""
        return len(self._active)

    def _tenant(self, name: str) -> "_Tenant":
        tenant = self._active.get(name)
        if tenant is None:
            virtual_time = max(self._idle.pop(name, 0.0), self._virtual_time)
            tenant = self._active[name] = _Tenant(name, virtual_time)
        return tenant

    def _retire_if_empty(self, tenant: "_Tenant") -> None:
        if tenant.flows or tenant.suspects or tenant.name not in self._active:
            return
        del self._active[tenant.name]
        if tenant.virtual_time <= self._virtual_time:
            return
        if len(self._idle) >= _MAX_IDLE_TENANTS:
            self._forget_idle()
        self._idle[tenant.name] = tenant.virtual_time

    def _forget_idle(self) -> None:
        ahead = {name: at for name, at in self._idle.items() if at > self._virtual_time}
        self._idle = ahead if len(ahead) < _MAX_IDLE_TENANTS // 2 else {}

    def _head(self, limit: Callable[[Lane], int]) -> Ticket | None:
        tenants = self._active.values()
        ordered = tenants if len(tenants) == 1 else sorted(tenants, key=_virtual_time)
        for tenant in ordered:
            head = tenant.head(limit)
            if head is not None:
                return head
        return None

    def _take_alone(self, ticket: Ticket, now: float, taken: Taken) -> None:
        tenant = self._active[ticket.tenant]
        tenant.remove(ticket)
        if ticket.expired(now):
            taken.expired.append(ticket)
        else:
            taken.batch.append(ticket)
            self._charge(tenant, ticket.lane)
        self._retire_if_empty(tenant)

    def _fill(self, lane: LaneRecord, size: int, now: float, taken: Taken) -> None:
        tenants = [tenant for tenant in self._active.values() if lane in tenant.flows]
        if len(tenants) == 1:  # by far the most frequent case, which needs no heap
            self._take_from(tenants[0], lane, size, now, taken)
            return
        sharers = [(tenant.virtual_time, rank, tenant) for rank, tenant in enumerate(tenants)]
        heapq.heapify(sharers)
        while sharers and len(taken.batch) < size:
            _, rank, tenant = sharers[0]
            self._take_from(tenant, lane, 1, now, taken)
            if lane in tenant.flows:
                heapq.heapreplace(sharers, (tenant.virtual_time, rank, tenant))
            else:
                heapq.heappop(sharers)

    def _take_from(
        self, tenant: "_Tenant", lane: LaneRecord, count: int, now: float, taken: Taken
    ) -> None:
        """Take up to `count` tickets; those that have expired do not count."""
        batch = taken.batch
        while count and lane in tenant.flows:
            ticket = tenant.pop(lane)
            if ticket.expired(now):
                taken.expired.append(ticket)
            else:
                batch.append(ticket)
                self._charge(tenant, lane)
                count -= 1
        self._retire_if_empty(tenant)

    def _charge(self, tenant: "_Tenant", lane: LaneRecord) -> None:
        self._virtual_time = tenant.virtual_time
        tenant.virtual_time += lane.cost_s


#: In order of arrival, by id of the job.
_Flow = OrderedDict[str, Ticket]


class _Tenant:
    """The tickets of one tenant: flows by lane, then by priority, and suspects.

    Attributes:
        flows: never empty ones. Tickets handed back have a flow of their own, under None.
    """

    __slots__ = ("flows", "name", "suspects", "virtual_time")

    def __init__(self, name: str, virtual_time: float) -> None:
        self.name = name
        self.virtual_time = virtual_time
        self.flows: dict[LaneRecord, dict[Priority | None, _Flow]] = {}
        self.suspects: _Flow = OrderedDict()

    def add(self, ticket: Ticket) -> None:
        flows = self.flows.get(ticket.lane)
        if flows is None:
            flows = self.flows[ticket.lane] = {}
        flow = flows.get(ticket.priority)
        if flow is None:
            flow = flows[ticket.priority] = OrderedDict()
        flow[ticket.id] = ticket

    def insert(self, ticket: Ticket) -> None:
        if ticket.standing is Standing.SUSPECT:
            _insert(self.suspects, ticket)
            return
        flows = self.flows.setdefault(ticket.lane, {})
        _insert(flows.setdefault(None, OrderedDict()), ticket)

    def remove(self, ticket: Ticket) -> None:
        flow = self._flow(ticket)
        if flow is None or flow.pop(ticket.id, None) is None:
            return
        if not flow and ticket.standing is not Standing.SUSPECT:
            self._drop(ticket.lane, _flow_key(ticket))

    def position(self, ticket: Ticket) -> int | None:
        flow = self._flow(ticket)
        ranked = enumerate(flow) if flow else ()
        return next((rank for rank, job_id in ranked if job_id == ticket.id), None)

    def head(self, limit: Callable[[Lane], int]) -> Ticket | None:
        best, best_rank = None, math.inf
        for ticket, rank in self._heads():
            if rank < best_rank and limit(ticket.lane.lane) > 0:
                best, best_rank = ticket, rank
        return best

    def pop(self, lane: LaneRecord) -> Ticket:
        """The next ticket of a lane that has some, suspects aside."""
        flows = self.flows[lane]
        key = min(flows.items(), key=_flow_rank)[0] if len(flows) > 1 else next(iter(flows))
        flow = flows[key]
        _, ticket = flow.popitem(last=False)
        if not flow:
            self._drop(lane, key)
        return ticket

    def _heads(self) -> Iterator[tuple[Ticket, float]]:
        for flows in self.flows.values():
            for item in flows.items():
                yield next(iter(item[1].values())), _flow_rank(item)
        # One that this worker does not serve must not hide the next.
        for ticket in self.suspects.values():
            yield ticket, ticket.score

    def _flow(self, ticket: Ticket) -> _Flow | None:
        if ticket.standing is Standing.SUSPECT:
            return self.suspects
        return self.flows.get(ticket.lane, {}).get(_flow_key(ticket))

    def _drop(self, lane: LaneRecord, key: Priority | None) -> None:
        flows = self.flows[lane]
        del flows[key]
        if not flows:
            del self.flows[lane]


_HEAD_START_S = {priority: priority.head_start_s for priority in Priority}
# What being handed back is worth, in seconds of waiting: more than any priority.
_AGAIN_HEAD_START_S = 1e9


def _flow_key(ticket: Ticket) -> Priority | None:
    return None if ticket.standing is Standing.AGAIN else ticket.priority


def _flow_rank(item: tuple[Priority | None, _Flow]) -> float:
    key, flow = item
    score = next(iter(flow.values())).score
    return score - _AGAIN_HEAD_START_S if key is None else score


def _virtual_time(tenant: _Tenant) -> float:
    return tenant.virtual_time


def _insert(flow: _Flow, ticket: Ticket) -> None:
    """Put a ticket where it was before it was taken."""
    rank = (ticket.score, ticket.number)
    behind = [job_id for job_id, other in flow.items() if (other.score, other.number) > rank]
    flow[ticket.id] = ticket
    for job_id in behind:
        flow.move_to_end(job_id)
