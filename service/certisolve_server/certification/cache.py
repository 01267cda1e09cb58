"""Certificates that were found before; pure."""

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Kept:
    """A certificate, and how it was searched for.

    Attributes:
        document: JSON.
        upper: inf where nothing was proven.
        lower: proven, 0 without a witness.
        is_exhausted: whether a search ended with nothing left to do.
        budget_s: seconds it was given.
        max_splits: at most so many cuts; None for any number.
    """

    document: bytes
    upper: float
    lower: float
    is_exhausted: bool
    budget_s: float
    max_splits: int | None

    def serves(self, search: Mapping[str, Any]) -> bool:
        """Whether this search would be answered as well by what is known.

        It is if the gap it asks for is reached, if another ended with nothing left to do, or if
        another had as much time and as many cuts.
        """
        if self.upper <= search["gap"] * self.lower:
            return True
        if _splits(self.max_splits) < _splits(search["max_splits"]):
            return False
        return self.is_exhausted or self.budget_s >= search["budget_s"]

    @property
    def rank(self) -> tuple[float, float]:
        """Smaller is better."""
        return self.upper, -self.lower


class CertificateCache:
    """The best certificate of each question; of the least recently used, the first is forgotten.

    Arguments:
        max_bytes: of all documents together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._num_bytes = 0

    def find(self, key: str, search: Mapping[str, Any]) -> bytes | None:
        """A certificate that answers a question as well as this search would; None if none does.

        Args:
            key: of the question.
            search: how long and how well: `budget_s`, `gap`, `max_splits`.
        """
        kept = self._kept.get(key)
        if kept is None or not kept.serves(search):
            return None
        self._kept.move_to_end(key)
        return kept.document

    def put(self, key: str, search: Mapping[str, Any], document: bytes) -> bytes:
        """Take in what a search found; the best that is known, which may have been there before."""
        found = _kept(document, search)
        known = self._kept.pop(key, None)
        if known is not None:
            self._num_bytes -= len(known.document)
        best = known if known is not None and known.rank <= found.rank else found
        if known is None or best is found or found.budget_s <= known.budget_s:
            kept = best
        else:
            # A longer search found nothing better: one as long need not be made again.
            kept = replace(found, document=best.document, upper=best.upper, lower=best.lower)
        self._kept[key] = kept
        self._num_bytes += len(kept.document)
        self._forget()
        return kept.document

    def __len__(self) -> int:
        return len(self._kept)

    def _forget(self) -> None:
        while self._num_bytes > self._max_bytes and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._num_bytes -= len(oldest.document)


def _kept(document: bytes, search: Mapping[str, Any]) -> Kept:
    said = json.loads(document)
    upper = math.inf if said["upper"] is None else said["upper"]
    return Kept(
        document=document,
        upper=upper,
        lower=said["lower"],
        is_exhausted=said["status"] == "certified" and not upper <= search["gap"] * said["lower"],
        # One that was cut short was given less than it was to have.
        budget_s=0.0 if "search" in said.get("methods", {}) else search["budget_s"],
        max_splits=search["max_splits"],
    )


def _splits(count: int | None) -> float:
    return math.inf if count is None else count
