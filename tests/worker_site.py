"""A worker at work, with real brokers and a scripted engine."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import numpy as np
from torch import Tensor

from certisolve_server.broker import AbstractBroker, Bounds, Capacity, MemoryBroker
from certisolve_server.engines import AbstractEngine, Answer, LoadedEngine, Pace
from certisolve_server.engines.device import CpuDevice
from certisolve_server.jobs import Artifact, ModelKey, SolveContext, SolveJob, Terms, Work
from certisolve_server.telemetry import Metrics, Tracing
from certisolve_server.worker import CertifyOptions, Worker
from helpers import field_manifest

MODEL, OTHER_MODEL = ModelKey("scripted", "1"), ModelKey("other", "1")
CONTEXT = SolveContext((), {}, None, None, diagnostics=True)
EVERYTHING = Capacity({MODEL: 100, OTHER_MODEL: 100})
LEASE_S = Bounds().lease_s
# Real seconds: signs of life come every hundredth.
SHORT_LEASE_S = 0.03


class ScriptedEngine(AbstractEngine):
    """Doubles its input, holds while `gate` is closed, fails on a batch that holds 13."""

    def __init__(self, key: ModelKey = MODEL) -> None:
        super().__init__(Artifact(field_manifest(key.name), "", ""), CpuDevice())
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def solve(self, inputs: Sequence[Tensor], work: Sequence[Work]) -> Answer:
        first = inputs[0][:, 0].tolist()
        self.batches.append(first)
        self.entered.release()
        assert self.gate.wait(20)
        if 13.0 in first:
            raise RuntimeError("unlucky")
        return Answer([2 * inputs[0]])

    def open(self) -> None:
        self.gate.set()

    def loaded(self, max_batch_size: int | None = None) -> LoadedEngine:
        limit = max_batch_size
        return LoadedEngine(self, {((4,),): Pace(limit, {})} if limit else {})


class RecordingTracing(Tracing):
    """Keeps what it is told of batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[Sequence[str], int]] = []

    def solve(self, model, traceparent):
        raise NotImplementedError

    def batch(self, key, traceparents, started_at, ended_at, batch_size, **times):
        assert started_at <= ended_at
        self.batches.append((list(traceparents), batch_size))

    def close(self):
        pass


def job(
    name: str,
    value: float,
    *,
    size: int = 4,
    deadline: float | None = None,
    model: ModelKey = MODEL,
    traceparent: str = "",
) -> SolveJob:
    field = np.full(size, value, np.float32)
    terms = Terms(deadline=deadline, traceparent=traceparent)
    return SolveJob(name, model, (field,), (), time.time(), CONTEXT, terms)


@dataclass
class Site:
    """A worker at work."""

    worker: Worker
    broker: AbstractBroker
    metrics: Metrics

    async def submit(self, *jobs: SolveJob, keep_result: bool = False) -> None:
        for each in jobs:
            await self.broker.submit(each, keep_result=keep_result)

    async def value(self, job_id: str) -> float:
        return float((await self.broker.result(job_id)).outputs[0][0])

    def counted(self, name: str) -> float:
        lines = self.metrics.render(None).decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@asynccontextmanager
async def running(
    engine: ScriptedEngine,
    *brokers: AbstractBroker,
    max_batch_size: int | None = None,
    lease_s: float = 15.0,
    max_unreported: int = 1024,
    max_state_bytes: int = 1 << 20,
    clock: Callable[[], float] = time.time,
    tracing: Tracing | None = None,
    certify: CertifyOptions = CertifyOptions(),  # noqa: B008  # a value
) -> AsyncIterator[Site]:
    every, metrics = brokers or (MemoryBroker(),), Metrics()
    worker = Worker(
        every,
        CpuDevice(),
        max_queue_delay=0.0,
        lease_s=lease_s,
        max_unreported=max_unreported,
        max_state_bytes=max_state_bytes,
        metrics=metrics,
        tracing=tracing or Tracing.disabled(),
        clock=clock,
        certify=certify,
    )
    task = asyncio.create_task(worker.run())
    await worker.load(lambda: engine.loaded(max_batch_size))
    try:
        with anyio.fail_after(20):
            yield Site(worker, every[0], metrics)
            assert not task.done()
    finally:
        engine.open()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def hold_device(engine: ScriptedEngine, broker: AbstractBroker) -> None:
    """Return once the device is busy with a batch of its own and stays so."""
    engine.gate.clear()
    await broker.submit(job("holder", 0.0), keep_result=True)
    await asyncio.to_thread(engine.entered.acquire)


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so; the test's time limit says how long."""
    while not condition():
        await anyio.lowlevel.checkpoint()
