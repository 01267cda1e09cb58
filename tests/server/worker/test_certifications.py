"""What is certified beside the device: told, kept, stopped, and begun again, process or not."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

import scripted_prover
from certisolve_server.broker import AbstractBroker, MemoryBroker
from certisolve_server.errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    UnsupportedOperator,
)
from certisolve_server.jobs import SolveJob, Terms, Work
from certisolve_server.worker import CertifyOptions, ProverOptions
from worker_site import MODEL, ScriptedEngine, Site, job, running, until

pytestmark = pytest.mark.anyio

COMMAND = (sys.executable, scripted_prover.__file__)
SEARCH = {"budget_s": 10.0, "gap": 1.001, "max_splits": None, "seed": 0}


def certification(
    name: str, *script: list[object], value: float = 0.0, deadline=None, **search
) -> SolveJob:
    said = {"search": SEARCH | search, "script": script}
    work = Work(kind="certify", question=json.dumps(said), stream=True)
    return replace(job(name, value), work=work, terms=Terms(deadline=deadline))


@asynccontextmanager
async def site(
    *brokers: AbstractBroker, concurrency: int = 1, **options
) -> AsyncIterator[tuple[Site, ScriptedEngine]]:
    certify = CertifyOptions(concurrency, ProverOptions(command=COMMAND))
    engine = ScriptedEngine()
    async with running(engine, *brokers, certify=certify, **options) as found:
        yield found, engine


async def certificate(broker: AbstractBroker, name: str) -> dict[str, object]:
    outcome = await broker.result(name)
    assert outcome.kind == "certify"
    return json.loads(outcome.outputs[0].tobytes())


async def best_of(broker: AbstractBroker, name: str) -> dict[str, object]:
    """The first certificate that is told of a job that runs."""
    frame = await anext(broker.frames(name))
    return json.loads(frame.outputs[0].tobytes())


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_a_certificate_is_told_as_it_gets_better_and_answered(tmp_path: Path):
    async with site() as (at, _):
        go, end = tmp_path / "go", tmp_path / "end"
        first = [["better", 3.0], ["wait for", str(go)]]
        then = [["better", 2.0], ["wait for", str(end)], ["done", 1.5]]
        await at.submit(certification("c", *first, *then))
        frames = at.broker.frames("c")
        for upper, reached in ((3.0, go), (2.0, end)):
            told = json.loads((await anext(frames)).outputs[0].tobytes())
            assert (told["upper"], told["evidence"]) == (upper, None)
            await asyncio.to_thread(reached.touch)
        found = await certificate(at.broker, "c")
        assert (found["upper"], found["budget_s"]) == (1.5, 10.0)
        await until(lambda: at.counted("certisolve_certifications_in_flight") == 0)
        assert (
            at.counted('certisolve_certifications_total{model="scripted",result="certified"}') == 1
        )


async def test_one_process_answers_one_job_after_the_other():
    async with site() as (at, _):
        names = [str(number) for number in range(4)]
        await at.submit(*(certification(name, ["done", 1.0], value=float(name)) for name in names))
        found = [await certificate(at.broker, name) for name in names]
        assert len({each["pid"] for each in found}) == 1


async def test_of_many_improvements_the_newest_is_told(tmp_path: Path):
    async with site() as (at, _):
        end = tmp_path / "end"
        many = [["better", float(upper)] for upper in range(500, 1, -1)]
        await at.submit(certification("c", *many, ["wait for", str(end)], ["done", 1.5]))
        told = []
        frames = at.broker.frames("c")
        while not told or told[-1] != 2.0:
            told.append(json.loads((await anext(frames)).outputs[0].tobytes())["upper"])
        assert told == sorted(told, reverse=True)
        await asyncio.to_thread(end.touch)
        assert (await certificate(at.broker, "c"))["upper"] == 1.5


async def test_the_device_goes_on_meanwhile():
    async with site() as (at, _):
        await at.submit(certification("c", ["better", 3.0], ["hang"]))
        await best_of(at.broker, "c")
        for number in range(5):
            await at.submit(job(f"s{number}", 1.0))
            assert await at.value(f"s{number}") == 2.0


async def test_cancelling_ends_the_process_at_once_and_the_next_job_gets_another():
    async with site() as (at, _):
        await at.submit(certification("c", ["better", 3.0], ["hang"]))
        pid = (await best_of(at.broker, "c"))["pid"]
        assert is_alive(pid)
        await at.broker.cancel("c")
        with pytest.raises(Cancelled):
            await at.broker.result("c")
        await until(lambda: not is_alive(pid))
        await at.submit(certification("d", ["done", 1.0]))
        assert (await certificate(at.broker, "d"))["pid"] != pid


async def test_a_refusal_comes_back_as_it_is_and_harms_nobody():
    async with site() as (at, _):
        await at.submit(
            certification("c", ["refuse"]), certification("d", ["done", 1.0], value=1.0)
        )
        with pytest.raises(UnsupportedOperator, match=r"aten\.foo at node 'bar'"):
            await at.broker.result("c")
        assert (await certificate(at.broker, "d"))["upper"] == 1.0


async def test_a_process_that_dies_before_a_bound_is_started_again(tmp_path: Path):
    async with site() as (at, _):
        await at.submit(certification("c", ["die unless", str(tmp_path / "died")], ["done", 1.5]))
        assert (await certificate(at.broker, "c"))["upper"] == 1.5


async def test_a_job_that_kills_its_process_fails_and_the_next_is_answered():
    async with site() as (at, _):
        await at.submit(certification("c", ["die"]), certification("d", ["done", 1.0], value=1.0))
        with pytest.raises(InternalError, match="2 times"):
            await at.broker.result("c")
        assert (await certificate(at.broker, "d"))["upper"] == 1.0


async def test_what_was_proven_before_the_process_died_is_the_answer():
    async with site() as (at, _):
        await at.submit(certification("c", ["better", 3.0], ["better", 2.0], ["die"]))
        found = await certificate(at.broker, "c")
        assert (found["upper"], found["status"]) == (2.0, "budget_exhausted")
        assert found["evidence"] == {"k": 1}
        assert "died" in found["methods"]["search"]


async def test_the_same_question_is_answered_from_memory():
    async with site() as (at, _):
        await at.submit(certification("c", ["done", 1.5]))
        first = await certificate(at.broker, "c")
        await at.submit(certification("d", ["done", 1.5], budget_s=5.0))
        assert await certificate(at.broker, "d") == first
        assert at.counted("certisolve_certificates_reused_total") == 1


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_as_many_run_at_a_time_as_there_are_processes(concurrency: int, tmp_path: Path):
    async with site(concurrency=concurrency) as (at, _):
        go = tmp_path / "go"
        script = [["better", 2.0], ["wait for", str(go)], ["done", 1.0]]
        jobs = [certification(str(i), *script, value=float(i)) for i in range(3)]
        await at.submit(*jobs)
        for i in range(concurrency):
            await best_of(at.broker, str(i))
        states = [(await at.broker.state(str(i))).status for i in range(3)]
        assert states == ["running"] * concurrency + ["queued"] * (3 - concurrency)
        await asyncio.to_thread(go.touch)
        for i in range(3):
            assert (await certificate(at.broker, str(i)))["upper"] == 1.0


async def test_without_processes_nothing_is_claimed():
    async with site(concurrency=0) as (at, _):
        await at.submit(certification("c", ["done", 1.0]), job("s", 1.0))
        assert await at.value("s") == 2.0
        assert (await at.broker.state("c")).status == "queued"


async def test_two_queues_share_the_processes():
    brokers = MemoryBroker(), MemoryBroker()
    async with site(*brokers) as _:
        for index, broker in enumerate(brokers * 2):
            name = f"c{index}"
            asked = certification(name, ["done", 1.0], value=float(index))
            await broker.submit(asked, keep_result=False)
        for index, broker in enumerate(brokers * 2):
            assert (await certificate(broker, f"c{index}"))["upper"] == 1.0


async def test_the_search_ends_before_the_deadline():
    async with site() as (at, _):
        await at.submit(certification("c", ["done", 1.0], deadline=time.time() + 6.0))
        assert 0 < (await certificate(at.broker, "c"))["budget_s"] < 6.0


async def test_a_deadline_that_passes_is_told_and_ends_the_process():
    async with site() as (at, _):
        asked = certification("c", ["better", None], ["hang"], deadline=time.time() + 4.0)
        await at.submit(asked)
        pid = (await best_of(at.broker, "c"))["pid"]
        with pytest.raises(DeadlineExceeded):
            await at.broker.result("c")
        await until(lambda: not is_alive(pid))


async def test_a_bound_is_an_answer_at_the_deadline():
    async with site() as (at, _):
        asked = certification("c", ["better", 3.0], ["hang"], deadline=time.time() + 4.0)
        await at.submit(asked)
        assert (await certificate(at.broker, "c"))["upper"] == 3.0


async def test_draining_lets_a_certification_end(tmp_path: Path):
    async with site() as (at, _):
        go = tmp_path / "go"
        await at.submit(certification("c", ["better", 2.0], ["wait for", str(go)], ["done", 1.0]))
        await best_of(at.broker, "c")
        draining = asyncio.create_task(at.worker.drain(20.0))
        await at.submit(certification("d", ["done", 1.0], value=1.0))
        await asyncio.to_thread(go.touch)
        await draining
        assert (await certificate(at.broker, "c"))["upper"] == 1.0
        assert (await at.broker.state("d")).status == "queued"


async def test_what_does_not_end_in_time_is_handed_back():
    async with site() as (at, _):
        await at.submit(certification("c", ["better", 2.0], ["hang"]))
        pid = (await best_of(at.broker, "c"))["pid"]
        await at.worker.drain(0.01)
        assert (await at.broker.state("c")).status == "queued"
        await until(lambda: not is_alive(pid))


async def test_unloading_a_model_hands_its_certifications_back():
    async with site() as (at, _):
        await at.submit(certification("c", ["better", 2.0], ["hang"]))
        await best_of(at.broker, "c")
        await at.worker.unload(MODEL)
        assert (await at.broker.state("c")).status == "queued"


async def test_a_job_tells_how_much_of_its_budget_is_spent():
    async with site(lease_s=0.03) as (at, _):
        asked = certification("c", ["better", 2.0], ["hang"], budget_s=1.0)
        await at.submit(asked, keep_result=True)
        while not 0 < (await at.broker.state("c")).progress < 1:
            await anyio.lowlevel.checkpoint()
        await at.broker.cancel("c")


async def test_stopping_the_worker_leaves_no_process():
    async with site() as (at, _):
        await at.submit(certification("c", ["better", 2.0], ["hang"]))
        pid = (await best_of(at.broker, "c"))["pid"]
    with anyio.fail_after(10):
        await until(lambda: not is_alive(pid))
