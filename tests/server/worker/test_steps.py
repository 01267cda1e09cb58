"""The worker with real brokers and scripted slots: jobs join, leave and end between steps."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from brokers import Clock
from certisolve_server.broker import Capacity, Claim, MemoryBroker
from certisolve_server.engines import Ended, LoadedEngine, Pace, Run, SlotBank, SteppingEngine
from certisolve_server.engines.device import CpuDevice
from certisolve_server.errors import BodyTooLarge, Cancelled, DeadlineExceeded, InternalError
from certisolve_server.jobs import Artifact, Frame, JobState, Lane, SolveJob, Terms, Work
from helpers import field_manifest
from remote_broker import RemoteBroker
from worker_site import CONTEXT, MODEL, OTHER_MODEL, ScriptedEngine, Site, running, until
from worker_site import job as pass_job

pytestmark = pytest.mark.anyio

UNLUCKY, UNWELCOME = 13.0, 14.0


class ScriptedSlots(SteppingEngine):
    """A job of n steps doubles its input; 13 breaks a step, 14 the layout.

    While `gate` is closed each step waits for it; `pass_steps` lets some through.
    """

    def __init__(self, num_slots: int = 4) -> None:
        self.artifact = Artifact(field_manifest(MODEL.name), "", "")
        self.device = CpuDevice()
        self.num_slots = num_slots
        self.steps: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self._passes = threading.Semaphore(0)
        self._open = False

    def state_bytes(self, lane: Lane) -> int:
        return int(np.prod(lane.shapes[0]))

    def open_bank(self) -> SlotBank:
        return ScriptedBank(self)

    def loaded(self, _: int | None = None) -> LoadedEngine:
        return ScriptedLoaded(self, {((4,),): Pace(self.num_slots, {})})

    def open(self) -> None:
        self._open = True
        self._passes.release(1)

    def pass_steps(self, count: int) -> None:
        self._passes.release(count)

    def step(self, names: list[str]) -> None:
        self.entered.release()
        if not self._open:
            assert self._passes.acquire(timeout=20)
        self.steps.append(names)


class ScriptedLoaded(LoadedEngine):
    def batch_sizes(self, lane: Lane) -> tuple[int, ...]:
        return tuple(range(1, self.engine.num_slots + 1))


class ScriptedBank(SlotBank):
    def __init__(self, engine: ScriptedSlots) -> None:
        self.engine = engine
        self.jobs: list[SolveJob] = []
        self.done: list[int] = []

    def lay_out(
        self,
        leaves: Sequence[int],
        moves: Sequence[tuple[int, int]],
        joins: Sequence[tuple[SolveJob, int]],
    ) -> None:
        if any(job.inputs[0][0] == UNWELCOME for job, _ in joins):
            raise MemoryError("full")
        slots = dict(enumerate(zip(self.jobs, self.done, strict=True)))
        for leave in leaves:
            del slots[leave]
        for source, target in moves:
            slots[target] = slots.pop(source)
        for job, slot in joins:
            slots[slot] = job, 0
        assert sorted(slots) == list(range(len(slots)))
        self.jobs = [slots[i][0] for i in range(len(slots))]
        self.done = [slots[i][1] for i in range(len(slots))]

    def run(
        self,
        slots: Sequence[int],
        batch_size: int,
        *,
        interrupted: Callable[[], bool],
        max_s: float,
    ) -> Run:
        assert batch_size >= len(slots)
        jobs = [self.jobs[slot] for slot in slots]
        frames, ended, num_steps = [], [], 0
        while not ended and not frames and not (num_steps and interrupted()):
            self.engine.step([job.id for job in jobs])
            if any(job.inputs[0][0] == UNLUCKY for job in jobs):
                raise RuntimeError("unlucky")
            num_steps += 1
            for slot, job in zip(slots, jobs, strict=True):
                self.done[slot] += 1
                if job.work.stream:
                    step = self.done[slot]
                    frames.append((slot, Frame(step - 1, float(step), job.inputs)))
                if self.done[slot] == job.work.steps[-1]:
                    ended.append((slot, _ended(job)))
        return Run(frames, ended, num_steps, batch_size, 1.0)

    def progress(self) -> list[tuple[str, float]]:
        pairs = zip(self.jobs, self.done, strict=True)
        return [(job.id, done / job.work.steps[-1]) for job, done in pairs]


def _ended(job: SolveJob) -> Ended:
    findings = {"nfe": float(job.work.steps[-1])}
    frames = np.repeat(2 * job.inputs[0][None], len(job.work.steps), axis=0)
    return Ended((frames,), True, findings, None, None, (), None)


def job(
    name: str,
    num_steps: int,
    value: float = 1.0,
    *,
    size: int = 4,
    deadline: float | None = None,
    stream: bool = False,
) -> SolveJob:
    field = np.full(size, value, np.float32)
    steps = tuple(range(1, num_steps + 1)) if stream else (num_steps,)
    context = replace(CONTEXT, t=tuple(map(float, steps)))
    terms, work = Terms(deadline=deadline), Work(steps=steps, stream=stream)
    return SolveJob(name, MODEL, (field,), (), time.time(), context, terms, work)


async def first(site: Site, name: str) -> float:
    return float((await site.broker.result(name)).outputs[0].flat[0])


async def enter(engine: ScriptedSlots) -> None:
    """Return once a step waits at the gate."""
    await asyncio.to_thread(engine.entered.acquire)


async def is_so(site: Site, name: str, condition: Callable[[JobState], bool]) -> None:
    """Return once the queue says so of a job; the test's time limit says when at last."""
    while not condition(await site.broker.state(name)):  # noqa: ASYNC110 - only asking tells
        await asyncio.sleep(0.001)


