"""Jobs that are answered in one go: wait, form batches, run."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from certisolve_server.batching import AbstractBatcher, DynamicBatcher, Request
from certisolve_server.engines import AbstractDevice, AbstractEngine, LoadedEngine, Step, derive
from certisolve_server.errors import Cancelled
from certisolve_server.jobs import Lane, ModelKey, SolveJob, Timings
from certisolve_server.telemetry import Metrics, Tracing

from .device_thread import DeviceThread
from .held import Held
from .placement import Place, Placement, lane_of
from .reports import fail, outcome_of, outcome_of_row
from .source import Answer, Source
from .tally import Tally

# A pass shorter than the way to another thread and back is run where it is.
_THREAD_SWITCH_S = 100e-6


class Batch(NamedTuple):
    """Jobs that run together, and the engine that was loaded for them when they were put together.

    It is theirs until they are answered, even if the model is unloaded meanwhile.
    """

    lane: Lane
    loaded: LoadedEngine
    held: Sequence[Held]


class Passes:
    """Holds claimed jobs until their batch runs, and runs it.

    Arguments:
        placement: the loaded engines.
        device: where they run.
        device_thread: feeds it.
        max_queue_delay: seconds a batch may wait for company while the device is busy.
        metrics: what is counted.
        tracing: where spans of batches go.
        clock: Unix seconds.
        changed: called when jobs have left.
    """

    def __init__(
        self,
        placement: Placement,
        device: AbstractDevice,
        device_thread: DeviceThread,
        *,
        max_queue_delay: float,
        metrics: Metrics,
        tracing: Tracing,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.num_running: Tally[ModelKey] = Tally()
        self.waiting_by_place: Tally[Place] = Tally()
        self._placement = placement
        self._device = device
        self._device_thread = device_thread
        self._fetch_thread = DeviceThread("fetch")
        self._metrics = metrics
        self._tracing = tracing
        self._clock = clock
        self._changed = changed
        self._waiting: dict[str, Held] = {}
        self._deriving: set[str] = set()
        self._batcher: AbstractBatcher = DynamicBatcher(self._max_batch_size, max_queue_delay)

    def stop(self) -> None:
        """End the threads."""
        self._fetch_thread.stop()

    # --- Jobs wait --------------------------------------------------------------------------------

    def add(self, held: Held) -> None:
        """Take a job in; one of the same id is forgotten: it is ours again, under another token."""
        job = held.job
        self.drop(job.id)
        self._waiting[job.id] = held
        self.waiting_by_place[held.place] += 1
        self._batcher.add(Request(job.id, held.place, job.submitted_at, job.terms.deadline))

    def drop(self, job_id: str) -> Held | None:
        """Forget a waiting job; None if it does not wait. A derivative may still be given up."""
        self._deriving.discard(job_id)
        held = self._waiting.pop(job_id, None)
        if held is not None:
            self._batcher.cancel(job_id)
            self._left(held.place, 1)
        return held

    def waiting(self, key: ModelKey | None = None) -> list[str]:
        """The ids of jobs that wait, of one model or of all."""
        return [i for i, held in self._waiting.items() if key in (None, held.job.model)]

    def __len__(self) -> int:
        return len(self._waiting)

    def wake_at(self) -> float | None:
        """When to ask for a batch again although nothing came; None for never."""
        return self._batcher.wake_at()

    def next_batch(self, now: float) -> Batch | None:
        """What should run next; None to go on collecting. It counts as running from here on."""
        for request in self._batcher.expire(now):
            self._drop_expired(request, now)
        found = self._batcher.next_batch(now, device_idle=not self.num_running)
        if found is None:
            return None
        held = [self._waiting.pop(request.id) for request in found.requests]
        place = cast(Place, found.lane)
        self._left(place, len(held))
        lane = lane_of(place)
        self.num_running[lane.model] += len(held)
        return Batch(lane, self._placement[lane.model], held)

    def _left(self, place: Place, count: int) -> None:
        self.waiting_by_place.leave(place, count)
        self._changed()

    def _drop_expired(self, request: Request, now: float) -> None:
        held = self._waiting.pop(request.id)
        self._left(held.place, 1)
        self._metrics.deadline_missed("device")
        held.expire(now)

    # --- Batches run ------------------------------------------------------------------------------

    async def run(self, batch: Batch) -> None:
        """Answer the jobs of a batch that are still wanted."""
        try:
            wanted = await _start(batch.held)
            if wanted:
                await self._answer(batch._replace(held=wanted))
        finally:
            self.num_running.leave(batch.lane.model, len(batch.held))
            self._changed()

    async def _answer(self, batch: Batch) -> None:
        started_at = self._clock()
        try:
            if batch.lane.kind == "solve":
                self._report(batch.held, await self._step(batch), started_at)
            else:
                await self._derive(batch, started_at)
        except Exception as error:
            await self._answer_one_by_one(batch, error)

    async def _derive(self, batch: Batch, started_at: float) -> None:
        [held] = batch.held
        job = held.job
        self._deriving.add(job.id)
        try:
            derived = await self._device_thread.call(
                derive,
                batch.loaded.engine,
                job,
                interrupted=lambda: job.id not in self._deriving,  # asked by that thread
            )
        except Cancelled:
            return
        finally:
            self._deriving.discard(job.id)
        queue_ms = 1e3 * (started_at - job.submitted_at)
        outcome = outcome_of(job, derived, Timings(queue_ms, 0.0, derived.compute_ms), 1)
        num_bytes = sum(output.nbytes for output in derived.outputs)
        held.source.answer([(held.claim, outcome)], num_bytes)
        self._observe([job], _Pass(derived.compute_ms), started_at, [queue_ms])

    async def _answer_one_by_one(self, batch: Batch, error: Exception) -> None:
        # A request that breaks the program must not fail its batch mates.
        if len(batch.held) > 1:
            for held in batch.held:
                await self._answer(batch._replace(held=[held]))
            return
        [held] = batch.held
        fail(held, error, self._metrics)

    async def _step(self, batch: Batch) -> Step:
        jobs = [held.job for held in batch.held]
        engine = cast(AbstractEngine, batch.loaded.engine)
        launch_batch = partial(engine.launch, _columns(jobs), [job.work for job in jobs])
        if self._device.pipeline_depth > 1:
            launch = await self._device_thread.call(launch_batch)
            return await self._fetch_thread.call(launch.wait)
        if batch.loaded.expected_s(batch.lane.shapes, len(jobs)) < _THREAD_SWITCH_S:
            return launch_batch().wait()
        return await self._device_thread.call(lambda: launch_batch().wait())

    def _report(self, batch: Sequence[Held], step: Step, started_at: float) -> None:
        queue_ms = [1e3 * (started_at - held.job.submitted_at) for held in batch]
        answers: dict[Source, list[Answer]] = {}
        for row, (source, claim, _) in enumerate(batch):
            timings = Timings(queue_ms[row], step.batch_ms, step.compute_ms)
            answer = (claim, outcome_of_row(claim.job, step, row, timings))
            answers.setdefault(source, []).append(answer)
        row_bytes = sum(output.nbytes for output in step.outputs) // len(batch)
        for source, own in answers.items():
            source.answer(own, len(own) * row_bytes)
        self._observe([held.job for held in batch], step, started_at, queue_ms)

    def _observe(
        self,
        jobs: Sequence[SolveJob],
        step: "Step | _Pass",
        started_at: float,
        queue_ms: Sequence[float],
    ) -> None:
        self._metrics.batch_done(jobs[0].model, step, queue_ms)
        traceparents = [job.terms.traceparent for job in jobs]
        if any(traceparents):
            self._tracing.batch(
                jobs[0].model,
                traceparents,
                started_at,
                self._clock(),
                len(jobs),
                queue_ms=queue_ms,
                compute_ms=step.compute_ms,
            )

    def _max_batch_size(self, lane: Hashable) -> int:
        return self._placement.max_batch_size(cast(Place, lane))


class _Pass(NamedTuple):
    """One request by itself, as it is counted."""

    compute_ms: float
    batch_ms: float = 0.0
    batch_size: int = 1
    padded_size: int = 1


async def _start(batch: Sequence[Held]) -> Sequence[Held]:
    """Those of a batch that are still wanted, marked as running."""
    if all(held.claim.started for held in batch):
        return batch
    claims: dict[Source, list[Any]] = {}
    for held in batch:
        claims.setdefault(held.source, []).append(held.claim)
    wanted: set[str] = set()
    for source, own in claims.items():
        wanted |= await source.start(own)
    return [held for held in batch if held.job.id in wanted]


def _columns(jobs: Sequence[SolveJob]) -> list[list[NDArray[Any]]]:
    inputs = [list(column) for column in zip(*(job.inputs for job in jobs), strict=True)]
    parameters = zip(*(job.parameters for job in jobs), strict=True)
    return inputs + [[np.float32(value) for value in column] for column in parameters]
