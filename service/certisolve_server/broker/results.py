"""Ends of jobs, for those who ask later."""

from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple

from certisolve_server.errors import UnknownJob
from certisolve_server.jobs import JobState

from .frames import FrameStream


class KeptResults:
    """States of ended jobs, forgotten after a time to live. Pure: time is an argument.

    Arguments:
        ttl_s: seconds a state can be read.
    """

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._unread: OrderedDict[str, _Kept] = OrderedDict()
        self.num_bytes = 0

    def keep(
        self, job_id: str, state: JobState, now: float, stream: FrameStream | None = None
    ) -> None:
        """Keep a state for its time to live, and frames that may not have been read."""
        self.forget(now)
        kept = _Kept(now + self._ttl_s, _num_bytes(state), _detached(state), stream)
        self._kept[job_id] = kept
        self.num_bytes += kept.num_bytes

    def keep_until_read(
        self, job_id: str, state: JobState, now: float, stream: FrameStream | None = None
    ) -> None:
        """Keep a state for one who is about to take it, and frames that may not have been read."""
        self._unread[job_id] = _Kept(now + self._ttl_s, 0, state, stream)
        if len(self._unread) > 1:
            _pop_expired(self._unread, now)

    def mark_read(self, job_id: str) -> None:
        """Forget a state that was kept to be read once; there may be none."""
        self._unread.pop(job_id, None)

    def take(self, job_id: str, now: float) -> JobState:
        """The state, forgotten if it was kept to be read once.

        Raises:
            UnknownJob: there is none.
        """
        unread = self._unread.pop(job_id, None)
        return unread.state if unread else self.read(job_id, now)

    def read(self, job_id: str, now: float) -> JobState:
        """The state, still kept afterwards.

        Raises:
            UnknownJob: there is none.
        """
        return self._find(job_id, now).state

    def stream(self, job_id: str, now: float) -> FrameStream | None:
        """Where the rest of the frames is, still kept afterwards; None for a job without.

        Raises:
            UnknownJob: there is none.
        """
        return self._find(job_id, now).stream

    def drop(self, job_id: str) -> None:
        """Forget a state now; there may be none."""
        self._unread.pop(job_id, None)
        kept = self._kept.pop(job_id, None)
        if kept is not None:
            self.num_bytes -= kept.num_bytes

    def forget(self, now: float) -> None:
        """Forget what is past its time to live."""
        _pop_expired(self._unread, now)
        self.num_bytes -= _pop_expired(self._kept, now)

    def next_room_at(self) -> float | None:
        """When the next state is forgotten; None if none is kept."""
        oldest = next(iter(self._kept.values()), None)
        return None if oldest is None else oldest.expires_at

    def _find(self, job_id: str, now: float) -> "_Kept":
        self.forget(now)
        kept = self._unread.get(job_id) or self._kept.get(job_id)
        if kept is None:
            raise UnknownJob(f"no job {job_id!r}; results are forgotten {self._ttl_s:g} s after")
        return kept

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._kept or job_id in self._unread


class _Kept(NamedTuple):
    expires_at: float
    num_bytes: int
    state: JobState
    stream: FrameStream | None


def _pop_expired(states: OrderedDict[str, _Kept], now: float) -> int:
    """Drop what has expired; its bytes."""
    num_bytes = 0
    while states and next(iter(states.values())).expires_at <= now:
        num_bytes += states.popitem(last=False)[1].num_bytes
    return num_bytes


def _num_bytes(state: JobState) -> int:
    outcome = state.outcome
    return sum(array.nbytes for array in outcome.outputs + outcome.states) if outcome else 0


def _detached(state: JobState) -> JobState:
    # Outputs are views of their whole batch, which must not be kept alive by one of them.
    if state.outcome is None:
        return state
    outputs = tuple(array.copy() for array in state.outcome.outputs)
    states = tuple(array.copy() for array in state.outcome.states)
    return replace(state, outcome=replace(state.outcome, outputs=outputs, states=states))
