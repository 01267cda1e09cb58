"""claim -> batch -> step -> complete, around one device."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from certisolve_server.batching import AbstractBatcher, DynamicBatcher, Request
from certisolve_server.broker import AbstractBroker, Claim
from certisolve_server.engines import AbstractDevice, LoadedEngine, Step
from certisolve_server.errors import DeadlineExceeded, InternalError, ServingError
from certisolve_server.jobs import Lane, ModelKey, Outcome, SolveJob, Timeline, Timings
from certisolve_server.telemetry import Metrics, Tracing

from .device_thread import DeviceThread
from .placement import Alone, Place, Placement
from .source import Answer, Source

_log = logging.getLogger(__name__)
# A step shorter than the way to another thread and back is run where it is.
_THREAD_SWITCH_S = 100e-6


class _Held(NamedTuple):
    """A claimed job on its way through the worker."""

    source: Source
    claim: Claim
    claimed_at: float


class _Batch(NamedTuple):
    """Jobs that run together, and the engine that was loaded for them when they were put together.

    It is theirs until they are answered, even if the model is unloaded meanwhile.
    """

    lane: Lane
    loaded: LoadedEngine
    held: Sequence[_Held]


class Worker:
    """Runs the jobs of brokers on one device, which one thread feeds; made in the loop's thread.

    No more is claimed than the next batch takes: the rest stays in the queue, for other workers,
    and in its order of fairness.

    Arguments:
        brokers: where jobs come from and answers go; all of them share the batches.
        device: where programs run.
        max_queue_delay: seconds a batch may wait for company while the device is busy.
        lease_s: seconds after which the brokers take a silent worker for dead.
        max_unreported: jobs of a broker that may wait to be reported to it, because it is out of
            reach, before no more are claimed from it.
        metrics: what is counted.
        tracing: where spans of batches go.
        clock: Unix seconds, the clock of the jobs' deadlines.
    """

    def __init__(
        self,
        brokers: Sequence[AbstractBroker],
        device: AbstractDevice,
        *,
        max_queue_delay: float,
        lease_s: float = 15.0,
        max_unreported: int = 1024,
        metrics: Metrics,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device = device
        self._metrics = metrics
        self._tracing = tracing or Tracing.disabled()
        self._clock = clock
        self._arrival = asyncio.Event()
        self._change = asyncio.Event()
        self._sources = [
            Source(
                broker,
                lease_s=lease_s,
                max_unreported=max_unreported,
                metrics=metrics,
                changed=self._change.set,
            )
            for broker in brokers
        ]
        self._placement = Placement()
        self._waiting: dict[str, _Held] = {}
        self._waiting_by_place: Counter[Place] = Counter()
        self._running_by_model: Counter[ModelKey] = Counter()
        self._batcher: AbstractBatcher = DynamicBatcher(self._max_batch_size, max_queue_delay)
        self._draining = False
        device.adopt_thread(alone=True)  # this one, for steps that are run in place
        self._device_thread = DeviceThread("device", partial(device.adopt_thread, alone=False))
        self._fetch_thread = DeviceThread("fetch")

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for source in self._sources:
                    tasks.create_task(self._claim_forever(source))
                    tasks.create_task(source.report_forever())
                    tasks.create_task(source.beat_forever(self._lose))
                for _ in range(self._device.pipeline_depth):
                    tasks.create_task(self._run_forever())
        finally:
            self._device_thread.stop()
            self._fetch_thread.stop()

    async def load(self, load: Callable[[], LoadedEngine]) -> None:
        """Call `load` in the device thread and serve what it returns.

        Raises:
            ProgramError: the engine did not prove itself.
        """
        loaded = await self._device_thread.call(load)
        self._placement.put(loaded)
        self._claim_anew()

    async def unload(self, key: ModelKey) -> None:
        """Serve a model no more: hand back its waiting jobs, finish those on the device, free it.

        Nothing happens if it is not loaded.
        """
        self._hand_back(job_id for job_id, held in self._waiting.items() if _model(held) == key)
        self._placement.remove(key)
        self._claim_anew()
        await self._until(lambda: not self._running_by_model[key])

    async def drain(self) -> None:
        """Claim no more, finish what is on the device, hand back the rest, report all of it."""
        self._draining = True
        self._claim_anew()
        self._hand_back(self._waiting)
        await self._until(self._drained)

    @property
    def num_waiting(self) -> int:
        """Claimed jobs that are not on the device."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Jobs in the batches on the device."""
        return self._running_by_model.total()

    @property
    def loaded(self) -> tuple[ModelKey, ...]:
        """The models that are served."""
        return tuple(self._placement)

    # --- Jobs come --------------------------------------------------------------------------------

    async def _claim_forever(self, source: Source) -> None:
        while True:
            await self._until(lambda: self._may_claim(source))
            capacity = self._placement.capacity(self._waiting_by_place)
            claims = await source.claim(capacity, start=self._idle)
            if claims:
                self._admit(source, claims)

    def _may_claim(self, source: Source) -> bool:
        if self._draining or not self._placement or source.congested:
            return False
        if not self._waiting:
            return True
        # What waits while the device is idle is about to start; what comes then can start at once.
        busy = bool(self._running_by_model)
        return busy and self._placement.num_batches(self._waiting_by_place) < 1

    def _claim_anew(self) -> None:
        for source in self._sources:
            source.interrupt()
        self._change.set()

    @property
    def _idle(self) -> bool:
        """Whether a job that comes now starts at once."""
        return not self._waiting and not self._running_by_model

    def _admit(self, source: Source, claims: Sequence[Claim]) -> None:
        place = _place(claims[0])  # one lane, or a suspect alone
        if self._draining or claims[0].job.model not in self._placement:
            source.release(claims)
            return
        now, at_once = self._clock(), self._idle
        for claim in claims:
            # One that has to wait after all is asked about once more, before it runs.
            mine = claim if at_once else claim._replace(started=False)
            self._put(place, _Held(source, mine, now))
        self._waiting_by_place[place] += len(claims)
        self._arrival.set()

    def _put(self, place: Place, held: _Held) -> None:
        job = held.claim.job
        if job.id in self._waiting:  # lost meanwhile, and ours again under another token
            self._drop(job.id)
        self._waiting[job.id] = held
        held.source.hold(held.claim)
        self._batcher.add(Request(job.id, place, job.submitted_at, job.terms.deadline))

    def _drop(self, job_id: str) -> _Held:
        """Forget a waiting job."""
        held = self._waiting.pop(job_id)
        self._batcher.cancel(job_id)
        self._left(_place(held.claim), 1)
        return held

    def _left(self, place: Place, count: int) -> None:
        self._waiting_by_place[place] -= count
        if not self._waiting_by_place[place]:
            del self._waiting_by_place[place]
        self._change.set()

    def _lose(self, job_id: str) -> None:
        """Forget a job that is not wanted any more, or not ours; too late if it runs."""
        if job_id in self._waiting:
            self._drop(job_id)

    def _hand_back(self, job_ids: Iterable[str]) -> None:
        by_source: dict[Source, list[Claim]] = {}
        for job_id in list(job_ids):
            held = self._drop(job_id)
            by_source.setdefault(held.source, []).append(held.claim)
        for source, claims in by_source.items():
            source.release(claims)

    def _drained(self) -> bool:
        quiet = all(source.settled and not source.claiming for source in self._sources)
        return quiet and not self._running_by_model

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._change.clear()
            await self._change.wait()

    # --- Batches run ------------------------------------------------------------------------------

    async def _run_forever(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch is None:
                continue
            model, count = batch.lane.model, len(batch.held)
            self._running_by_model[model] += count
            try:
                await self._run(batch)
            finally:
                self._finished(model, count)

    def _finished(self, model: ModelKey, count: int) -> None:
        self._running_by_model[model] -= count
        if not self._running_by_model[model]:
            del self._running_by_model[model]
        self._change.set()

    async def _next_batch(self) -> _Batch | None:
        """What should run next; None after waiting for work."""
        now = self._clock()
        for request in self._batcher.expire(now):
            self._drop_expired(request, now)
        batch = self._batcher.next_batch(now, device_idle=not self._running_by_model)
        if batch is None:
            await self._wait_for_arrival(now)
            return None
        held = [self._waiting.pop(request.id) for request in batch.requests]
        place = cast(Place, batch.lane)
        self._left(place, len(held))
        lane = place.lane if isinstance(place, Alone) else place
        return _Batch(lane, self._placement[lane.model], held)

    async def _wait_for_arrival(self, now: float) -> None:
        wake_at = self._batcher.wake_at()
        self._arrival.clear()
        if wake_at is None:
            await self._arrival.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, wake_at - now)):
                await self._arrival.wait()

    def _drop_expired(self, request: Request, now: float) -> None:
        held = self._waiting.pop(request.id)
        self._left(cast(Place, request.lane), 1)
        self._metrics.deadline_missed("device")
        spent = Timeline(request.arrived_at, held.claimed_at).account(now)
        held.source.fail(held.claim, DeadlineExceeded(f"the deadline passed: {spent}"))

    async def _run(self, batch: _Batch) -> None:
        wanted = await _start(batch.held)
        if wanted:
            await self._answer(batch._replace(held=wanted))

    async def _answer(self, batch: _Batch) -> None:
        started_at = self._clock()
        try:
            step = await self._step(batch)
        except Exception as error:
            await self._answer_one_by_one(batch, error)
            return
        self._report(batch.held, step, started_at)

    async def _answer_one_by_one(self, batch: _Batch, error: Exception) -> None:
        # A request that breaks the program must not fail its batch mates.
        if len(batch.held) > 1:
            for held in batch.held:
                await self._answer(batch._replace(held=[held]))
            return
        [(source, claim, _)] = batch.held
        job = claim.job
        _log.error("solve_failed job=%s model=%s", job.id, job.model.name, exc_info=error)
        self._metrics.batch_failed(job.model, 1)
        source.fail(claim, _as_serving_error(job, error))

    async def _step(self, batch: _Batch) -> Step:
        jobs = [held.claim.job for held in batch.held]
        launch_batch = partial(batch.loaded.engine.launch, _columns(jobs), [j.work for j in jobs])
        if self._device.pipeline_depth > 1:
            launch = await self._device_thread.call(launch_batch)
            return await self._fetch_thread.call(launch.wait)
        if batch.loaded.expected_s(batch.lane.shapes, len(jobs)) < _THREAD_SWITCH_S:
            return launch_batch().wait()
        return await self._device_thread.call(lambda: launch_batch().wait())

    def _report(self, batch: Sequence[_Held], step: Step, started_at: float) -> None:
        queue_ms = [1e3 * (started_at - held.claim.job.submitted_at) for held in batch]
        answers: dict[Source, list[Answer]] = {}
        for row, (source, claim, _) in enumerate(batch):
            timings = Timings(queue_ms[row], step.batch_ms, step.compute_ms)
            answer = (claim, _outcome(claim.job, step, row, timings))
            answers.setdefault(source, []).append(answer)
        row_bytes = sum(output.nbytes for output in step.outputs) // len(batch)
        for source, own in answers.items():
            source.answer(own, len(own) * row_bytes)
        self._observe([held.claim.job for held in batch], step, started_at, queue_ms)

    def _observe(
        self, jobs: Sequence[SolveJob], step: Step, started_at: float, queue_ms: Sequence[float]
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


async def _start(batch: Sequence[_Held]) -> Sequence[_Held]:
    """Those of a batch that are still wanted, marked as running."""
    if all(held.claim.started for held in batch):
        return batch
    claims: dict[Source, list[Claim]] = {}
    for held in batch:
        claims.setdefault(held.source, []).append(held.claim)
    wanted: set[str] = set()
    for source, own in claims.items():
        wanted |= await source.start(own)
    return [held for held in batch if held.claim.job.id in wanted]


def _model(held: _Held) -> ModelKey:
    return held.claim.job.model


def _place(claim: Claim) -> Place:
    job = claim.job
    return Alone(job.lane, job.id) if claim.suspect else job.lane


def _columns(jobs: Sequence[SolveJob]) -> list[list[NDArray[Any]]]:
    inputs = [list(column) for column in zip(*(job.inputs for job in jobs), strict=True)]
    parameters = zip(*(job.parameters for job in jobs), strict=True)
    return inputs + [[np.float32(value) for value in column] for column in parameters]


def _outcome(job: SolveJob, step: Step, row: int, timings: Timings) -> Outcome:
    return Outcome(
        model=job.model,
        outputs=step.row(row),
        finite=step.finite[row],
        timings=timings,
        batch_size=step.batch_size,
        context=job.context,
        findings={name: float(values[row]) for name, values in step.findings.items()},
    )


def _as_serving_error(job: SolveJob, error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    return InternalError(f"the model failed on this request; the log has the cause under {job.id}")
