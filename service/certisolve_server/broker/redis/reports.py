"""What a worker tells of its jobs: their frames, answers and errors."""

from collections.abc import Sequence
from typing import Any

from certisolve_server.broker.base import Claim
from certisolve_server.broker.envelope import encode_error, encode_outcome
from certisolve_server.errors import QueueFull, QueueUnavailable, ServingError
from certisolve_server.jobs import Frame, Outcome

from .connection import Connection
from .records import Records, groups


class Reports:
    """Tells Redis what came of jobs.

    Arguments:
        connection: to Redis.
        records: of the worker.
    """

    def __init__(self, connection: Connection, records: Records) -> None:
        self._connection = connection
        self._records = records

    async def publish(self, frames: Sequence[tuple[Claim, Frame]]) -> None:
        """Tell frames.

        Raises:
            QueueUnavailable: out of reach; some may have been told.
        """
        for group in groups(frames, lambda pair: _num_bytes(pair[1].outputs)):
            records = [self._records.frame(claim, frame) for claim, frame in group]
            claims = [claim for claim, _ in group]
            for record, told in zip(records, await self._tell(claims, records), strict=True):
                if not told:
                    self._records.remove(record)

    async def complete(self, answers: Sequence[tuple[Claim, Outcome]]) -> int:
        """End jobs with answers, however long Redis is out of reach; how many came too late."""
        num_late = 0
        for group in groups(answers, lambda pair: _num_bytes(pair[1].outputs + pair[1].states)):
            records = [self._records.answer(claim, outcome) for claim, outcome in group]
            replies = await self._answer(group, records)
            for (claim, outcome), record, reply in zip(group, records, replies, strict=True):
                if reply != b"ok":
                    self._records.remove(record)
                if reply == b"kept":
                    [reply] = await self._answer(
                        [(claim, outcome)], [encode_outcome(outcome).to_bytes()]
                    )
                num_late += reply == b"late"
        return num_late

    async def fail(self, job_id: str, token: int, error: ServingError) -> bool:
        """End a job with an error, however long Redis is out of reach; False if too late."""
        values = (job_id, token, "failed", "error", encode_error(error), "")
        return bool(await self._connection.run_until_done("answer", *values) == [b"ok"])

    async def _tell(self, claims: Sequence[Claim], records: Sequence[bytes]) -> list[int]:
        values: list[Any] = []
        for claim, record in zip(claims, records, strict=True):
            values += (claim.job.id, claim.token, record)
        try:
            return list(await self._connection.run("publish", *values))
        except QueueFull:
            # Without memory, ends go first; they have all frames.
            return [0] * len(records)
        except QueueUnavailable:
            for record in records:
                self._records.remove(record)
            raise

    async def _answer(
        self, answers: Sequence[tuple[Claim, Outcome]], records: Sequence[bytes]
    ) -> list[bytes]:
        values: list[Any] = []
        for (claim, outcome), record in zip(answers, records, strict=True):
            seconds = outcome.timings.compute_ms / 1e3 / outcome.batch_size
            values += (claim.job.id, claim.token, "succeeded", "result", record, f"{seconds:.9f}")
        return list(await self._connection.run_until_done("answer", *values))


def _num_bytes(arrays: Sequence[Any]) -> int:
    return sum(array.nbytes for array in arrays)
