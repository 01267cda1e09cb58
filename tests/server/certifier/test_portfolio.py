"""Methods take turns, the best bound counts, and nothing that is wrong is passed over."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from certisolve_server.certifier.budget import Budget
from certisolve_server.certifier.errors import Contradiction, InvalidRequest, NotCertified
from certisolve_server.certifier.methods.method import Bound
from certisolve_server.certifier.methods.splitting import Splitting
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.portfolio import certify
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything
from certisolve_server.certifier.verify import Claim, verify
from certisolve_server.certifier.witness import Witness
from small_networks import exported

PROBLEM = Problem(
    prepare(exported(nn.Linear(3, 2), (1, 3)), {"x": (1, 3)}), Everything(), Norms("l2", "l2")
)
POINT = {"x": torch.zeros(1, 3, dtype=torch.float64)}


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scripted:
    """A method that works for so many seconds, and then gives what is written down."""

    name: str
    script: list[tuple[float, object]]
    clock: Clock
    calls: list[str] = field(default_factory=list)
    is_closed: bool = False

    def run(self, _problem, _board) -> Iterator[Bound | None]:
        try:
            for seconds, outcome in self.script:
                self.calls.append(self.name)
                self.clock.now += seconds
                if isinstance(outcome, Exception):
                    raise outcome
                yield Bound(outcome, {"proves": outcome}) if outcome is not None else None
        finally:
            self.is_closed = True

    def recheck(self, _problem, evidence) -> float:
        return float(evidence["proves"])


def witnesses(*lowers: float):
    def attack(_problem, _seed, _board):
        for lower in lowers:
            yield Witness("pair", POINT, POINT, lower)

    return attack


def run(clock, methods, seconds=10.0, gap=1.0, attack=None):
    attack = witnesses() if attack is None else attack
    return list(certify(PROBLEM, Budget(seconds, gap), clock, methods=methods, attack=attack))


def test_every_improvement_is_an_answer_and_the_last_says_how_it_ended():
    clock = Clock()
    methods = [
        Scripted("a", [(0.1, 4.0), (0.1, 5.0), (0.1, 3.0)], clock),
        Scripted("b", [(0.1, 9.0), (0.1, 2.0)], clock),
    ]
    answers = run(clock, methods, attack=witnesses(1.0))
    assert [each.upper for each in answers] == [math.inf, 4.0, 3.0, 2.0, 2.0]
    assert [each.status for each in answers] == ["improving"] * 4 + ["certified"]
    last = answers[-1]
    assert (last.method, last.evidence, last.lower, last.gap) == ("b", {"proves": 2.0}, 1.0, 2.0)
    assert [entry[1:] for entry in last.history] == [
        (math.inf, 1.0),
        (4.0, 1.0),
        (3.0, 1.0),
        (2.0, 1.0),
    ]
    assert last.elapsed_s == pytest.approx(0.5)


def test_who_has_run_least_is_next():
    clock, calls = Clock(), []
    slow = Scripted("slow", [(1.0, None)] * 2, clock, calls)
    quick = Scripted("quick", [(0.3, None)] * 6, clock, calls)
    run(clock, [slow, quick])
    assert calls == ["slow", *["quick"] * 4, "slow", "quick", "quick"]


def test_who_leads_is_given_four_times_as_long():
    clock, calls = Clock(), []
    leader = Scripted("leader", [(0.1, 4.0), *[(0.1, None)] * 8], clock, calls)
    other = Scripted("other", [(0.1, None)] * 3, clock, calls)
    run(clock, [other, leader])
    assert calls[:8] == ["other", *["leader"] * 4, "other", "leader", "leader"]


def test_a_reached_gap_ends_the_search_and_closes_what_runs():
    clock = Clock()
    method = Scripted("a", [(0.1, 2.0)] * 100, clock)
    answers = run(clock, [method], gap=1.5, attack=witnesses(1.0, 1.9))
    assert answers[-1].status == "certified"
    assert answers[-1].lower == 1.9
    assert method.is_closed
    assert len(method.calls) < 100


def test_a_budget_ends_the_search():
    clock = Clock()
    answers = run(clock, [Scripted("a", [(1.0, 5.0)] * 100, clock)], seconds=3.5)
    assert answers[-1].status == "budget_exhausted"
    assert answers[-1].upper == 5.0
    assert answers[-1].elapsed_s == pytest.approx(4.0)


def test_without_time_each_has_one_turn_until_something_is_finite():
    clock = Clock()
    methods = [
        Scripted("a", [(1.0, None)] * 9, clock),
        Scripted("b", [(1.0, 5.0)] * 9, clock),
        Scripted("c", [(1.0, 4.0)] * 9, clock),
    ]
    answers = run(clock, methods, seconds=0.0)
    assert answers[-1].upper == 5.0
    assert [len(each.calls) for each in methods] == [1, 1, 0]


def test_refusals_are_noted_and_the_others_go_on():
    clock = Clock()
    methods = [
        Scripted("a", [(0.1, NotCertified("takes a box"))], clock),
        Scripted("b", [(0.1, 5.0)], clock),
    ]
    assert run(clock, methods)[-1].notes == {"a": "takes a box", "b": "a bound of 5"}
    alone = run(clock, methods[:1])[-1]
    assert (alone.status, alone.upper, alone.gap) == ("unbounded", math.inf, math.inf)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_who_finds_no_memory_stops_and_the_others_go_on(error):
    clock = Clock()
    methods = [Scripted("a", [(0.1, error)], clock), Scripted("b", [(0.1, 5.0)], clock)]
    answer = run(clock, methods)[-1]
    assert answer.upper == 5.0
    assert "memory" in answer.notes["a"]


def test_a_defect_of_one_is_passed_over_by_nobody():
    clock = Clock()
    with pytest.raises(RuntimeError, match="a defect"):
        run(clock, [Scripted("a", [(0.1, RuntimeError("a defect"))], clock)])


def test_a_witness_above_a_bound_ends_everything():
    clock = Clock()
    with pytest.raises(Contradiction, match=r"a proves 2\.0"):
        run(clock, [Scripted("a", [(0.1, 2.0)] * 5, clock)], attack=witnesses(2.1))


def test_what_is_no_bound_cannot_be_given():
    for number in (math.nan, math.inf, -1.0):
        with pytest.raises(NotCertified):
            Bound(number)
        with pytest.raises(NotCertified):
            Witness("pair", POINT, POINT, number)


@pytest.mark.parametrize(
    ("seconds", "gap"), [(-1.0, 1.0), (math.nan, 1.0), (1.0, 0.9), (1.0, math.nan)]
)
def test_budgets_that_are_none_are_refused(seconds, gap):
    with pytest.raises(InvalidRequest):
        Budget(seconds, gap)


def test_no_more_cuts_are_made_than_asked_for():
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    graph = prepare(exported(net, (1, 2)), {"x": (1, 2)})
    ball = Ball({"x": torch.zeros(1, 2, dtype=torch.float64)}, 2.0, "linf")
    problem = Problem(graph, ball, Norms("linf", "linf"))
    for most in (0, 5, 300):
        budget = Budget(30.0, 1.0, most)
        *_, last = certify(problem, budget, Clock(), methods=[Splitting()], attack=witnesses())
        parts = "".join(last.evidence["cuts"]).count(".")
        assert parts <= most + 1


def claimed(clock, **changes):
    answer = run(clock, [Scripted("a", [(0.1, 2.0)], clock)], attack=witnesses(1.0))[-1]
    parts = {
        "graph": answer.graph,
        "method": answer.method,
        "upper": answer.upper,
        "evidence": answer.evidence,
        "witness": answer.witness,
    }
    return Claim(**(parts | changes))


def check(claim, lower=1.0):
    return verify(PROBLEM, claim, lambda _problem, _witness: lower, [Scripted("a", [], Clock())])


def test_a_certificate_is_proven_again():
    verified = check(claimed(Clock()))
    assert (verified.upper, verified.lower) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"graph": "0" * 64}, "another graph"),
        ({"method": "b"}, "no method"),
        ({"upper": 1.9}, "proves 2.0, not 1.9"),
        ({"upper": math.nan}, "not nan"),
        ({"evidence": {}}, "malformed"),
        ({"evidence": {"proves": math.nan}}, "proves nan"),
        ({"evidence": {"proves": "two"}}, "malformed"),
        ({"witness": Witness("pair", POINT, POINT, 1.5)}, "proves 1.0, not 1.5"),
    ],
)
def test_a_certificate_that_was_tampered_with_is_not_believed(changes, reason):
    with pytest.raises(NotCertified, match=reason):
        check(claimed(Clock(), **changes))


def test_a_witness_that_refutes_is_told():
    with pytest.raises(NotCertified, match="above"):
        check(claimed(Clock()), lower=3.0)
