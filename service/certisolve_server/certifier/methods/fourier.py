"""Networks of spectral layers, bounded frequency by frequency.

What is proven and how: `docs/certificates-of-fourier-layers.md`.

In l2 the blocks of all frequencies are one chain with one multiplier for each channel; what proves
a bound are these multipliers. They are proven of blocks that do not depend on the grid, so the
bound is the same on every grid that resolves the layers. Other norms are bounded by l2, and linf
and l1 by the norms of kernels as well. On a bounded set the slopes of each channel are those on the
values that it takes there.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.chains import Chain, UnverifiedMultipliers
from certisolve_server.certifier.chains.blocks import search_blocks
from certisolve_server.certifier.chains.eclipse import choosing_best
from certisolve_server.certifier.chains.normwise import normwise_bound, proving
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.slices import finished
from certisolve_server.certifier.spectral_layers import SpectralNetwork
from certisolve_server.certifier.spectral_layers.assemble import Assembled, assemble
from certisolve_server.certifier.spectral_layers.deviation import deviation
from certisolve_server.certifier.spectral_layers.impulse import impulse_bound
from certisolve_server.certifier.spectral_layers.measures import Measured, measured

from .method import Board, Bound, Evidence
from .recognised import recognised

# What is claimed beyond what was proven here: room for another order of sums, and for deviations of
# the basis, which differ from grid to grid while the claim does not.
_MARGIN = 1.0 + 2.0**-20
_ANOTHER_ORDER = 1.0 + 2.0**-32

# Of how long a proof takes: how long the search goes on before the next, at first, and by what that
# grows; and how much is left when the last one begins.
_PAUSE, _GROWTH, _ROOM = 2.0, 3.0, 1.5

# From what the search found towards where it began, which is far inside.
_SHARES_OF_START = (0.0, 1e-6, 1e-3, 0.1)


class Fourier:
    """Multipliers of spectral layers."""

    name = "fourier"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """From multipliers, or from norms of kernels."""
        subject = yield from _recognised(problem)
        yield None
        if problem.norms.inputs == problem.norms.outputs != "l2":
            yield Bound(subject.by_kernels() * _MARGIN, {"proof": "kernels"})
        _ = subject.added
        yield None
        yield from _searched(subject, board)

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """From the proof that the evidence names, and its multipliers."""
        subject, proof = finished(_recognised(problem)), evidence.get("proof")
        if proof == "kernels" and problem.norms.inputs == problem.norms.outputs != "l2":
            return Bound(subject.by_kernels()).upper
        if proof != "multipliers":
            raise NotCertified(f"layers of Fourier prove nothing by {proof!r}")
        return subject.proven(normwise_bound(subject.chain, _numbers(evidence["multipliers"])))


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is certified, and what it adds to bounds of its chain."""

    problem: Problem
    network: SpectralNetwork

    @cached_property
    def measured(self) -> Measured:
        return measured(self.network, self.problem.graph, self.problem.norms)

    @cached_property
    def assembled(self) -> Assembled:
        return assemble(self.measured.network)

    @property
    def chain(self) -> Chain:
        return self.assembled.chain

    @cached_property
    def added(self) -> float:
        return deviation(self.assembled, self.network.inputs)

    @cached_property
    def factor(self) -> float:
        """Of weights, and from root mean squares to sums: root(points out / points in)."""
        network = self.network
        out = network.points(network.sources[-1])
        fewest = min(network.points(source) for source in network.sources[: network.inputs])
        ratio = 1.0 if out == fewest else math.sqrt(out / fewest) * (1.0 + 2.0**-50)
        return self.measured.factor * ratio * self._between_norms * (1.0 + 2.0**-50)

    @property
    def _between_norms(self) -> float:
        """|x|_2 <= root(size) |x|_inf of inputs, |y|_1 <= root(size) |y|_2 of outputs."""
        norms, sources = self.problem.norms, self.network.sources
        factor = 1.0
        if norms.inputs == "linf":
            size = sum(math.prod(each.shape) for each in self.problem.graph.inputs)
            factor *= math.sqrt(size) * (1.0 + 2.0**-50)
        if norms.outputs == "l1":
            size = sources[-1].channels * math.prod(sources[-1].grid)
            factor *= math.sqrt(size) * (1.0 + 2.0**-50)
        return factor

    def by_kernels(self) -> float:
        """In linf or l1."""
        bound = impulse_bound(self.measured.network, self.assembled, self.problem.norms.inputs)
        return bound * self.measured.factor * (1.0 + 2.0**-50)

    def proven(self, of_chain: float) -> float:
        """From a bound of the chain that of the map."""
        return Bound((of_chain + self.added) * self.factor * (1.0 + 2.0**-50)).upper

    def bound(self, of_chain: float, evidence: Evidence) -> Bound:
        """With room: the same on all grids, unless what is added is larger than the room."""
        # Roots of cells, one of inputs and one of outputs, may not cancel to the last bit.
        usual = float(torch.tensor(self.factor, dtype=torch.float64).to(torch.float32))
        roomy, upper = of_chain * usual * _MARGIN, self.proven(of_chain)
        if not upper * _ANOTHER_ORDER <= roomy:
            roomy = upper * _MARGIN
        return Bound(roomy, evidence)


def _recognised(problem: Problem) -> Generator[None, None, _Subject]:
    found = yield from recognised(problem)
    return _Subject(problem, found.network)


def _searched(subject: _Subject, board: Board) -> Iterator[Bound | None]:
    """A proof at once, then each time that the search has taken so long as the proofs before."""
    chain = subject.chain
    began = board.left_s()
    start = yield from choosing_best(chain)
    yield (yield from _proven(subject, [start]))
    took = began - board.left_s()
    best, is_proven, pause = start, True, _PAUSE * took
    since = board.left_s()
    for found in search_blocks(chain):
        if found is not None:
            best, is_proven = found, False
        yield None
        left = board.left_s()
        if not is_proven and (since - left > pause or left < _ROOM * took < since):
            yield (yield from _proven(subject, _between(start, best)))
            since, is_proven, pause = board.left_s(), True, _GROWTH * pause
    if not is_proven:
        yield (yield from _proven(subject, _between(start, best)))


def _proven(
    subject: _Subject, candidates: Sequence[tuple[Numbers, ...]]
) -> Generator[None, None, Bound | None]:
    """By the first multipliers that are verified."""
    for candidate in candidates:
        try:
            upper = yield from proving(subject.chain, candidate)
        except UnverifiedMultipliers:
            continue
        return subject.bound(
            upper, {"proof": "multipliers", "multipliers": [each.tolist() for each in candidate]}
        )
    return None


def _between(start: tuple[Numbers, ...], end: tuple[Numbers, ...]) -> list[tuple[Numbers, ...]]:
    """Means of multipliers, feasible as both are, nearer and nearer to the first."""
    return [
        tuple((1.0 - share) * e + share * s for s, e in zip(start, end, strict=True))
        for share in _SHARES_OF_START
    ]


def _numbers(multipliers: list[list[float]]) -> tuple[Numbers, ...]:
    return tuple(torch.tensor(each, dtype=torch.float64) for each in multipliers)
