"""A certificate checked once more, from what it holds and without the search that found it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .arithmetic import NotABound, OutsideDomain, require_ieee_threads
from .errors import InvalidRequest, NotCertified
from .graph.digest import digest
from .graph.node import Graph
from .methods.method import Evidence, Method
from .methods.registry import METHODS
from .problem import Problem
from .rounding_radius import rounding_radius
from .witness import Witness

#: The lower bound that a witness proves, again.
Recheck: TypeAlias = Callable[[Problem, Witness], float]


@dataclass(frozen=True, eq=False)
class Claim:
    """What somebody says was certified.

    Args:
        graph: the digest of the graph.
        method: that found the upper bound.
        upper: inf for none.
        evidence: of the upper bound.
        witness: with the lower bound; None for none.
        rounding: of level `float`; None for level `real`.
    """

    graph: str
    method: str
    upper: float
    evidence: Evidence
    witness: Witness | None
    rounding: float | None = None


@dataclass(frozen=True)
class Verified:
    """The numbers as they were proven now, none of them worse than what was claimed."""

    upper: float
    lower: float
    rounding: float | None = None


def verify(
    problem: Problem,
    claim: Claim,
    recheck_witness: Recheck,
    methods: Sequence[Method] = METHODS,
    executed: Graph | None = None,
) -> Verified:
    """Proves the claim again.

    Args:
        problem: what the claim is about, rebuilt from the model and the request.
        claim: from a file or a reply; nothing in it is believed.
        recheck_witness: see `falsify`.
        methods: whose evidence is understood.
        executed: what the program computes, for a claim of level `float`.

    Raises:
        NotCertified: the claim is of another graph, or something in it is not proven.
    """
    require_ieee_threads()
    if digest(problem.graph) != claim.graph:
        raise NotCertified("the certificate is of another graph: another model, version or size")
    upper = _upper(problem, claim, methods)
    lower = 0.0 if claim.witness is None else _lower(problem, claim.witness, recheck_witness)
    if lower > upper:
        raise NotCertified(f"the witness proves {lower}, which is above {upper}")
    return Verified(upper, lower, _rounding(problem, claim, executed))


def _upper(problem: Problem, claim: Claim, methods: Sequence[Method]) -> float:
    if claim.upper == math.inf:
        return math.inf
    known = {method.name: method for method in methods}
    if claim.method not in known:
        raise NotCertified(f"no method is called {claim.method!r}; there are {', '.join(known)}")
    if not isinstance(claim.evidence, Mapping):
        raise NotCertified(f"the evidence of {claim.method} is malformed: it has no names")
    try:
        proven = known[claim.method].recheck(problem, claim.evidence)
    except (NotABound, OutsideDomain) as error:
        raise NotCertified(f"the evidence of {claim.method} proves nothing: {error}") from error
    except (LookupError, TypeError, ValueError, OverflowError, InvalidRequest) as error:
        raise NotCertified(f"the evidence of {claim.method} is malformed: {error}") from error
    # False of NaN.
    if not proven <= claim.upper:
        raise NotCertified(f"{claim.method} proves {proven}, not {claim.upper}")
    return proven


def _rounding(problem: Problem, claim: Claim, executed: Graph | None) -> float | None:
    if claim.rounding is None:
        return None
    if executed is None:
        raise NotCertified("what is executed is not known, so neither is its rounding")
    proven = rounding_radius(executed, problem.region, problem.norms)
    # False of NaN.
    if not proven <= claim.rounding:
        raise NotCertified(f"rounding is proven to be within {proven}, not {claim.rounding}")
    return proven


def _lower(problem: Problem, witness: Witness, recheck: Recheck) -> float:
    proven = recheck(problem, witness)
    # False of NaN.
    if not proven >= witness.lower:
        raise NotCertified(f"the witness proves {proven}, not {witness.lower}")
    return proven
