"""M5: multipliers for the nonlinearities of a network, fused to a chain; see `chains`.

Slopes are those on the region. Where the matrices of a convolutional network would be too large, it
is a chain of one block per frequency, and what follows its last nonlinearity a factor of its own
(see `structure.circles`). Such a chain is bounded in l2; as |x|_2 <= |x|_1 and |y|_inf <= |y|_2,
that holds of inputs in l1 and of outputs in linf as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.chains import (
    BetweenCertificate,
    Chain,
    improving_between,
    recheck_between,
)
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.structure import (
    TooLarge,
    chained,
    layers_of,
    operators_of_problem,
)
from certisolve_server.certifier.structure.circles import circles_of

from .chain_evidence import from_json, to_json
from .method import Board, Bound, Evidence


class MultiplierChain:
    """LipSDP of the fused graph, ever better."""

    name = "chain"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """As `chains.improving_between`."""
        del board
        form = _form_of(problem)
        yield None
        for found in improving_between(form.chain, form.inputs, form.outputs):
            yield None if found is None else form.bound(found)

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """From the multipliers."""
        form = _form_of(problem)
        parts = from_json(evidence)
        claimed = BetweenCertificate(_LARGEST, form.inputs, form.outputs, parts)
        try:
            return Bound(form.whole(recheck_between(form.chain, claimed))).upper
        except InvalidRequest as error:
            raise NotCertified(f"the evidence is of another chain: {error}") from error


_LARGEST = torch.finfo(torch.float64).max

# Left to another machine, whose factors between norms round in another order.
_MARGIN = 1.0 + 2.0**-40


@dataclass(frozen=True, eq=False)
class _Form:
    """A network as a chain from one norm to another, and a factor of what is not in it."""

    chain: Chain
    inputs: Norm
    outputs: Norm
    factor: float = 1.0

    def whole(self, upper: float) -> float:
        """The bound of the network from that of the chain."""
        if self.factor == 1.0:
            return upper
        factors = torch.tensor([self.factor, upper], dtype=torch.float64)
        return float(product_up(factors[0], factors[1]))

    def bound(self, found: BetweenCertificate) -> Bound | None:
        """What was found, of the network; None where that is not finite."""
        upper = self.whole(found.upper) * _MARGIN
        return Bound(upper, to_json(found.parts)) if upper < float("inf") else None


def _form_of(problem: Problem) -> _Form:
    norms = problem.norms
    try:
        return _Form(chained(layers_of(problem)), norms.inputs, norms.outputs)
    except TooLarge:
        if norms.is_weighted or norms.inputs == "linf" or norms.outputs == "l1":
            raise
    circles = circles_of(operators_of_problem(problem))
    try:
        factor = circles.tail.norm("l2")
    except NotCertified as error:
        raise NotCertified("what follows the convolutions has no finite norm") from error
    return _Form(circles.chain, "l2", "l2", factor)
