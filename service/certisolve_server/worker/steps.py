"""Jobs of many steps: they join a running batch, leave it, and are answered, between any two."""

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from certisolve_server.batching import ContinuousBatcher, Plan, SlotStatus, SteppingRequest
from certisolve_server.engines import Ended, LoadedEngine, Run, SlotBank, SteppingEngine
from certisolve_server.errors import BodyTooLarge, InternalError
from certisolve_server.jobs import Frame, ModelKey, Timings
from certisolve_server.telemetry import Metrics, Tracing

from .device_thread import DeviceThread
from .held import Held
from .placement import Place, Placement, lane_of
from .reports import fail, outcome_of
from .source import Answer, Source
from .tally import Tally

_log = logging.getLogger(__name__)
#: Seconds of steps in one go while others wait for the device, and while nobody does: a newcomer
#: interrupts them.
_SHARED_S, _ALONE_S = 2e-3, 0.1


@dataclass(slots=True)
class _Rider:
    """A job that waits for a slot, or has one.

    Attributes:
        loaded: the engine that was loaded when it came; its own, even if the model is unloaded.
        joined_at: Unix seconds; None while it waits.
    """

    held: Held
    loaded: LoadedEngine
    joined_at: float | None = None


@dataclass(slots=True)
class _Bank:
    """The slots of one lane.

    Attributes:
        riders: who has which; may have ended already.
    """

    slots: SlotBank
    riders: list[_Rider] = field(default_factory=list)

    def lay_out(self, plan: Plan, joining: Sequence[_Rider]) -> None:
        """Follow a plan."""
        kept = dict(enumerate(self.riders))
        for source, target in plan.moves:
            kept[target] = kept[source]
        for (_, slot), rider in zip(plan.joins, joining, strict=True):
            kept[slot] = rider
        self.riders = [kept[index] for index in range(plan.num_slots)]


