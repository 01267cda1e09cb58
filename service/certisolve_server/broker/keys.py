"""Callers' names for their submissions."""

from collections import OrderedDict
from typing import NamedTuple

from certisolve_server.errors import IdempotencyConflict
from certisolve_server.jobs import SolveJob

from .base import Idempotency


class _Key(NamedTuple):
    digest: str
    job_id: str


class IdempotencyKeys:
    """Which job a key stands for, until some time after its end. Pure: time is an argument.

    Arguments:
        ttl_s: seconds after the end of a job for which its key is remembered.
    """

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._keys: dict[tuple[str, str], _Key] = {}
        self._names: dict[str, tuple[str, str]] = {}
        self._expiries: OrderedDict[str, float] = OrderedDict()

    def find(self, tenant: str, wanted: Idempotency, now: float) -> str | None:
        """The job of a key; None for a new one.

        Raises:
            IdempotencyConflict: it was used for a request with another digest.
        """
        self._forget(now)
        known = self._keys.get((tenant, wanted.key))
        if known is None:
            return None
        if known.digest != wanted.digest:
            raise IdempotencyConflict(
                f"the idempotency key {wanted.key!r} was used for another request",
                field="Idempotency-Key",
            )
        return known.job_id

    def put(self, job: SolveJob, idempotency: Idempotency) -> None:
        """Remember that a key stands for a job."""
        name = (job.terms.tenant, idempotency.key)
        self._keys[name] = _Key(idempotency.digest, job.id)
        self._names[job.id] = name

    def ended(self, job_id: str, now: float) -> None:
        """Forget the job's key after a while; it may have none."""
        if job_id in self._names:
            self._expiries[job_id] = now + self._ttl_s
            self._expiries.move_to_end(job_id)

    def _forget(self, now: float) -> None:
        while self._expiries and next(iter(self._expiries.values())) <= now:
            job_id, _ = self._expiries.popitem(last=False)
            del self._keys[self._names.pop(job_id)]
