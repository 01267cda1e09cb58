"""Requests in order of their deadlines."""

import heapq
from collections.abc import Mapping
from itertools import count

from .plan import SteppingRequest

#: Deadlines of requests that have ended, kept beyond those of held ones before a clean-up.
_MAX_STALE = 64


class Deadlines:
    """A heap that may still hold requests that have ended, few enough to take no memory.

    Arguments:
        held: the requests that have not ended, by id; read, never changed.
    """

    def __init__(self, held: Mapping[str, SteppingRequest]) -> None:
        self._held = held
        self._heap: list[tuple[float, int, SteppingRequest]] = []
        self._serials = count()

    def remember(self, request: SteppingRequest) -> None:
        """Take note of a held request."""
        if request.deadline is None:
            return
        if len(self._heap) > 2 * len(self._held) + _MAX_STALE:
            self._heap = [entry for entry in self._heap if self._is_held(entry[2])]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (request.deadline, next(self._serials), request))

    def passed(self, now: float) -> list[SteppingRequest]:
        """The held requests whose deadline is not after `now`, each of them once."""
        passed: dict[str, SteppingRequest] = {}  # one that was held twice is in the heap twice
        while self._heap and self._heap[0][0] <= now:
            _, _, request = heapq.heappop(self._heap)
            if self._is_held(request):
                passed[request.id] = request
        return list(passed.values())

    def _is_held(self, request: SteppingRequest) -> bool:
        return self._held.get(request.id) is request
