"""Whatever dies: every accepted job gets exactly one answer, the right one, and nobody else's."""

import asyncio
import contextlib
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certisolve import AsyncClient, ConnectionFailed, RetryPolicy, Solution, Unavailable
from fleet import Fleet, Process, run_fleet
from ledger import Ledger

_NUM_CLIENTS = 32
_MAX_ATTEMPTS = 60
_TIMEOUT_S = 60.0
_LONGEST_PAUSE_S = 0.5
#: Points of a `work` request: some 50 ms for each batch of up to four.
_WORK_POINTS = 560
#: No job may be put aside for the deaths that the test itself causes.
_OPTIONS = ("--lease-s", "1.5", "--max-deliveries", "50")


@dataclass(frozen=True)
class Request:
    """One request; no two have a value in common.

    Attributes:
        way: `solve`, `submit`, or `keyed` for a submission that is sent again under its key.
        expected: the exact answer.
    """

    index: int
    way: str
    model: str
    inputs: Mapping[str, Any]
    parameters: Mapping[str, float]
    expected: Any


@dataclass
class Score:
    """What clients saw.

    Attributes:
        counts: of requests, retries and kinds of refusal.
        longest_s: from a request to its answer.
        jobs: id of the job of every submission that was accepted, by request.
    """

    counts: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    jobs: dict[int, str] = field(default_factory=dict)


