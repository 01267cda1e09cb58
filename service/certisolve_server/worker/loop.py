"""claim -> batch -> step -> complete, around one device."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import cast

from certisolve_server.batching import FairShare
from certisolve_server.broker import AbstractBroker, Claim
from certisolve_server.engines import AbstractDevice, LoadedEngine
from certisolve_server.jobs import ModelKey
from certisolve_server.telemetry import Metrics, Tracing

from .certifications import Certifications, CertifyOptions
from .device_thread import DeviceThread
from .held import Held
from .outage import Outage
from .passes import Passes
from .placement import Place, Placement
from .source import Source
from .steps import Steps

#: Device time in seconds: batches and steps, when there are both, take turns of this length.
_TURN_S, _LONGEST_TURN_S = 2e-3, 0.1


class Worker:
    """Runs the jobs of brokers on one device, which one thread feeds; made in the loop's thread.

    What is to be certified runs beside it, in processes of its own, and is claimed apart. No more
    is claimed than the next batch takes, or than there are free slots: the rest stays in the queue,
    for other workers, and in its order of fairness.

    Arguments:
        brokers: where jobs come from and answers go; all of them share the batches.
        device: where programs run.
        max_queue_delay: seconds a batch may wait for company while the device is busy.
        max_state_bytes: what the states of jobs of many steps may take on the device.
        lease_s: seconds after which the brokers take a silent worker for dead.
        max_unreported: jobs of a broker that may wait to be reported to it, because it is out of
            reach, before no more are claimed from it.
        certify: how many certifications at a time, and how.
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
        max_state_bytes: int = 1 << 30,
        lease_s: float = 15.0,
        max_unreported: int = 1024,
        certify: CertifyOptions = CertifyOptions(),  # noqa: B008  # a value
        metrics: Metrics,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device = device
        self._clock = clock
        self._arrival = asyncio.Event()
        self._change = asyncio.Event()
        self._placement = Placement()
        device.adopt_thread(alone=True)  # this one, for passes that are run in place
        self._device_thread = DeviceThread("device", partial(device.adopt_thread, alone=False))
        self._passes = Passes(
            self._placement,
            device,
            self._device_thread,
            max_queue_delay=max_queue_delay,
            metrics=metrics,
            tracing=tracing or Tracing.disabled(),
            clock=clock,
            changed=self._change.set,
        )
        self._steps = Steps(
            self._placement,
            self._device_thread,
            max_state_bytes=max_state_bytes,
            metrics=metrics,
            tracing=tracing or Tracing.disabled(),
            clock=clock,
            changed=self._steps_changed,
        )
        self._certifications = Certifications(
            self._placement,
            certify,
            metrics=metrics,
            tracing=tracing or Tracing.disabled(),
            clock=clock,
            changed=self._change.set,
        )
        self._turns = FairShare(_TURN_S, _LONGEST_TURN_S)
        for party in (self._passes, self._steps):
            self._turns.enter(party)
        outages = [Outage() for _ in brokers]
        new_source = partial(
            Source,
            lease_s=lease_s,
            max_unreported=max_unreported,
            metrics=metrics,
            changed=self._change.set,
        )
        self._sources = [
            new_source(broker, outage=outage, progress=self._steps.progress)
            for broker, outage in zip(brokers, outages, strict=True)
        ]
        progress = self._certifications.progress
        self._certify_sources = [
            new_source(broker, pool="certify", outage=outage, progress=progress)
            for broker, outage in zip(brokers, outages, strict=True)
            if certify.concurrency
        ]
        self._draining = False
        self._num_starting = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for source in self._sources:
                    tasks.create_task(self._claim_forever(source))
                for source in self._certify_sources:
                    tasks.create_task(self._claim_certifications_forever(source))
                for source in self._all_sources:
                    tasks.create_task(source.report_forever())
                    tasks.create_task(source.beat_forever(self._lose))
                    tasks.create_task(source.heed_forever(self._lose))
                for _ in range(self._device.pipeline_depth):
                    tasks.create_task(self._run_forever())
        finally:
            self._device_thread.stop()
            self._passes.stop()
            await self._certifications.stop()

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

        Its certifications are handed back, too.

        Nothing happens if it is not loaded.
        """
        self._hand_back(self._passes, self._passes.waiting(key))
        self._hand_back(self._certifications, self._certifications.running(key))
        self._placement.remove(key)
        self._claim_anew()
        await self._until(lambda: not self._running[key])

    async def drain(self, within_s: float | None = None) -> None:
        """Claim no more, finish what is on the device, hand back the rest, report all of it.

        Args:
            within_s: seconds after which jobs of many steps and certifications are handed back
                unfinished.
        """
        self._draining = True
        self._claim_anew()
        self._hand_back(self._passes, self._passes.waiting())
        try:
            async with asyncio.timeout(within_s):
                await self._until(self._drained)
        except TimeoutError:
            self._hand_back(self._steps, self._steps.running())
            self._hand_back(self._certifications, self._certifications.running())
            await self._until(self._drained)

    @property
    def num_waiting(self) -> int:
        """Claimed jobs that are not on the device."""
        return len(self._passes)

    @property
    def num_running(self) -> int:
        """Jobs in the batches on the device, and certifications."""
        return self._running.total()

    @property
    def loaded(self) -> tuple[ModelKey, ...]:
        """The models that are served."""
        return tuple(self._placement)

    # --- Jobs come --------------------------------------------------------------------------------

    async def _claim_forever(self, source: Source) -> None:
        while True:
            await self._until(lambda: self._may_claim(source))
            taken: Counter[Place] = self._passes.waiting_by_place
            if self._steps:
                taken = taken + self._steps.taken_by_place
            capacity = self._placement.capacity(taken)
            claims = await source.claim(capacity, start=self._idle)
            if claims:
                await self._admit(source, claims)

    async def _claim_certifications_forever(self, source: Source) -> None:
        while True:
            await self._until(lambda: self._may_certify(source))
            # A place is taken when a job comes; of two brokers, the other then asks for less.
            claims = await source.claim(self._certifications.capacity, start=True)
            self._admit_certifications(source, claims)

    def _may_certify(self, source: Source) -> bool:
        if self._draining or not self._placement or source.congested:
            return False
        return self._certifications.num_free > 0

    def _admit_certifications(self, source: Source, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if (
                self._draining
                or claim.job.model not in self._placement
                or not self._certifications.num_free
            ):
                source.release([claim])
                continue
            source.hold(claim)
            self._certifications.add(Held(source, claim, self._clock()))
            for other in self._certify_sources:
                if other is not source:
                    other.interrupt()

    @property
    def _all_sources(self) -> Sequence[Source]:
        return [*self._sources, *self._certify_sources]

    def _may_claim(self, source: Source) -> bool:
        if self._draining or not self._placement or source.congested:
            return False
        if not self._passes:
            return True
        # What waits while the device is idle is about to start; what comes then can start at once.
        busy = bool(self._passes.num_running or self._steps)
        return busy and self._placement.num_batches(self._passes.waiting_by_place) < 1

    def _claim_anew(self) -> None:
        for source in self._all_sources:
            source.interrupt()
        self._change.set()

    @property
    def _idle(self) -> bool:
        """Whether a job that comes now starts at once."""
        return not self._passes and not self._passes.num_running and not self._steps

    @property
    def _running(self) -> Counter[ModelKey]:
        on_device = self._passes.num_running + self._steps.num_running
        return on_device + self._certifications.num_running

    async def _admit(self, source: Source, claims: Sequence[Claim]) -> None:
        job = claims[0].job  # one lane, or a suspect alone
        if self._draining or job.model not in self._placement:
            source.release(claims)
            return
        now, at_once = self._clock(), self._idle
        for claim in claims:
            source.hold(claim)
        if self._placement.steps(job.lane):
            await self._admit_to_steps(source, claims, now)
        else:
            for claim in claims:
                # One that has to wait after all is asked about once more, before it runs.
                mine = claim if at_once else claim._replace(started=False)
                self._passes.add(Held(source, mine, now))
            self._steps.interrupt()
        self._arrival.set()

    async def _admit_to_steps(self, source: Source, claims: Sequence[Claim], now: float) -> None:
        # There are free slots for them: they run from the next step on.
        self._num_starting += len(claims)
        wanted = await source.start(claims)
        self._num_starting -= len(claims)
        self._change.set()
        # Some may have been cancelled meanwhile, too late for `start` to know.
        mine = [claim for claim in claims if claim.job.id in wanted and source.holds(claim)]
        if self._draining or claims[0].job.model not in self._placement:
            source.release(mine)
            return
        for claim in mine:
            self._steps.add(Held(source, claim, now))

    def _lose(self, job_id: str) -> None:
        """Forget a job that is not wanted any more, or not ours; too late if its pass runs."""
        if self._passes.drop(job_id) is None and self._steps.drop(job_id) is None:
            self._certifications.drop(job_id)

    def _hand_back(self, holder: Passes | Steps | Certifications, job_ids: Iterable[str]) -> None:
        by_source: dict[Source, list[Claim]] = {}
        for job_id in job_ids:
            held = holder.drop(job_id)
            if held is not None:
                by_source.setdefault(held.source, []).append(held.claim)
        for source, claims in by_source.items():
            source.release(claims)

    def _drained(self) -> bool:
        quiet = all(source.settled and not source.claiming for source in self._all_sources)
        return quiet and not self._num_starting and not self._running

    def _steps_changed(self, has_room: bool) -> None:
        self._change.set()
        if has_room:  # a claim that waits was told of none
            self._claim_anew()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._change.clear()
            await self._change.wait()

    # --- The device works -------------------------------------------------------------------------

    async def _run_forever(self) -> None:
        while True:
            now = self._clock()
            work = self._next_work(now)
            if work is None:
                await self._wait_for_arrival(now)
                continue
            party, run = work
            started_at = time.perf_counter()
            await run
            self._turns.charge(party, time.perf_counter() - started_at)

    def _next_work(self, now: float) -> tuple[Passes | Steps, Awaitable[None]] | None:
        """A batch or some steps, whoever had less of the device; None if there is nothing to do."""
        waiting: list[Passes | Steps] = [self._passes] if self._passes else []
        if self._steps.pending:
            waiting.append(self._steps)
        while waiting:
            party = cast(Passes | Steps, self._turns.next(waiting))
            if party is self._passes:
                batch = self._passes.next_batch(now)
                if batch is not None:
                    return party, self._passes.run(batch)
            else:
                plan = self._steps.next_plan(now)
                if plan is not None:
                    return self._steps, self._steps.run(plan, shared=bool(self._passes))
            waiting.remove(party)
        return None

    async def _wait_for_arrival(self, now: float) -> None:
        wake_at = self._passes.wake_at()
        self._arrival.clear()
        if wake_at is None:
            await self._arrival.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, wake_at - now)):
                await self._arrival.wait()