async def test_a_short_job_joins_a_long_one_and_is_answered_before_it() -> None:
    engine = ScriptedSlots()
    async with running(engine) as site:
        await site.submit(job("long", 50))
        await enter(engine)
        await site.submit(job("short", 2))
        await until(lambda: site.worker.num_running == 2)
        engine.pass_steps(10)
        outcome = await site.broker.result("short")
        assert outcome.batch_size == 2
        assert outcome.outputs[0][0, 0] == 2.0
        assert outcome.findings == {"nfe": 2.0}
        assert site.worker.num_running == 1
        engine.open()
        assert await first(site, "long") == 2.0
    assert engine.steps[:4] == [["long"], ["long", "short"], ["long", "short"], ["long"]]
    assert len(engine.steps) == 50


async def test_no_more_is_claimed_than_there_are_free_slots() -> None:
    engine = ScriptedSlots(num_slots=2)
    async with running(engine) as site:
        await site.submit(*(job(f"j{number}", 3) for number in range(5)))
        await enter(engine)
        await until(lambda: site.worker.num_running == 2)
        (left,) = await site.broker.claim(Capacity({MODEL: 1}))
        assert left.job.id == "j2"
        engine.open()
        assert await first(site, "j4") == 2.0


async def test_a_cancelled_job_is_gone_at_the_next_step_and_another_has_its_slot() -> None:
    engine = ScriptedSlots(num_slots=2)
    async with running(engine) as site:
        await site.submit(job("a", 9), job("b", 9))
        await site.submit(job("c", 9), keep_result=True)
        await enter(engine)
        await until(lambda: site.worker.num_running == 2)
        engine.pass_steps(1)
        await enter(engine)
        await site.broker.cancel("a")
        await is_so(site, "c", lambda state: state.status == "running")
        engine.open()
        assert await first(site, "b") == await first(site, "c") == 2.0
        with pytest.raises(Cancelled):
            await site.broker.result("a")
    [last] = [index for index, names in enumerate(engine.steps) if "a" in names][-1:]
    assert last == 1  # the step that was under way
    assert "c" in engine.steps[last + 1]


