"""The search for a certificate, which ends in time whatever its methods do."""

import math
import time
from dataclasses import replace

from certisolve_server.certifier.budget import Budget
from certisolve_server.certifier.certificate import Certificate, Status
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.falsify import attack
from certisolve_server.certifier.graph.digest import digest
from certisolve_server.certifier.methods.registry import METHODS
from certisolve_server.certifier.portfolio import certify

from .interruption import Limits, OutOfTime
from .request import CertifyRequest
from .subjects import Subject
from .teller import Teller
from .turns import InTurns

#: Beyond its budget, what a slice of a method may take: seconds, and a share of the budget.
_GRACE_S, _GRACE = 5.0, 0.25
_CUT_SHORT = "was cut short: its budget was over, and a method came to no end"


def search(subject: Subject, request: CertifyRequest, teller: Teller[Certificate]) -> Certificate:
    """The last certificate; those before are told.

    A search that is over its budget by more than a grace is interrupted: what was proven by then
    is the answer.

    Raises:
        CertifierError: nothing can be certified, and why.
    """
    latest, began, limits = None, time.monotonic(), Limits()
    found = certify(
        subject.problem,
        Budget(request.budget_s, request.gap, request.max_splits),
        time.monotonic,
        request.seed,
        [InTurns(method, limits, request.budget_s) for method in METHODS],
        attack,
        executed=subject.executed,
    )
    try:
        with limits.hold(request.budget_s * (1.0 + _GRACE) + _GRACE_S):
            for latest in found:
                if latest.status == "improving":
                    teller.put(latest)
    except OutOfTime:
        return _cut_short(latest, subject, request, time.monotonic() - began)
    assert latest is not None, "a search tells how it ended"
    return latest


def _cut_short(
    latest: Certificate | None, subject: Subject, request: CertifyRequest, elapsed_s: float
) -> Certificate:
    if latest is None:
        latest = _nothing(subject, request)
    status: Status = "budget_exhausted" if latest.upper < math.inf else "unbounded"
    notes = {**latest.notes, "search": _CUT_SHORT}
    return replace(latest, status=status, notes=notes, elapsed_s=elapsed_s)


def _nothing(subject: Subject, request: CertifyRequest) -> Certificate:
    """The certificate before anything was proven."""
    if request.soundness == "float":
        raise NotCertified("how far rounding leads was not found within the budget")
    graph = subject.problem.graph
    return Certificate(
        problem=subject.problem,
        upper=math.inf,
        lower=0.0,
        method="",
        evidence={},
        witness=None,
        history=(),
        notes={},
        status="unbounded",
        graph=digest(graph),
        rules=tuple(sorted({node.operator for node in graph.nodes})),
        seed=request.seed,
    )
