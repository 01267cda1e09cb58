"""Whose turn it is: lanes take turns, and sit out as many as their last step was too long."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from math import floor


class FairShare:
    """A round of lanes, each with a credit of device time: surplus round robin, a step a turn.

    In each round a lane earns one quantum; it steps in its turn if it has credit, and pays
    afterwards. Unused credit is not saved up. A debt outlasts leaving, so that coming back does
    not pay. (Deficit round robin of Shreedhar & Varghese, 1996, but for jobs whose length is
    known only when they are done.)

    Lanes that are always busy share device time equally, as long as steps take longer than a
    quantum and less than the largest charge; beyond, they take turns. A lane that enters anew steps
    after at most one step of each other lane. A lane that was charged d steps again after at most
    d / quantum + 1 rounds, in each of which every other lane steps at most once.

    Arguments:
        quantum_s: device time in seconds; shorter steps count as equally long.
        max_charge_s: the most that one step is charged, in seconds: one that hung once does not
            silence its lane for as long again.
    """

    def __init__(self, quantum_s: float, max_charge_s: float) -> None:
        if not 0.0 < quantum_s <= max_charge_s:
            raise ValueError(f"0 < quantum <= largest charge, not {quantum_s} and {max_charge_s}")
        self._quantum_s = quantum_s
        self._max_charge_s = max_charge_s
        self._credit_s: OrderedDict[Hashable, float] = OrderedDict()
        self._left: set[Hashable] = set()

    def enter(self, lane: Hashable) -> None:
        """A lane has work; it had none."""
        self._left.discard(lane)
        self._credit_s.setdefault(lane, self._quantum_s)
        self._credit_s.move_to_end(lane)

    def leave(self, lane: Hashable) -> None:
        """A lane has no work any more."""
        self._left.add(lane)
        self._earn(lane, 0)
        if len(self._left) == len(self._credit_s):
            self._left.clear()
            self._credit_s.clear()

    def next(self, ready: Iterable[Hashable]) -> Hashable | None:
        """Which of the lanes that could step has its turn; None if there are none."""
        candidates = set(ready)
        if not candidates:
            return None
        self._skip_rounds(max(self._credit_s[lane] for lane in candidates))
        while True:
            lane = next(iter(self._credit_s))
            if lane in candidates and self._credit_s[lane] > 0.0:
                return lane
            self._end_turn(lane)

    def charge(self, lane: Hashable, seconds: float) -> None:
        """The lane whose turn it is has stepped; this long."""
        self._credit_s[lane] -= min(max(seconds, 0.0), self._max_charge_s)
        self._end_turn(lane)

    def __len__(self) -> int:
        return len(self._credit_s)

    def _skip_rounds(self, largest_credit_s: float) -> None:
        """All rounds at once in which every lane would sit out."""
        rounds = floor(-largest_credit_s / self._quantum_s)
        if rounds > 0:
            for lane in list(self._credit_s):
                self._earn(lane, rounds)

    def _end_turn(self, lane: Hashable) -> None:
        self._credit_s.move_to_end(lane)
        self._earn(lane, 1)

    def _earn(self, lane: Hashable, rounds: int) -> None:
        credit_s = min(self._credit_s[lane] + rounds * self._quantum_s, self._quantum_s)
        self._credit_s[lane] = credit_s
        if lane in self._left and credit_s > 0.0:
            self._left.remove(lane)
            del self._credit_s[lane]
