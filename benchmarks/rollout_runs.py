"""Rollouts of different lengths on one engine: batches that change between steps, or do not."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from certisolve_server.batching import ContinuousBatcher, SlotStatus, SteppingRequest
from certisolve_server.engines import Ended, LoadedEngine, SteppingEngine
from certisolve_server.jobs import SolveJob, Work


class Trace(NamedTuple):
    """Requests, and when they come.

    Attributes:
        jobs: each for the frame after so many steps.
        arrivals: seconds from the start, ascending.
    """

    jobs: Sequence[SolveJob]
    arrivals: Sequence[float]


class Served(NamedTuple):
    """What became of a trace.

    Attributes:
        latencies: seconds from each arrival to its answer.
        elapsed_s: from the start to the last answer.
        num_rows: that were computed, one per slot and step.
    """

    latencies: Sequence[float]
    elapsed_s: float
    num_rows: int


def poisson(jobs: Sequence[SolveJob], per_s: float, seed: int) -> Trace:
    """Arrivals that do not know each other; all at once for an infinite rate."""
    gaps = np.random.default_rng(seed).exponential(1 / per_s, len(jobs))
    return Trace(jobs, list(accumulate(gaps.tolist())))


def continuous(engine: SteppingEngine, trace: Trace, num_slots: int) -> Served:
    """As the server does: requests join and leave between steps."""
    loaded = LoadedEngine(engine, {})
    sizes = [size for size in loaded.batch_sizes(trace.jobs[0].lane) if size <= num_slots]
    batcher, bank = ContinuousBatcher(lambda lane: sizes, budget_bytes=1 << 40), engine.open_bank()
    line, owners, num_rows = _Line(trace), list[str](), 0
    while line.num_ahead or owners or len(batcher):
        for index in line.arrived():
            batcher.add(SteppingRequest(str(index), "lane", state_bytes=1))
        plan = batcher.next_plan()
        if plan is None:
            line.wait()
            continue
        bank.lay_out(
            plan.leaves, plan.moves, [(trace.jobs[int(each)], slot) for each, slot in plan.joins]
        )
        kept = dict(enumerate(owners)) | {new: owners[old] for old, new in plan.moves}
        kept |= {slot: request_id for request_id, slot in plan.joins}
        owners = [kept[slot] for slot in range(plan.num_slots)]
        if not plan.slots:
            batcher.advance(plan, [], 0.0)
            continue
        run = bank.run(plan.slots, plan.batch_size, interrupted=line.has_arrived, max_s=0.1)
        num_rows += run.num_steps * run.padded_size
        for _, what in run.ended:
            _check(what)
        ended = {slot for slot, _ in run.ended}
        statuses = [
            SlotStatus.FINISHED if slot in ended else SlotStatus.RUNNING for slot in plan.slots
        ]
        for end in batcher.advance(plan, statuses, 1e-3 * run.compute_ms):
            line.answer(int(end.request.id))
    return line.served(num_rows)


def request_level(engine: SteppingEngine, trace: Trace, max_batch_size: int) -> Served:
    """A batch is who waits when the device is idle; it runs to its longest, all rows of it."""
    line, waiting, num_rows = _Line(trace), list[int](), 0
    while line.num_ahead or waiting:
        waiting += line.arrived()
        if not waiting:
            line.wait()
            continue
        batch, waiting = waiting[:max_batch_size], waiting[max_batch_size:]
        jobs = [trace.jobs[index] for index in batch]
        longest = max(job.work.steps[-1] for job in jobs)
        bank = engine.open_bank()
        bank.lay_out([], [], [(_until(job, longest), slot) for slot, job in enumerate(jobs)])
        size = engine.device.padded(len(jobs))
        run = bank.run(range(len(jobs)), size, interrupted=lambda: False, max_s=math.inf)
        for _, what in run.ended:
            _check(what)
        num_rows += run.num_steps * run.padded_size
        for index in batch:
            line.answer(index)
    return line.served(num_rows)


class _Line:
    """Who has come by now, on the clock of the wall, and who was answered when."""

    def __init__(self, trace: Trace) -> None:
        self._arrivals = trace.arrivals
        self._num_arrived = 0
        self._latencies = [math.nan] * len(trace.arrivals)
        self._started_at = time.perf_counter()

    @property
    def num_ahead(self) -> int:
        """Requests that are yet to come."""
        return len(self._arrivals) - self._num_arrived

    def arrived(self) -> list[int]:
        """Those that have come since the last time."""
        first = self._num_arrived
        while self.has_arrived():
            self._num_arrived += 1
        return list(range(first, self._num_arrived))

    def has_arrived(self) -> bool:
        """Whether somebody has come since."""
        return bool(self.num_ahead) and self._arrivals[self._num_arrived] <= self._now()

    def wait(self) -> None:
        """Sleep until the next one comes."""
        time.sleep(max(0.0, self._arrivals[self._num_arrived] - self._now()))

    def answer(self, index: int) -> None:
        """An answer is there."""
        self._latencies[index] = self._now() - self._arrivals[index]

    def served(self, num_rows: int) -> Served:
        """What became of all of them."""
        return Served(self._latencies, self._now(), num_rows)

    def _now(self) -> float:
        return time.perf_counter() - self._started_at


def _until(job: SolveJob, longest: int) -> SolveJob:
    """The job in a batch that ends with its longest: its row is computed on."""
    steps = tuple(sorted({*job.work.steps, longest}))
    return replace(job, work=Work(steps=steps, checks=job.work.checks))


def _check(what: Ended) -> None:
    if what.ending is not None or what.error is not None:
        raise RuntimeError(f"a request of the trace ended early: {what.ending or what.error}")