class Gate:
    """Lets the load run on only as far as the deaths have come, and the other way round."""

    def __init__(self, num_requests: int, num_events: int) -> None:
        self._width = num_requests // (num_events + 1)
        self._num_begun = self._num_events = 0
        self._moved = asyncio.Condition()

    async def begin(self, index: int) -> None:
        """Wait until request `index` may start."""
        async with self._moved:
            await self._moved.wait_for(lambda: index < self._width * (self._num_events + 2))
            self._num_begun += 1
            self._moved.notify_all()

    async def event(self, number: int) -> None:
        """Wait until it is time for the event of this number, from 0."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._num_begun >= self._width * (number + 1))

    async def happened(self) -> None:
        """The next event is over."""
        async with self._moved:
            self._num_events += 1
            self._moved.notify_all()


def make_requests(count: int, rng: random.Random) -> Iterator[Request]:
    """Requests of every kind, in random order."""
    for index in range(count):
        model = rng.choices(("double", "scale", "work"), (3, 2, 5))[0]
        size = {"double": 16, "scale": 32, "work": _WORK_POINTS}[model]
        u0 = (index + np.arange(size) / size).astype(np.float32)
        gain = float(np.float32(rng.uniform(1, 9)))
        expected = {"double": 2 * u0, "scale": u0 * np.float32(gain), "work": u0}[model]
        yield Request(
            index=index,
            way=rng.choices(("solve", "submit", "keyed"), (5, 3, 2))[0],
            model=model,
            inputs={"u0": u0},
            parameters={"gain": gain} if model == "scale" else {},
            expected=expected,
        )


class Caller:
    """Sends requests to whichever gateway answers.

    Arguments:
        clients: one per gateway; none repeats anything by itself.
        score: what happened.
    """

    def __init__(self, clients: list[AsyncClient], score: Score) -> None:
        self._clients = clients
        self._score = score
        self._turns = itertools.count()

    async def answer(self, request: Request) -> Solution:
        """The one answer to a request."""
        self._score.counts[request.way] += 1
        if request.way == "solve":
            return await self._insist(lambda client: self._solve(client, request))
        job_id = await self._insist(lambda client: self._submit(client, request))
        self._score.jobs[request.index] = job_id
        if request.way == "keyed":
            again = await self._insist(lambda client: self._submit(client, request))
            assert again == job_id, f"request {request.index} became two jobs"
        return await self.result(job_id)

    async def result(self, job_id: str) -> Solution:
        """The result of a job, from any gateway."""
        return await self._insist(lambda client: client.job(job_id).wait(_TIMEOUT_S))

    async def _solve(self, client: AsyncClient, request: Request) -> Solution:
        parameters = request.parameters
        return await client.solve(request.model, request.inputs, parameters=parameters)

    async def _submit(self, client: AsyncClient, request: Request) -> str:
        key = f"request-{request.index}" if request.way == "keyed" else None
        job = await client.submit_solve(
            request.model, request.inputs, parameters=request.parameters, idempotency_key=key
        )
        return job.id

    async def _insist(self, call: Any) -> Any:
        """Call one gateway after the other until one answers."""
        for attempt in range(_MAX_ATTEMPTS):
            client = self._clients[next(self._turns) % len(self._clients)]
            try:
                return await call(client)
            except (ConnectionFailed, Unavailable) as error:
                self._score.counts[_name(error)] += 1
            await asyncio.sleep(min(0.02 * 2**attempt, _LONGEST_PAUSE_S))
        raise AssertionError(f"no gateway answered in {_MAX_ATTEMPTS} attempts")


class Reaper:
    """Kills processes in an order drawn in advance, and starts them again at once.

    Arguments:
        fleet: whose.
        rng: draws order and victims.
        num_worker_kills: beside one gateway and Redis.
    """

    def __init__(self, fleet: Fleet, rng: random.Random, num_worker_kills: int) -> None:
        self.events = ["worker"] * num_worker_kills
        for rare in ("gateway", "redis"):
            self.events.insert(rng.randrange(1, len(self.events)), rare)
        self.num_busy = 0
        self._fleet = fleet
        self._rng = rng

    async def run(self, gate: Gate) -> None:
        """Let everything happen that was drawn, each when the load has come that far."""
        async with asyncio.TaskGroup() as restarts:
            for number, event in enumerate(self.events):
                await gate.event(number)
                if event == "redis":
                    await asyncio.to_thread(self._restart_redis)
                else:
                    victim = await asyncio.to_thread(self._kill, event)
                    restarts.create_task(asyncio.to_thread(victim.wait_until_ready))
                await gate.happened()

    def _kill(self, event: str) -> Process:
        victim = (
            self._busy_worker() if event == "worker" else self._rng.choice(self._fleet.gateways)
        )
        victim.kill()
        victim.launch()
        return victim

    def _busy_worker(self) -> Process:
        """A worker at work, if one is within some seconds."""
        give_up_at = time.monotonic() + 5.0
        while True:
            ready = [worker for worker in self._fleet.workers if worker.is_ready]
            holding = set(self._fleet.holders().values())
            busy = [worker for worker in ready if worker.name in holding]
            late = time.monotonic() > give_up_at
            if busy or (ready and late):
                self.num_busy += bool(busy)
                return self._rng.choice(busy or ready)
            time.sleep(0.01)

    def _restart_redis(self) -> None:
        self._fleet.redis.stop(signal.SIGKILL)
        self._fleet.redis.start()


@dataclass(frozen=True)
class Scene:
    """How much of everything."""

    num_requests: int
    num_workers: int
    num_worker_kills: int
    seed: int


def play(scene: Scene, models: Path, directory: Path) -> str:
    """Run a scene, check every answer; what happened, for people."""
    with run_fleet(
        models, directory, gateways=2, workers=scene.num_workers, options=_OPTIONS
    ) as fleet:
        started_at = time.monotonic()
        rng = random.Random(scene.seed)
        requests = list(make_requests(scene.num_requests, rng))
        reaper = Reaper(fleet, rng, scene.num_worker_kills)
        score = asyncio.run(_drive(fleet, requests, reaper))
        duration_s = time.monotonic() - started_at
        assert fleet.operate("status").startswith("0 jobs, 0 bytes")
        assert fleet.operate("dead") == "no job was put aside\n"
        assert fleet.segment_paths() == []
    ledger = Ledger(fleet.redis.directory)
    _check_ledger(ledger, score)
    return _summary(scene, reaper, ledger, score, duration_s)


async def _drive(fleet: Fleet, requests: list[Request], reaper: Reaper) -> Score:
    score, gate = Score(), Gate(len(requests), len(reaper.events))
    pending = iter(requests)
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                AsyncClient(gateway.http, timeout=_TIMEOUT_S, retry=RetryPolicy(max_attempts=1))
            )
            for gateway in fleet.gateways
        ]
        caller = Caller(clients, score)

        async def call_one_by_one() -> None:
            for request in pending:
                await gate.begin(request.index)
                begun_at = time.monotonic()
                _check(request, await caller.answer(request))
                score.longest_s = max(score.longest_s, time.monotonic() - begun_at)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reaper.run(gate))
            for _ in range(_NUM_CLIENTS):
                tasks.create_task(call_one_by_one())
        for index, job_id in score.jobs.items():
            _check(requests[index], await caller.result(job_id))
    return score


def _check(request: Request, solution: Solution) -> None:
    answer = solution.fields["u"]
    right = np.array_equal(answer, request.expected)
    assert right, f"request {request.index} ({request.model}) was answered with {answer[:3]}"


def _check_ledger(ledger: Ledger, score: Score) -> None:
    # What nobody waits for any more may have been cancelled, or forgotten in the outage.
    assert set(ledger.ends) <= {"succeeded", "cancelled", "forgotten"}, ledger.ends
    assert len(set(score.jobs.values())) == len(score.jobs), "two requests became one job"
    for job_id in score.jobs.values():
        assert ledger.jobs[job_id].ends == ["succeeded"], job_id
        assert ledger.jobs[job_id].num_accepted == 1
    assert ledger.ends["succeeded"] >= score.counts["solve"] + len(score.jobs)


def _summary(scene: Scene, reaper: Reaper, ledger: Ledger, score: Score, duration_s: float) -> str:
    redelivered = ledger.total("num_deliveries") - ledger.total("num_accepted")
    return (
        f"{scene.num_requests} requests in {duration_s:.1f} s: {dict(score.counts)}, "
        f"the slowest answered after {score.longest_s:.1f} s; "
        f"{len(reaper.events)} deaths, {reaper.num_busy} of them of workers with jobs in hand; "
        f"{len(ledger.jobs)} jobs: {dict(ledger.ends)}, {ledger.total('num_deliveries')} "
        f"deliveries ({redelivered} more than jobs), {ledger.total('num_crashes')} jobs ran while "
        "their worker died"
    )


def _name(error: ConnectionFailed | Unavailable) -> str:
    return error.code if isinstance(error, Unavailable) else "connection_failed"


def test_nothing_is_lost_doubled_or_crossed_while_processes_die(
    fleet_models: Path, tmp_path: Path, report: Callable[[str], None]
) -> None:
    scene = Scene(num_requests=300, num_workers=2, num_worker_kills=3, seed=1)
    report(play(scene, fleet_models, tmp_path / "fleet"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_thousand_jobs_survive_the_deaths_of_workers_a_gateway_and_redis(
    fleet_models: Path, tmp_path: Path, report: Callable[[str], None]
) -> None:
    scene = Scene(num_requests=2000, num_workers=3, num_worker_kills=12, seed=2)
    report(play(scene, fleet_models, tmp_path / "fleet"))
