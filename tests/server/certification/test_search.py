"""A search ends in time, and what it had proven is the answer."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from certify_requests import certify_request
from certisolve_server.certification import search as module
from certisolve_server.certification.search import search
from certisolve_server.certification.subjects import Subject
from certisolve_server.certification.teller import Teller
from certisolve_server.certifier.certificate import Certificate
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Box
from certisolve_server.certifier.witness import Witness


@pytest.fixture(scope="module")
def subject() -> Subject:
    class Double(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    program = torch.export.export(Double(), (torch.ones(1, 3),))
    graph = prepare(program, {"x": (1, 3)})
    ones = {"x": torch.ones(1, 3, dtype=torch.float64)}
    box = Box({"x": -ones["x"]}, ones)
    norms = Norms("l2", "l2")
    return Subject(Problem(graph, box, norms), norms, "doubles", "u", {})


@pytest.fixture
def told() -> Iterator[Teller[Certificate]]:
    with Teller(lambda certificate: None) as teller:
        yield teller


def test_a_search_with_an_end_says_how_it_ended(subject, told):
    found = search(subject, certify_request(budget_s=5.0), told)
    assert found.status == "certified"
    assert found.upper == pytest.approx(2.0, rel=1e-3)
    assert "search" not in found.notes


def _stuck(improving: list[Certificate]):
    def certify(*arguments, **more):
        yield from improving
        time.sleep(60)

    return certify


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "_GRACE_S", 0.05)
    return monkeypatch


def test_what_was_proven_when_a_method_hangs_is_the_answer(subject, told, impatient):
    proven = search(subject, certify_request(budget_s=5.0), told)
    better = replace(proven, status="improving", upper=3.0)
    impatient.setattr(module, "certify", _stuck([better]))
    found = search(subject, certify_request(budget_s=0.0), told)
    assert (found.status, found.upper, found.lower) == ("budget_exhausted", 3.0, proven.lower)
    assert found.notes["search"].startswith("was cut short")


def test_a_witness_alone_is_an_answer_without_a_bound(subject, told, impatient):
    point = {"x": torch.zeros(1, 3, dtype=torch.float64)}
    proven = search(subject, certify_request(budget_s=5.0), told)
    seen = replace(
        proven,
        status="improving",
        upper=float("inf"),
        lower=1.0,
        witness=Witness("direction", point, point, 1.0),
    )
    impatient.setattr(module, "certify", _stuck([seen]))
    found = search(subject, certify_request(budget_s=0.0), told)
    assert (found.status, found.lower) == ("unbounded", 1.0)


def test_nothing_at_all_is_said_so(subject, told, impatient):
    impatient.setattr(module, "certify", _stuck([]))
    found = search(subject, certify_request(budget_s=0.0), told)
    assert (found.status, found.upper, found.lower) == ("unbounded", float("inf"), 0.0)
    with pytest.raises(NotCertified, match="rounding"):
        search(subject, certify_request(budget_s=0.0, soundness="float"), told)
