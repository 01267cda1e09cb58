"""Batches for models that answer in one forward pass."""

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from .base import AbstractBatcher, Batch, Request

#: Deadlines of requests that have left, kept beyond those of waiting ones before a clean-up.
_MAX_STALE = 64


class DynamicBatcher(AbstractBatcher):
    """Serves the lane whose head has waited longest, as many as fit.

    Arguments:
        max_batch_size: of a lane; asked when the lane is served.
        max_queue_delay: seconds after which a busy device is given a batch that is not full.
    """

    def __init__(
        self, max_batch_size: Callable[[Hashable], int], max_queue_delay: float = 0.0
    ) -> None:
        self._max_batch_size = max_batch_size
        self._max_queue_delay = max_queue_delay
        self._state = _Waiting()

    def add(self, request: Request) -> None:
        lane = self._state.lanes.setdefault(request.lane, {})
        lane[request.id] = request
        self._state.lane_of[request.id] = request.lane
        if request.deadline is not None:
            self._state.remember_deadline(request.deadline, request.id)

    def cancel(self, request_id: str) -> bool:
        waiting = request_id in self._state.lane_of
        if waiting:
            self._remove(request_id)
        return waiting

    def expire(self, now: float) -> list[Request]:
        expired = []
        deadlines = self._state.deadlines
        while deadlines and deadlines[0][0] <= now:
            deadline, request_id = heapq.heappop(deadlines)
            if self._state.deadline_of(request_id) == deadline:
                expired.append(self._remove(request_id))
        return expired

    def next_batch(self, now: float, *, device_idle: bool) -> Batch | None:
        ripe = (lane for lane in self._state.lanes if device_idle or self._ripe(lane, now))
        lane = min(ripe, key=self._head_arrival, default=None)
        return None if lane is None else self._pop(lane)

    def wake_at(self) -> float | None:
        heads = (self._head_arrival(lane) for lane in self._state.lanes)
        oldest = min(heads, default=None)
        return None if oldest is None else oldest + self._max_queue_delay

    def __len__(self) -> int:
        return len(self._state.lane_of)

    def _ripe(self, lane: Hashable, now: float) -> bool:
        full = len(self._state.lanes[lane]) >= self._max_batch_size(lane)
        return full or now >= self._head_arrival(lane) + self._max_queue_delay

    def _head_arrival(self, lane: Hashable) -> float:
        return next(iter(self._state.lanes[lane].values())).arrived_at

    def _pop(self, lane: Hashable) -> Batch:
        ids = list(self._state.lanes[lane])[: self._max_batch_size(lane)]
        requests = tuple(self._state.lanes[lane][request_id] for request_id in ids)
        for request_id in ids:
            self._remove(request_id)
        return Batch(lane, requests)

    def _remove(self, request_id: str) -> Request:
        lane = self._state.lane_of.pop(request_id)
        requests = self._state.lanes[lane]
        request = requests.pop(request_id)
        if not requests:
            del self._state.lanes[lane]
        return request


@dataclass
class _Waiting:
    """Waiting requests: by lane in order of arrival, by id, and a heap of deadlines.

    The heap may still hold requests that have left, at most as many as wait and a few more.
    """

    lanes: dict[Hashable, dict[str, Request]] = field(default_factory=dict)
    lane_of: dict[str, Hashable] = field(default_factory=dict)
    deadlines: list[tuple[float, str]] = field(default_factory=list)

    def deadline_of(self, request_id: str) -> float | None:
        lane = self.lane_of.get(request_id)
        return None if lane is None else self.lanes[lane][request_id].deadline

    def remember_deadline(self, deadline: float, request_id: str) -> None:
        if len(self.deadlines) > 2 * len(self.lane_of) + _MAX_STALE:
            kept = [entry for entry in self.deadlines if self.deadline_of(entry[1]) == entry[0]]
            heapq.heapify(kept)
            self.deadlines[:] = kept
        heapq.heappush(self.deadlines, (deadline, request_id))