async def test_a_request_that_breaks_a_step_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedSlots()
    async with running(engine) as site:
        await site.submit(job("good", 5))
        await enter(engine)
        await site.submit(job("bad", 5, UNLUCKY), job("fine", 5))
        await until(lambda: site.worker.num_running == 3)
        engine.open()
        assert await first(site, "good") == await first(site, "fine") == 2.0
        with pytest.raises(InternalError, match="bad"):
            await site.broker.result("bad")
        assert site.counted("nv_inference_request_failure") == 1
    assert "unlucky" in caplog.text


async def test_newcomers_that_find_no_room_fail_and_the_others_begin_again() -> None:
    engine = ScriptedSlots()
    async with running(engine) as site:
        await site.submit(job("good", 5))
        await enter(engine)
        await site.submit(job("big", 5, UNWELCOME))
        await until(lambda: site.worker.num_running == 2)
        engine.open()
        assert await first(site, "good") == 2.0
        with pytest.raises(InternalError, match="room"):
            await site.broker.result("big")
    assert len(engine.steps) == 6


async def test_who_waits_for_the_bytes_of_lost_slots_gets_slots_anew() -> None:
    engine = ScriptedSlots()
    async with running(engine, max_state_bytes=8) as site:
        await site.submit(job("good", 5))
        await enter(engine)
        await site.submit(job("big", 5, UNWELCOME))
        await until(lambda: site.worker.num_running == 2)
        await site.submit(job("next", 5))
        await until(lambda: site.worker.num_running == 3)
        engine.open()
        assert await first(site, "next") == await first(site, "good") == 2.0
        with pytest.raises(InternalError, match="room"):
            await site.broker.result("big")


async def test_a_state_that_is_larger_than_all_room_is_refused() -> None:
    async with running(ScriptedSlots(), max_state_bytes=100) as site:
        await site.submit(job("huge", 1, size=101))
        with pytest.raises(BodyTooLarge, match="101 bytes"):
            await site.broker.result("huge")


async def test_states_wait_until_there_is_room_for_their_bytes() -> None:
    engine = ScriptedSlots()
    async with running(engine, max_state_bytes=10) as site:
        await site.submit(*(job(f"j{number}", 2) for number in range(4)))
        engine.open()
        for number in range(4):
            assert await first(site, f"j{number}") == 2.0
    assert max(map(len, engine.steps)) == 2


async def test_a_deadline_that_passes_between_steps_ends_a_job() -> None:
    engine, clock = ScriptedSlots(), Clock()
    clock.now = time.time()
    async with running(engine, MemoryBroker(clock=clock), clock=clock) as site:
        await site.submit(job("late", 100, deadline=clock.now + 5), keep_result=True)
        await site.submit(job("live", 9))
        await enter(engine)
        await until(lambda: site.worker.num_running == 2)
        clock.now += 6
        engine.open()
        assert await first(site, "live") == 2.0
        with pytest.raises(DeadlineExceeded, match="running"):
            await site.broker.result("late")
        assert site.counted('certisolve_deadlines_missed_total{stage="running"}') == 1


async def test_frames_are_told_before_the_end() -> None:
    engine = ScriptedSlots()
    async with running(engine) as site:
        await site.submit(job("streamed", 3, stream=True))
        frames = site.broker.frames("streamed")
        await enter(engine)
        for index in range(3):
            engine.pass_steps(1)
            frame = await anext(frames)
            assert (frame.index, frame.t) == (index, index + 1.0)
        assert [frame async for frame in frames] == []
        assert await first(site, "streamed") == 2.0


async def test_progress_is_told_with_the_signs_of_life() -> None:
    engine = ScriptedSlots()
    async with running(engine, lease_s=0.03) as site:
        await site.submit(job("long", 4), keep_result=True)
        for _ in range(2):
            await enter(engine)
            engine.pass_steps(1)
        await enter(engine)
        await is_so(site, "long", lambda state: state.progress == 0.5)
        engine.open()
        assert await first(site, "long") == 2.0


