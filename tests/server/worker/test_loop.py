"""The worker with a real broker and a scripted engine."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from torch import Tensor

from certisolve_server.broker import MemoryBroker
from certisolve_server.engines import AbstractEngine, LoadedEngine
from certisolve_server.engines.device import CpuDevice
from certisolve_server.errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    ModelNotReady,
)
from certisolve_server.jobs import Artifact, ModelKey, SolveContext, SolveJob
from certisolve_server.telemetry import Metrics
from certisolve_server.worker import Worker
from helpers import field_manifest

pytestmark = pytest.mark.anyio

MODEL = ModelKey("scripted", "1")
CONTEXT = SolveContext((), {}, None, None, diagnostics=True)


class ScriptedEngine(AbstractEngine):
    """Doubles its input, holds while `gate` is closed, fails on a batch that holds 13."""

    def __init__(self) -> None:
        super().__init__(Artifact(field_manifest(MODEL.name), "", ""), CpuDevice())
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def forward(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        first = inputs[0][:, 0].tolist()
        self.batches.append(first)
        self.entered.release()
        assert self.gate.wait(20)
        if 13.0 in first:
            raise RuntimeError("unlucky")
        return [2 * inputs[0]]


def job(name: str, value: float, *, size: int = 4, deadline: float | None = None) -> SolveJob:
    field = np.full(size, value, np.float32)
    return SolveJob(name, MODEL, (field,), (), time.time(), deadline, CONTEXT)


@asynccontextmanager
async def running(engine: ScriptedEngine) -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker()
    worker = Worker(broker, CpuDevice(), max_queue_delay=0.0, metrics=Metrics())
    task = asyncio.create_task(worker.run())
    await worker.load(lambda: LoadedEngine(engine, {}))
    try:
        yield broker
    finally:
        engine.gate.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def hold_device(engine: ScriptedEngine, broker: MemoryBroker) -> None:
    """Return once the device is busy with a batch of its own and stays so."""
    engine.gate.clear()
    await broker.submit(job("holder", 0.0), keep_result=True)
    await asyncio.to_thread(engine.entered.acquire)


async def test_an_idle_device_starts_at_once_and_a_busy_one_collects() -> None:
    engine = ScriptedEngine()
    async with running(engine) as broker:
        await hold_device(engine, broker)
        for number in range(1, 6):
            await broker.submit(job(f"j{number}", number), keep_result=False)
        engine.gate.set()
        outcomes = [await broker.result(f"j{number}") for number in range(1, 6)]
    assert engine.batches == [[0.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    assert [outcome.outputs[0][0] for outcome in outcomes] == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert all(outcome.batch_size == 5 for outcome in outcomes)


async def test_other_shapes_wait_for_a_batch_of_their_own() -> None:
    engine = ScriptedEngine()
    async with running(engine) as broker:
        await hold_device(engine, broker)
        await broker.submit(job("a", 1.0), keep_result=False)
        await broker.submit(job("b", 2.0, size=8), keep_result=False)
        await broker.submit(job("c", 3.0), keep_result=False)
        engine.gate.set()
        for name in "abc":
            await broker.result(name)
    assert engine.batches == [[0.0], [1.0, 3.0], [2.0]]


async def test_a_request_that_breaks_the_program_fails_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = ScriptedEngine()
    async with running(engine) as broker:
        await hold_device(engine, broker)
        for name, value in (("good", 1.0), ("bad", 13.0), ("fine", 3.0)):
            await broker.submit(job(name, value), keep_result=False)
        engine.gate.set()
        assert (await broker.result("good")).outputs[0][0] == 2.0
        assert (await broker.result("fine")).outputs[0][0] == 6.0
        with pytest.raises(InternalError, match="bad"):
            await broker.result("bad")
    assert "unlucky" in caplog.text


async def test_cancelled_jobs_never_reach_the_device() -> None:
    engine = ScriptedEngine()
    async with running(engine) as broker:
        await hold_device(engine, broker)
        for number in (1, 2, 3):
            await broker.submit(job(f"j{number}", number), keep_result=False)
        await asyncio.sleep(0)  # let the worker claim them
        assert (await broker.cancel("j2")).status == "cancelled"
        engine.gate.set()
        await broker.result("j3")
        with pytest.raises(Cancelled):
            await broker.result("j2")
    assert engine.batches == [[0.0], [1.0, 3.0]]


async def test_expired_jobs_never_reach_the_device() -> None:
    engine = ScriptedEngine()
    async with running(engine) as broker:
        await hold_device(engine, broker)
        expired = job("late", 1.0, deadline=time.time() - 1)
        await broker.submit(expired, keep_result=True)
        await broker.submit(job("live", 2.0, deadline=time.time() + 60), keep_result=False)
        engine.gate.set()
        await broker.result("live")
        with pytest.raises(DeadlineExceeded, match="in the queue"):
            await broker.result("late")
    assert engine.batches == [[0.0], [2.0]]


async def test_a_job_for_a_model_that_is_not_loaded_is_refused() -> None:
    async with running(ScriptedEngine()) as broker:
        stranger = SolveJob("s", ModelKey("other", "1"), (), (), time.time(), None, CONTEXT)
        await broker.submit(stranger, keep_result=False)
        with pytest.raises(ModelNotReady, match="other"):
            await broker.result("s")


async def test_non_finite_output_is_told() -> None:
    async with running(ScriptedEngine()) as broker:
        await broker.submit(job("inf", 3e38), keep_result=False)
        outcome = await broker.result("inf")
    assert not outcome.finite
