"""All methods side by side, each in its turn; the best bound so far is an answer at any time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from .arithmetic import Interval, require_ieee_threads
from .budget import Budget, Clock
from .certificate import Certificate, Status
from .enclosure import enclosures
from .errors import Contradiction, NotCertified, UnsupportedOperator, is_out_of_memory
from .falsify import attack
from .graph.digest import digest
from .graph.node import Graph
from .methods.method import Board, Bound, Evidence, Method
from .methods.registry import AT_ONCE, METHODS
from .problem import Problem
from .rounding_radius import rounding_radius
from .witness import Witness

#: Of a problem, a seed and the board: ever better witnesses, None where a slice is over.
Attack: TypeAlias = Callable[[Problem, int, Board], Iterator[Witness | None]]

#: Changes of a bound by less than this are not worth a line of the history, but for the last.
_NOTABLE = 1e-3

#: Of the time that others get, that of the enclosure of the output is so much less.
_ENCLOSURE_PRICE = 8.0

#: Whoever leads is likely to find more.
_LEADER_PRICE = 0.25

#: Of those who can wait while nothing finite is proven.
_EARLY_PRICE = 4.0
_CAN_WAIT = AT_ONCE | {"attack"}

#: Then of those that say all at once.
_AT_ONCE_PRICE = 0.125


def certify(
    problem: Problem,
    budget: Budget,
    clock: Clock,
    seed: int = 0,
    methods: Sequence[Method] = METHODS,
    attack: Attack = attack,
    executed: Graph | None = None,
) -> Iterator[Certificate]:
    """Ever better certificates; the last one is the answer, and says how the search ended.

    Methods take turns, the one that has run least first, and so do the attack and, less often, the
    enclosure of the output. Each method gets one turn even when the budget is over, as long as
    nothing finite is proven.

    Args:
        problem: what is bounded.
        budget: for how long, and how well.
        clock: tells seconds; this knows none.
        seed: of what is random in the attack.
        methods: cheap ones first.
        attack: what raises the lower bound.
        executed: what the program computes, from `rounding_radius.executed`, for a certificate of
            level `float`; None for level `real`.

    Raises:
        NotCertified: of level `float`: how far rounding leads has no bound.
        UnsupportedOperator: of level `float`: an operator has no rule of rounding.
        InvalidRequest: the region, norms or budget are not ones of the graph.
        Contradiction: a witness exceeds a bound. Never passed over.
        UnsoundArithmetic: a thread of this process does not compute in IEEE arithmetic.
    """
    require_ieee_threads()
    search = _Search(problem, budget, clock, seed)
    if executed is not None:
        search.rounding = rounding_radius(executed, problem.region, problem.norms)
    turns = [_Turns(method.name, method.run(problem, search.board)) for method in methods]
    attacker = _Turns("attack", attack(problem, seed, search.board))
    enclosing = _Turns("enclosure", enclosures(problem), _ENCLOSURE_PRICE)
    # The attack first: what is seen early tells methods when they are done.
    yield from _take_turns(search, [attacker, *turns, enclosing])
    while search.enclosure is None and not enclosing.is_over and search.board.left_s() > 0.0:
        search.take("enclosure", enclosing.step(clock))
    yield search.certificate(_final_status(search))


def _take_turns(search: "_Search", all_turns: "list[_Turns]") -> Iterator[Certificate]:
    while (following := _next(search, all_turns)) is not None:
        found = following.step(search.clock)
        if following.note:
            search.notes.setdefault(following.name, following.note)
        if search.take(following.name, found):
            yield search.certificate("improving")


def _final_status(search: "_Search") -> Status:
    if not search.is_finite:
        return "unbounded"
    is_over = search.is_good_enough or search.board.left_s() > 0.0
    return "certified" if is_over else "budget_exhausted"


def _next(search: "_Search", all_turns: "list[_Turns]") -> "_Turns | None":
    """Who is next; None where the search is over."""
    going = [each for each in all_turns if not each.is_over]
    if search.is_good_enough or not going:
        return None
    fresh = [each for each in going if not each.has_run]
    if search.board.left_s() <= 0.0:
        return fresh[0] if fresh and not search.is_finite else None
    return fresh[0] if fresh else min(going, key=lambda each: _due(each, search))


def _due(turns: "_Turns", search: "_Search") -> float:
    """What its time has cost; that of the method whose bound is the best costs less."""
    price = turns.price
    if turns.name == search.method:
        price *= _LEADER_PRICE
    if turns.name in _CAN_WAIT and not search.is_finite:
        price *= _EARLY_PRICE
    elif turns.name in AT_ONCE:
        price *= _AT_ONCE_PRICE
    return price * turns.spent_s


@dataclass
class _Turns:
    """One method, the attack or the enclosure, while it runs."""

    name: str
    steps: Iterator[Bound | Witness | None] | Iterator[Witness | None] | Iterator[Interval | None]
    price: float = 1.0
    spent_s: float = 0.0
    has_run: bool = False
    is_over: bool = False
    note: str = ""

    def step(self, clock: Clock) -> Bound | Witness | Interval | None:
        """One slice of its work."""
        start = clock()
        self.has_run = True
        try:
            return next(self.steps)
        except StopIteration:
            self.is_over = True
        except (NotCertified, UnsupportedOperator) as refusal:
            self.is_over, self.note = True, str(refusal)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self.is_over, self.note = True, "it takes more memory than there is"
        finally:
            self.spent_s += clock() - start
        return None


@dataclass
class _Search:
    """What is known so far."""

    problem: Problem
    budget: Budget
    clock: Clock
    seed: int
    method: str = ""
    evidence: Evidence = field(default_factory=dict)
    witness: Witness | None = None
    enclosure: Interval | None = None
    rounding: float | None = None
    notes: dict[str, str] = field(default_factory=dict)
    history: list[tuple[float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = self.clock()
        self._graph = digest(self.problem.graph)
        self._rules = tuple(sorted({node.operator for node in self.problem.graph.nodes}))
        self.board = Board(lambda: self.budget.seconds - self.elapsed_s)
        if self.budget.max_cuts is not None:
            self.board.most_cuts = self.budget.max_cuts

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self._start

    @property
    def is_finite(self) -> bool:
        return self.board.upper < float("inf")

    @property
    def is_good_enough(self) -> bool:
        return self.is_finite and self.board.upper <= self.budget.gap * self.board.lower

    def take(self, name: str, found: Bound | Witness | Interval | None) -> bool:
        """Takes note of what was found; whether it makes a bound better than all before."""
        if isinstance(found, Interval):
            self.enclosure = found
            return False
        return found is not None and self._improve(name, found)

    def certificate(self, status: Status) -> Certificate:
        """What is proven by now."""
        return Certificate(
            problem=self.problem,
            upper=self.board.upper,
            lower=self.board.lower,
            method=self.method,
            evidence=self.evidence,
            witness=self.witness,
            history=tuple(self.history),
            notes=dict(self.notes),
            status=status,
            graph=self._graph,
            rules=self._rules,
            enclosure=self.enclosure,
            level="real" if self.rounding is None else "float",
            rounding=self.rounding,
            seed=self.seed,
            elapsed_s=self.elapsed_s,
        )

    def _improve(self, name: str, found: Bound | Witness) -> bool:
        if isinstance(found, Bound):
            self.notes[name] = f"a bound of {found.upper:.6g}"
            better = found.upper < self.board.upper
            if better:
                self.board.upper = found.upper
                self.method, self.evidence = name, found.evidence
        else:
            better = found.lower > self.board.lower
            if better:
                self.board.lower, self.witness = found.lower, found
        if self.board.lower > self.board.upper:
            raise Contradiction(self.method, self.board.upper, self.board.lower)
        if better:
            self._remember()
        return better

    def _remember(self) -> None:
        entry = (self.elapsed_s, self.board.upper, self.board.lower)
        if len(self.history) > 1 and _is_close(self.history[-2], entry):
            self.history[-1] = entry
        else:
            self.history.append(entry)


def _is_close(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return all(abs(a - b) <= _NOTABLE * abs(b) for a, b in zip(one[1:], other[1:], strict=True))
