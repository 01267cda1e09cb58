"""Networks of spectral layers around the center of a bounded set; see `certifier.expansion`.

Sharp where the set is small: to first order in its radius nothing is lost but signs. Far out it is
worth less than multipliers, see `fourier`.
"""

from collections.abc import Generator, Iterator

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.expansion import bound, center_at, expanding, reach_of
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.slices import finished
from certisolve_server.certifier.spectral_layers.assemble import assemble
from certisolve_server.certifier.spectral_layers.network import Bend

from .method import Board, Bound, Evidence
from .recognised import recognised

# Left to another machine, which sums in another order.
_MARGIN = 1.0 + 2.0**-20


class Expansion:
    """First order around a point, the second in norms."""

    name = "expansion"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """One bound; its evidence is that it can be computed again."""
        del board
        upper = yield from _bounded(problem)
        yield Bound(upper * _MARGIN)

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """As in `run`: nothing was searched for."""
        if evidence:
            raise NotCertified("an expansion has no evidence")
        return Bound(finished(_bounded(problem))).upper


def _bounded(problem: Problem) -> Generator[None, None, float]:
    graph, reach = problem.require_map(), reach_of(problem)
    found = yield from recognised(problem)
    network = found.network
    assembled = assemble(network)
    yield
    results = frozenset(
        source.bend.result for source in network.sources if isinstance(source.bend, Bend)
    )
    center = center_at(graph, reach.center, results)
    yield
    expanded = yield from expanding(assembled, network, reach, center, found.values)
    return (yield from bound(expanded, problem.norms))
