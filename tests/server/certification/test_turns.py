"""A method that needs long for a step keeps no other waiting, and gets the time it needs."""

import time

import pytest

from certisolve_server.certification import turns
from certisolve_server.certification.interruption import Limits, OutOfTime
from certisolve_server.certification.turns import InTurns
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.method import Board, Bound


class Slow:
    """A method that takes so long for its first step."""

    name = "slow"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = 0

    def run(self, problem, board):
        del problem, board
        self.begun += 1
        time.sleep(self.seconds)
        yield Bound(1.0)
        yield None

    def recheck(self, problem, evidence):
        del problem
        return evidence["upper"]


class Refusing(Slow):
    def run(self, problem, board):
        raise NotCertified("never")
        yield


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(turns, "_LEAST_S", 0.02)


def run(method, limits=None):
    return InTurns(method, limits or Limits(), 0.0).run(None, Board())


def test_a_quick_method_is_not_disturbed():
    method = Slow(0.0)
    found = list(run(method))
    assert [each and each.upper for each in found] == [1.0, None]
    assert method.begun == 1


def test_a_slow_one_begins_again_with_more_time_and_lets_others_go_meanwhile():
    method = Slow(0.05)
    found = list(run(method))
    assert found[0] is None
    assert [each.upper for each in found if each] == [1.0]
    assert 2 <= method.begun <= 4


def test_refusals_pass():
    with pytest.raises(NotCertified):
        next(run(Refusing(0.0)))


def test_the_end_of_the_search_passes():
    limits = Limits()
    with pytest.raises(OutOfTime) as raised, limits.hold(0.01) as search:
        next(run(Slow(60.0), limits))
    assert raised.value.limit is search


def test_names_and_proofs_are_those_of_the_method():
    method = InTurns(Slow(0.0), Limits(), 1.0)
    assert (method.name, method.recheck(None, {"upper": 2.0})) == ("slow", 2.0)
