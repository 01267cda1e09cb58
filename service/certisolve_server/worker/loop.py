"""claim -> batch -> step -> complete, around one device."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from certisolve_server.batching import AbstractBatcher, DynamicBatcher, Request
from certisolve_server.broker import AbstractBroker
from certisolve_server.engines import AbstractDevice, LoadedEngine, Step
from certisolve_server.errors import DeadlineExceeded, InternalError, ModelNotReady, ServingError
from certisolve_server.jobs import Lane, ModelKey, Outcome, SolveJob, Timings
from certisolve_server.telemetry import Metrics

from .device_thread import DeviceThread

_log = logging.getLogger(__name__)
#: Jobs held ready for the next batches; the rest stays in the queue for other workers.
_MAX_CLAIMED = 256
# A step shorter than the way to another thread and back is run where it is.
_THREAD_SWITCH_S = 100e-6


class Worker:
    """Runs the jobs of a broker on one device, which one thread feeds; made in the loop's thread.

    Arguments:
        broker: where jobs come from and answers go.
        device: where programs run.
        max_queue_delay: seconds a batch may wait for company while the device is busy.
        metrics: what is counted.
        clock: Unix seconds, the clock of the jobs' deadlines.
    """

    def __init__(
        self,
        broker: AbstractBroker,
        device: AbstractDevice,
        *,
        max_queue_delay: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._broker = broker
        self._device = device
        self._metrics = metrics
        self._clock = clock
        self._engines: dict[ModelKey, LoadedEngine] = {}
        self._jobs: dict[str, SolveJob] = {}
        self._batcher: AbstractBatcher = DynamicBatcher(self._max_batch_size, max_queue_delay)
        self._arrival = asyncio.Event()
        self._room = asyncio.Event()
        self._num_running = 0
        device.adopt_thread(alone=True)  # this one, for steps that are run in place
        self._device_thread = DeviceThread("device", partial(device.adopt_thread, alone=False))
        self._fetch_thread = DeviceThread("fetch")

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._claim_forever())
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
        self._engines[loaded.engine.artifact.key] = loaded

    async def _claim_forever(self) -> None:
        while True:
            while len(self._batcher) >= _MAX_CLAIMED:
                self._room.clear()
                await self._room.wait()
            for job in await self._broker.claim(_MAX_CLAIMED - len(self._batcher)):
                await self._admit(job)
            self._arrival.set()

    async def _admit(self, job: SolveJob) -> None:
        if job.model not in self._engines:
            await self._broker.fail(job.id, ModelNotReady(f"{job.model.name} is not loaded here"))
            return
        self._jobs[job.id] = job
        self._batcher.add(Request(job.id, job.lane, job.submitted_at, job.deadline))

    async def _run_forever(self) -> None:
        while True:
            jobs = await self._next_jobs()
            if jobs:
                self._num_running += 1
                try:
                    await self._answer(jobs)
                finally:
                    self._num_running -= 1

    async def _next_jobs(self) -> list[SolveJob]:
        """The jobs of the next batch that are still wanted; waits for work."""
        now = self._clock()
        for request in self._batcher.expire(now):
            await self._drop_expired(self._jobs.pop(request.id))
        batch = self._batcher.next_batch(now, device_idle=self._num_running == 0)
        if batch is None:
            await self._wait_for_arrival(now)
            return []
        self._room.set()
        jobs = {request.id: self._jobs.pop(request.id) for request in batch.requests}
        return [jobs[job_id] for job_id in await self._broker.start(list(jobs))]

    async def _wait_for_arrival(self, now: float) -> None:
        wake_at = self._batcher.wake_at()
        self._arrival.clear()
        if wake_at is None:
            await self._arrival.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, wake_at - now)):
                await self._arrival.wait()

    async def _drop_expired(self, job: SolveJob) -> None:
        waited_s = self._clock() - job.submitted_at
        self._metrics.deadline_missed("queue")
        await self._broker.fail(
            job.id, DeadlineExceeded(f"the deadline passed after {waited_s:.3f} s in the queue")
        )

    async def _answer(self, jobs: Sequence[SolveJob]) -> None:
        started_at = self._clock()
        try:
            step = await self._step(jobs)
        except Exception as error:
            await self._answer_one_by_one(jobs, error)
            return
        self._metrics.batch_done(jobs[0].model, step)
        for row, job in enumerate(jobs):
            timings = Timings(1e3 * (started_at - job.submitted_at), step.batch_ms, step.compute_ms)
            await self._broker.complete(job.id, _outcome(job, step, row, timings))

    async def _answer_one_by_one(self, jobs: Sequence[SolveJob], error: Exception) -> None:
        # A request that breaks the program must not fail its batch mates.
        if len(jobs) > 1:
            for job in jobs:
                await self._answer([job])
            return
        [job] = jobs
        _log.error("solve_failed job=%s model=%s", job.id, job.model.name, exc_info=error)
        await self._broker.fail(job.id, _as_serving_error(job, error))

    async def _step(self, jobs: Sequence[SolveJob]) -> Step:
        loaded, columns = self._engines[jobs[0].model], _columns(jobs)
        engine = loaded.engine
        if self._device.pipeline_depth > 1:
            launch = await self._device_thread.call(engine.launch, columns)
            return await self._fetch_thread.call(launch.wait)
        if loaded.pace(jobs[0].lane.shapes).expected_s(len(jobs)) < _THREAD_SWITCH_S:
            return engine.launch(columns).wait()
        return await self._device_thread.call(lambda: engine.launch(columns).wait())

    def _max_batch_size(self, lane: Hashable) -> int:
        model, shapes, _ = cast(Lane, lane)
        return self._engines[model].pace(shapes).max_batch_size


def _columns(jobs: Sequence[SolveJob]) -> list[list[NDArray[Any]]]:
    inputs = [list(column) for column in zip(*(job.inputs for job in jobs), strict=True)]
    parameters = zip(*(job.parameters for job in jobs), strict=True)
    return inputs + [[np.float32(value) for value in column] for column in parameters]


def _outcome(job: SolveJob, step: Step, row: int, timings: Timings) -> Outcome:
    return Outcome(
        model=job.model,
        outputs=tuple(output[row] for output in step.outputs),
        finite=step.finite[row],
        timings=timings,
        batch_size=step.batch_size,
        context=job.context,
    )


def _as_serving_error(job: SolveJob, error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    return InternalError(f"the model failed on this request; the log has the cause under {job.id}")