class Steps:
    """Holds claimed jobs from the moment they may run, and steps those that have slots.

    Arguments:
        placement: the loaded engines.
        device_thread: feeds the device.
        max_state_bytes: what the states of all jobs together may take on the device.
        metrics: what is counted.
        tracing: where spans of jobs go.
        clock: Unix seconds.
        changed: called when jobs have left, and with True if there is room where there was none.
    """

    def __init__(
        self,
        placement: Placement,
        device_thread: DeviceThread,
        *,
        max_state_bytes: int,
        metrics: Metrics,
        tracing: Tracing,
        clock: Callable[[], float],
        changed: Callable[[bool], None],
    ) -> None:
        self.num_running: Tally[ModelKey] = Tally()
        self.taken_by_place: Tally[Place] = Tally()
        self._placement = placement
        self._device_thread = device_thread
        self._max_state_bytes = max_state_bytes
        self._metrics = metrics
        self._tracing = tracing
        self._clock = clock
        self._changed = changed
        self._riders: dict[str, _Rider] = {}
        self._banks: dict[Place, _Bank] = {}
        self._batcher = ContinuousBatcher(self._batch_sizes, max_state_bytes)
        self._interrupted = False

    # --- Jobs come and go -------------------------------------------------------------------------

    def add(self, held: Held) -> None:
        """Take in a job that counts as running; one of the same id is forgotten."""
        job = held.job
        self.drop(job.id)
        loaded = self._placement[job.model]
        num_bytes = cast(SteppingEngine, loaded.engine).state_bytes(job.lane)
        if num_bytes > self._max_state_bytes:
            held.fail(
                BodyTooLarge(
                    f"its state would take {num_bytes} bytes on the device; at most "
                    f"{self._max_state_bytes}"
                )
            )
            return
        self._batcher.add(SteppingRequest(job.id, held.place, num_bytes, job.terms.deadline))
        self._riders[job.id] = _Rider(held, loaded)
        self.num_running[job.model] += 1
        self.taken_by_place[held.place] += 1
        self.interrupt()

    def drop(self, job_id: str) -> Held | None:
        """Forget a job; its slot is free at the next step. None if it is not here."""
        if not self._batcher.cancel(job_id):
            return None
        held = self._forget(job_id).held
        self.interrupt()
        return held

    def running(self) -> list[str]:
        """The ids of all jobs."""
        return list(self._riders)

    def progress(self) -> dict[str, float]:
        """By job, the share of its steps that is done."""
        return {
            job_id: share
            for bank in self._banks.values()
            for job_id, share in bank.slots.progress()
            if job_id in self._riders
        }

    def interrupt(self) -> None:
        """Let steps that are under way be followed by a new plan."""
        self._interrupted = True

    @property
    def pending(self) -> bool:
        """Whether there are steps to make, or slots to give up."""
        return bool(self._riders or self._banks)

    def __len__(self) -> int:
        return len(self._riders)

    # --- Steps ------------------------------------------------------------------------------------

    def next_plan(self, now: float) -> Plan | None:
        """What to do next; None if there is nothing, or if something is being done."""
        for request in self._batcher.expire(now):
            rider = self._forget(request.id)
            self._metrics.deadline_missed("device" if rider.joined_at is None else "running")
            rider.held.expire(now, rider.joined_at)
        return None if self._batcher.out else self._batcher.next_plan()

    async def run(self, plan: Plan, *, shared: bool) -> None:
        """Lay slots out anew, step them, and answer who has ended.

        Args:
            plan: what `next_plan` returned.
            shared: whether others wait for the device.
        """
        place = cast(Place, plan.lane)
        joining = self._join(plan)
        bank = self._bank(place, joining)
        # A new bank, perhaps in the place of one that was lost, has no slots to give up.
        leaves = plan.leaves if bank.riders else ()
        bank.lay_out(plan, joining)
        self._interrupted = False
        max_s = _SHARED_S if shared or len(self._banks) > 1 else _ALONE_S
        started_at = time.perf_counter()
        try:
            run = await self._device_thread.call(
                partial(_carry_out, bank.slots, leaves, plan, joining, self._is_interrupted, max_s)
            )
        except Exception as error:
            self._failed(plan, bank, error, time.perf_counter() - started_at)
        else:
            self._count(plan, joining, run)
            self._stepped(plan, bank, run, time.perf_counter() - started_at)
        if not plan.num_slots:
            del self._banks[place]

    def _bank(self, place: Place, joining: Sequence[_Rider]) -> _Bank:
        if place not in self._banks:
            engine = cast(SteppingEngine, joining[0].loaded.engine)
            self._banks[place] = _Bank(engine.open_bank())
        return self._banks[place]

    def _join(self, plan: Plan) -> list[_Rider]:
        joining = [self._riders[request_id] for request_id, _ in plan.joins]
        now = self._clock()
        for rider in joining:
            rider.joined_at = now
        return joining

    def _stepped(self, plan: Plan, bank: _Bank, run: Run, duration_s: float) -> None:
        self._tell_frames(bank, run.frames)
        came_to = dict(run.ended)
        statuses = [_status(came_to.get(slot)) for slot in plan.slots]
        ended = {end.request.id for end in self._batcher.advance(plan, statuses, duration_s)}
        answers: dict[Source, list[Answer]] = {}
        for slot, what in run.ended:
            rider = bank.riders[slot]
            if rider.held.job.id not in ended:  # cancelled or expired meanwhile
                continue
            self._forget(rider.held.job.id)
            if what.error is not None:
                fail(rider.held, what.error, self._metrics)
            else:
                answer = self._answer(rider, what, len(plan.slots))
                answers.setdefault(rider.held.source, []).append(answer)
        for source, own in answers.items():
            num_bytes = sum(array.nbytes for _, outcome in own for array in outcome.outputs)
            source.answer(own, num_bytes)

    def _tell_frames(self, bank: _Bank, frames: Iterable[tuple[int, Frame]]) -> None:
        for slot, frame in frames:
            rider = bank.riders[slot]
            if self._riders.get(rider.held.job.id) is rider:
                rider.held.source.tell(rider.held.claim, frame)

    def _failed(self, plan: Plan, bank: _Bank, error: Exception, duration_s: float) -> None:
        if isinstance(error, _LayoutFailed):
            self._give_up(plan, bank, error)
            return
        for end in self._batcher.fail(plan, duration_s):
            fail(self._forget(end.request.id).held, error, self._metrics)

    def _give_up(self, plan: Plan, bank: _Bank, error: Exception) -> None:
        """No room, most likely: newcomers fail, the others begin again where there is some."""
        _log.error("slots_lost lane=%s", plan.lane, exc_info=error)
        self._batcher.advance(plan, [SlotStatus.RUNNING] * len(plan.slots), 0.0)
        engine = cast(SteppingEngine, bank.riders[0].loaded.engine)
        self._banks[cast(Place, plan.lane)] = _Bank(engine.open_bank())
        newcomers = {request_id for request_id, _ in plan.joins}
        for rider in bank.riders:
            job_id = rider.held.job.id
            if self._riders.get(job_id) is not rider:  # gone, and perhaps here again
                continue
            self.drop(job_id)
            if job_id in newcomers:
                no_room = InternalError(f"no room on the device for {job_id}")
                fail(rider.held, no_room, self._metrics)
            else:
                rider.held.source.release([rider.held.claim])

    def _forget(self, job_id: str) -> _Rider:
        rider = self._riders.pop(job_id)
        job, place = rider.held.job, rider.held.place
        was_full = self.taken_by_place[place] >= rider.loaded.batch_sizes(job.lane)[-1]
        self.num_running.leave(job.model)
        self.taken_by_place.leave(place)
        self._changed(was_full)
        return rider

    def _answer(self, rider: _Rider, what: Ended, batch_size: int) -> Answer:
        job, now = rider.held.job, self._clock()
        joined_at, queue_ms = rider.joined_at or now, _queue_ms(rider)
        timings = Timings(queue_ms, 0.0, 1e3 * (now - joined_at))
        if job.terms.traceparent:
            self._tracing.batch(
                job.model,
                [job.terms.traceparent],
                joined_at,
                now,
                batch_size,
                queue_ms=[queue_ms],
                compute_ms=timings.compute_ms,
            )
        return rider.held.claim, outcome_of(job, what, timings, batch_size, what.states)

    def _count(self, plan: Plan, joining: Sequence[_Rider], run: Run) -> None:
        if not run.num_steps:
            return
        model = lane_of(cast(Place, plan.lane)).model
        queue_ms = [_queue_ms(rider) for rider in joining]
        num_ended = sum(what.error is None for _, what in run.ended)
        self._metrics.steps_done(model, len(plan.slots), run, queue_ms, num_ended)

    def _is_interrupted(self) -> bool:
        return self._interrupted

    def _batch_sizes(self, lane: Hashable) -> Sequence[int]:
        return self._placement.batch_sizes(cast(Place, lane))


def _queue_ms(rider: _Rider) -> float:
    return 1e3 * ((rider.joined_at or 0.0) - rider.held.job.submitted_at)


class _LayoutFailed(Exception):
    """The slots could not be laid out anew; what they held is lost."""


def _carry_out(
    slots: SlotBank,
    leaves: Sequence[int],
    plan: Plan,
    joining: Sequence[_Rider],
    interrupted: Callable[[], bool],
    max_s: float,
) -> Run:
    """In the device thread."""
    jobs = [(rider.held.job, slot) for rider, (_, slot) in zip(joining, plan.joins, strict=True)]
    try:
        slots.lay_out(leaves, plan.moves, jobs)
    except Exception as error:
        raise _LayoutFailed(str(error)) from error
    if not plan.slots:
        return Run([], [], 0, 0, 0.0)
    return slots.run(plan.slots, plan.batch_size, interrupted=interrupted, max_s=max_s)


def _status(came_to: Ended | None) -> SlotStatus:
    if came_to is None:
        return SlotStatus.RUNNING
    if came_to.error is not None:
        return SlotStatus.FAILED
    return SlotStatus.FINISHED if came_to.ending is None else SlotStatus.DIVERGED
