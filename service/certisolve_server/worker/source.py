"""A broker as a worker uses it: what it holds of it, and what it still owes it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from certisolve_server.broker import AbstractBroker, Capacity, Claim
from certisolve_server.errors import QueueUnavailable, ServingError
from certisolve_server.jobs import Frame, Outcome, Pool
from certisolve_server.telemetry import Metrics

from .outage import Outage

T = TypeVar("T")
Answer = tuple[Claim, Outcome]

_log = logging.getLogger(__name__)
# Answers that may wait for a broker that is out of reach, before no more jobs are taken from it.
_MAX_UNREPORTED_BYTES = 256 << 20
# Signs of life per lease: two may be lost on the way.
_BEATS_PER_LEASE = 3
#: How often is told how far jobs of many steps are.
_PROGRESS_S = 1.0


class Source:
    """Claims jobs of one broker, keeps their leases alive and reports how they ended.

    Reports go out one after the other, in the background: those that come meanwhile travel
    together, and a broker out of reach keeps nobody waiting but itself.

    Arguments:
        broker: whose jobs.
        pool: of the jobs.
        lease_s: seconds after which it takes a silent worker for dead.
        max_unreported: jobs that may wait to be reported, before no more are claimed.
        outage: of the broker, where others use it too.
        metrics: what is counted.
        changed: called when something was reported, or claims were let go.
        progress: by job, the share that is done; of jobs that may say so.
    """

    def __init__(
        self,
        broker: AbstractBroker,
        *,
        pool: Pool = "device",
        lease_s: float,
        max_unreported: int,
        outage: Outage | None = None,
        metrics: Metrics,
        changed: Callable[[], None],
        progress: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._broker = broker
        self._pool: Pool = pool
        self._beat_s = lease_s / _BEATS_PER_LEASE
        self._max_unreported = max_unreported
        self._metrics = metrics
        self._changed = changed
        self._progress = progress
        self._outage = outage or Outage()
        self._held: dict[str, Claim] = {}
        self._claimer: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._owed = asyncio.Event()
        self._owed_frames: list[tuple[Claim, Frame]] = []
        self._owed_answers: list[Answer] = []
        self._owed_failures: list[tuple[Claim, ServingError]] = []
        self._owed_releases: list[Claim] = []
        self._num_unreported = 0
        self._unreported_bytes = 0

    # --- Jobs come --------------------------------------------------------------------------------

    async def claim(self, capacity: Capacity, *, start: bool) -> Sequence[Claim]:
        """Jobs of one lane; none when interrupted, or after a pause when out of reach."""
        self._claimer, self._interrupted = asyncio.current_task(), False
        try:
            claims = await self._broker.claim(capacity, start=start)
        except asyncio.CancelledError:
            if not self._resume_interrupted():
                raise
            return ()
        except Exception as error:
            self._claimer = None
            await self._outage.wait(error)
            return ()
        finally:
            self._claimer = None
            self._changed()
        self._outage.over()
        return claims

    @property
    def claiming(self) -> bool:
        """Whether jobs may come at any moment."""
        return self._claimer is not None

    def interrupt(self) -> None:
        """Let a waiting `claim` return, because what can be batched has changed."""
        # A timeout without a limit would do, but its bookkeeping takes longer than a small claim.
        if self._claimer is not None and not self._interrupted:
            self._interrupted = True
            self._claimer.cancel()

    def _resume_interrupted(self) -> bool:
        """Take back an interruption; False if the task is to end as well."""
        return self._interrupted and self._claimer is not None and self._claimer.uncancel() == 0

    @property
    def congested(self) -> bool:
        """Whether so much is unreported that no more jobs should be claimed."""
        return (
            self._num_unreported >= self._max_unreported
            or self._unreported_bytes >= _MAX_UNREPORTED_BYTES
        )

    def hold(self, claim: Claim) -> None:
        """Keep a claim's lease alive until its job is reported."""
        self._held[claim.job.id] = claim

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is held still: not reported, cancelled or lost."""
        held = self._held.get(claim.job.id)
        return held is not None and held.token == claim.token

    async def start(self, claims: Sequence[Claim]) -> set[str]:
        """Mark jobs as running; the ids of those that may run."""
        waiting = [claim for claim in claims if not claim.started]
        if not waiting:
            return {claim.job.id for claim in claims}
        wanted = {claim.job.id for claim in claims if claim.started}
        try:
            wanted |= {claim.job.id for claim in await self._broker.start(waiting)}
        except ServingError:
            # Nobody can say whether they are still wanted; they will come again.
            self.release(waiting)
        else:
            self._let_go([claim for claim in waiting if claim.job.id not in wanted])
        return wanted

    # --- Jobs go ----------------------------------------------------------------------------------

    def tell(self, claim: Claim, frame: Frame) -> None:
        """Tell a frame soon, if the broker can be reached; the answer will hold it again."""
        self._owed_frames.append((claim, frame))
        self._owed.set()

    def answer(self, answers: Sequence[Answer], num_bytes: int) -> None:
        """Report answers, of `num_bytes` together, soon."""
        self._owed_answers += answers
        self._unreported_bytes += num_bytes
        self._owe(len(answers))

    def fail(self, claim: Claim, error: ServingError) -> None:
        """Report an error soon."""
        self._owed_failures.append((claim, error))
        self._owe(1)

    def release(self, claims: Sequence[Claim]) -> None:
        """Hand jobs back soon."""
        self._owed_releases += claims
        self._owe(len(claims))

    @property
    def settled(self) -> bool:
        """Whether everything is reported."""
        return not self._num_unreported

    async def report_forever(self) -> None:
        """Report what is owed, as soon as the broker can be reached."""
        while True:
            await self._owed.wait()
            self._owed.clear()
            count, num_bytes = self._num_unreported, self._unreported_bytes
            await self._report_all()
            self._num_unreported -= count
            self._unreported_bytes -= num_bytes
            self._changed()

    async def _report_all(self) -> None:
        answers, self._owed_answers = self._owed_answers, []
        failures, self._owed_failures = self._owed_failures, []
        releases, self._owed_releases = self._owed_releases, []
        frames, self._owed_frames = self._owed_frames, []
        if frames:
            await self._publish(frames)
        if answers:
            await self._complete(answers)
        for claim, error in failures:
            heard = await self._insist(partial(self._broker.fail, claim, error), [claim])
            self._count_fenced(heard is False)
        if releases:
            await self._insist(partial(self._broker.release, releases), releases)

    async def _publish(self, frames: Sequence[tuple[Claim, Frame]]) -> None:
        try:
            await self._broker.publish(frames)
        except QueueUnavailable:
            # They go with the next: a gap would hold back all frames after it until the end.
            self._owed_frames[:0] = frames
        except Exception as error:
            _log.warning("frames_untold count=%d", len(frames), exc_info=error)

    async def _complete(self, answers: Sequence[Answer]) -> None:
        claims = [claim for claim, _ in answers]
        num_fenced = await self._insist(partial(self._broker.complete, answers), claims)
        if num_fenced is None and len(answers) > 1:
            # One that cannot be said must not silence the others.
            for answer in answers:
                await self._complete([answer])
        else:
            self._count_fenced(num_fenced)

    def _count_fenced(self, count: int | None) -> None:
        if count:
            self._metrics.fenced(count)

    async def _insist(
        self, report: Callable[[], Awaitable[T]], claims: Sequence[Claim]
    ) -> T | None:
        """Report until it is heard; None if it cannot be said at all."""
        try:
            while True:
                try:
                    result = await report()
                except QueueUnavailable as error:
                    await self._outage.wait(error)
                else:
                    self._outage.over()
                    return result
        except Exception:
            # Their leases run out, so that another worker gets them.
            _log.exception("report_failed jobs=%s", ",".join(claim.job.id for claim in claims))
            return None
        finally:
            self._let_go(claims)

    def _owe(self, count: int) -> None:
        self._num_unreported += count
        self._owed.set()

    def _let_go(self, claims: Sequence[Claim]) -> list[Claim]:
        """Hold claims no longer; those that were held, and not again since."""
        return [self._held.pop(claim.job.id) for claim in claims if self.holds(claim)]

    # --- Signs of life ----------------------------------------------------------------------------

    async def beat_forever(self, on_lost: Callable[[str], None]) -> None:
        """Renew leases, and take jobs from workers that do not; between beats, tell progress.

        Args:
            on_lost: told the id of each job that is no longer ours or wanted.
        """
        loop = asyncio.get_running_loop()
        next_beat = loop.time() + self._beat_s
        while True:
            await asyncio.sleep(min(_PROGRESS_S, self._beat_s))
            progress = self._progress()
            try:
                if loop.time() < next_beat:
                    await self._renew([j for j in progress if j in self._held], progress, on_lost)
                else:
                    await self._renew(list(self._held), progress, on_lost)
                    await self._reap()
                    next_beat = loop.time() + self._beat_s
            except Exception as error:
                await self._outage.wait(error)
            else:
                self._outage.over()

    async def heed_forever(self, on_lost: Callable[[str], None]) -> None:
        """Hear of cancelled jobs at once.

        Args:
            on_lost: told the id of each.
        """
        while True:
            try:
                job_ids = await self._broker.cancelled(self._pool)
            except Exception as error:
                await self._outage.wait(error)
                continue
            claims = [self._held[job_id] for job_id in job_ids if job_id in self._held]
            for claim in self._let_go(claims):
                on_lost(claim.job.id)
            self._changed()

    async def _renew(
        self,
        job_ids: Sequence[str],
        progress: Mapping[str, float],
        on_lost: Callable[[str], None],
    ) -> None:
        if not job_ids:
            return
        lost = await self._broker.renew([self._held[job_id] for job_id in job_ids], progress)
        self._metrics.leases_renewed(len(job_ids) - len(lost))
        for claim in self._let_go(lost):
            on_lost(claim.job.id)

    async def _reap(self) -> None:
        reaped = await self._broker.reap()
        if reaped.num_redelivered:
            self._metrics.redelivered(reaped.num_redelivered)
        if reaped.num_dead:
            self._metrics.dead_lettered(reaped.num_dead)
