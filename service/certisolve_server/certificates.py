"""From a worker's arrays to certificates, whole or as they get better."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from typing import Self

from .answers import Certified
from .certification import question
from .certification.cache import CertificateCache
from .certification.version import CERTIFIER
from .errors import ErrorCode, ServingError
from .jobs import Array, Outcome, SolveJob
from .pending import Pending
from .telemetry import Metrics

# Hashing more than this would keep other requests waiting.
_MAX_HASHED_IN_PLACE = 1 << 20


def certified_of(outputs: Sequence[Array]) -> Certified:
    """The certificate in the arrays of an outcome or a frame."""
    [document] = outputs
    return Certified(document.tobytes())


class KnownCertificates:
    """Certificates that were asked for through this process, to answer the same question at once.

    Arguments:
        max_bytes: of all together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._cache = CertificateCache(max_bytes)

    async def find(self, job: SolveJob) -> Certified | None:
        """A certificate that answers a job as well as its search would; None if none is known."""
        document = self._cache.find(await _key(job), question.search_of(job.work.question))
        return None if document is None else Certified(document)

    async def best(self, job: SolveJob, outcome: Outcome) -> Certified:
        """The better one of what a job found and what is known; it is known from here on."""
        [found] = outcome.outputs
        search = question.search_of(job.work.question)
        if job.terms.deadline is not None:
            # The deadline may have ended the search before its budget did.
            search = {**search, "budget_s": 0.0}
        return Certified(self._cache.put(await _key(job), search, found.tobytes()))


async def _key(job: SolveJob) -> str:
    asked = question.Question(job.work.question, job.inputs)
    compute = partial(question.key, asked, job.model, CERTIFIER)
    return compute() if job.num_bytes <= _MAX_HASHED_IN_PLACE else await asyncio.to_thread(compute)


class CertifyStream(AsyncIterator[Certified]):
    """Certificates as they get better, each without its evidence but for the last.

    Whoever is done with it closes it (`contextlib.aclosing`): that cancels the job, unless it has
    ended. A worker that takes the job over begins anew; what it finds is told once it is better.

    Arguments:
        pending: the wait for the job.
        model: its name.
        patience_s: longest wait for the next certificate where there is no deadline.
        metrics: where the end of the stream is counted.

    Raises:
        ServingError: while it is read: the job failed, or nothing came in time.
    """

    def __init__(
        self, pending: Pending, model: str, *, patience_s: float, metrics: Metrics
    ) -> None:
        self._pending = pending
        self._model = model
        self._patience_s = patience_s
        self._metrics = metrics
        self._told = self._tell()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Certified:
        return await anext(self._told)

    async def aclose(self) -> None:
        """Cancel the job, unless it has ended."""
        await self._told.aclose()
        if not self._ended:
            self._end(ErrorCode.CANCELLED)
            await self._pending.abandon()

    async def _tell(self) -> AsyncGenerator[Certified, None]:
        try:
            async for better in self._improvements():
                yield better
            # It is there: frames end with the job.
            outcome = await self._pending.outcome(self._patience_s)
            if outcome is None:
                raise await self._pending.given_up()
        except ServingError as error:
            self._end(error.code)
            raise
        self._end("ok")
        yield certified_of(outcome.outputs)

    async def _improvements(self) -> AsyncGenerator[Certified, None]:
        frames = self._pending.broker.frames(self._pending.id)
        best = (math.inf, math.inf)
        while True:
            try:
                async with asyncio.timeout(self._limit_s()):
                    frame = await anext(frames, None)
            except TimeoutError as error:
                raise await self._pending.given_up() from error
            if frame is None:
                return
            found = certified_of(frame.outputs)
            rank = _rank(found)
            if rank < best and not _is_last(found):
                best = rank
                yield found

    def _limit_s(self) -> float:
        left_s = self._pending.left_s()
        return self._patience_s if left_s is None else left_s

    def _end(self, result: str) -> None:
        self._ended = True
        self._metrics.request_done(self._model, result)


def _rank(certified: Certified) -> tuple[float, float]:
    """Smaller is better."""
    said = certified.told()
    return math.inf if said["upper"] is None else said["upper"], -said["lower"]


def _is_last(certified: Certified) -> bool:
    # Of a job whose frames were all lost, the answer is the one frame.
    return bool(certified.told()["status"] != "improving")