async def test_unloading_finishes_what_steps() -> None:
    engine = ScriptedSlots()
    async with running(engine) as site:
        await site.submit(job("long", 5))
        await enter(engine)
        unloading = asyncio.create_task(site.worker.unload(MODEL))
        await until(lambda: not site.worker.loaded)
        assert not unloading.done()
        engine.open()
        await unloading
        assert await first(site, "long") == 2.0


async def test_draining_hands_long_jobs_back_when_its_time_is_up() -> None:
    engine = ScriptedSlots()
    async with running(engine) as site:
        await site.submit(job("long", 5))
        await enter(engine)
        draining = asyncio.create_task(site.worker.drain(within_s=0.01))
        await until(lambda: site.worker.num_running == 0)
        engine.open()
        await draining
        (claim,) = await site.broker.claim(Capacity({MODEL: 1}))
        assert claim.job.id == "long"
        assert not claim.suspect


class SlowToStart(RemoteBroker):
    """Its word that a job may run arrives late."""

    def __init__(self) -> None:
        super().__init__(MemoryBroker())
        self.said = asyncio.Event()
        self.arrives = asyncio.Event()

    async def start(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        wanted = await super().start(claims)
        self.said.set()
        await self.arrives.wait()
        return wanted


async def test_a_job_that_is_cancelled_while_it_starts_makes_no_step() -> None:
    engine, broker = ScriptedSlots(), SlowToStart()
    async with running(engine, broker) as site:
        await site.submit(job("a", 3))
        await enter(engine)
        await site.submit(job("b", 3))
        await broker.said.wait()
        await broker.cancel("b")
        await asyncio.sleep(0.01)  # the news reach the worker
        broker.arrives.set()
        engine.open()
        assert await first(site, "a") == 2.0
        await until(lambda: site.worker.num_running == 0)
    assert not [names for names in engine.steps if "b" in names]


async def test_draining_waits_for_jobs_that_start_and_hands_them_back() -> None:
    engine, broker = ScriptedSlots(), SlowToStart()
    async with running(engine, broker) as site:
        await site.submit(job("a", 3))
        await enter(engine)
        await site.submit(job("b", 3))
        await broker.said.wait()
        draining = asyncio.create_task(site.worker.drain())
        engine.open()
        assert await first(site, "a") == 2.0
        await until(lambda: site.worker.num_running == 0)
        await asyncio.sleep(0.01)
        assert not draining.done()
        broker.arrives.set()
        await draining
        (claim,) = await broker.claim(Capacity({MODEL: 1}))
        assert claim.job.id == "b"


async def test_a_suspect_steps_alone() -> None:
    engine, clock = ScriptedSlots(), Clock()
    clock.now = time.time()
    broker = MemoryBroker(clock=clock)
    await broker.submit(job("suspect", 3), keep_result=False)
    await broker.claim(Capacity({MODEL: 1}), start=True)
    clock.now += 100
    assert (await broker.reap()).num_redelivered == 1
    async with running(engine, broker, clock=clock) as site:
        await enter(engine)
        await site.submit(job("other", 3))
        await until(lambda: site.worker.num_running == 2)
        engine.open()
        assert await first(site, "suspect") == await first(site, "other") == 2.0
    assert all(len(names) == 1 for names in engine.steps)


async def test_passes_and_steps_take_turns() -> None:
    slots, passes = ScriptedSlots(), ScriptedEngine(OTHER_MODEL)
    async with running(slots) as site:
        await site.worker.load(passes.loaded)
        await site.submit(job("long", 1000))
        await enter(slots)
        slots.open()
        await site.submit(pass_job("quick", 3.0, model=OTHER_MODEL))
        assert await first(site, "quick") == 6.0
        assert await first(site, "long") == 2.0
