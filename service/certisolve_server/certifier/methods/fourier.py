"""Networks of spectral layers, bounded frequency by frequency (`docs/certificates-of-fourier-layers.md`).

In l2 the blocks of all frequencies are one chain with one multiplier for each channel; what proves
a bound are these multipliers. They are proven of blocks that do not depend on the grid, so the
bound is the same on every grid that resolves the layers. In linf and l1 it is by the norms of
kernels. On a bounded set the slopes of each channel are those on the values that it takes there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.chains import UnverifiedMultipliers, verified_bound
from certisolve_server.certifier.chains.descent import descend
from certisolve_server.certifier.chains.eclipse import by_neuron, closed_form, multipliers
from certisolve_server.certifier.chains.norms import product_bound
from certisolve_server.certifier.chains.stages import stages
from certisolve_server.certifier.domain import values
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.rules import Abstraction
from certisolve_server.certifier.spectral_layers import SpectralNetwork, recognise
from certisolve_server.certifier.spectral_layers.assemble import Assembled, assemble
from certisolve_server.certifier.spectral_layers.deviation import deviation
from certisolve_server.certifier.spectral_layers.impulse import impulse_bound
from certisolve_server.certifier.spectral_layers.measures import measured

from .method import Board, Bound, Evidence

# What is claimed beyond what was proven here: room for another order of sums, and for deviations of
# the basis, which differ from grid to grid while the claim does not.
_MARGIN = 1.0 + 2.0**-20

# Steps of the search between proofs, at first, and by what they grow.
_FIRST, _GROWTH = 8, 2

# From what the search found towards where it began, which is far inside.
_SHARES_OF_START = (0.0, 1e-6, 1e-3, 0.1)


class Fourier:
    """Multipliers of spectral layers."""

    name = "fourier"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """Norms first, then multipliers."""
        subject = _Subject(problem)
        yield None
        if problem.norms.inputs != "l2":
            yield Bound(subject.by_kernels() * _MARGIN, {"proof": "kernels"})
            return
        yield subject.bound(float(product_bound(subject.chain)), {"proof": "product"})
        if subject.chain.slopes:
            yield from _searched(subject, board)

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """From the proof that the evidence names, and its multipliers."""
        subject, proof = _Subject(problem), evidence.get("proof")
        if proof == "kernels":
            return Bound(subject.by_kernels()).upper
        if proof == "product":
            return subject.proven(float(product_bound(subject.chain)))
        if proof != "multipliers":
            raise NotCertified(f"layers of Fourier prove nothing by {proof!r}")
        return subject.proven(verified_bound(subject.chain, _numbers(evidence["multipliers"])))


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is certified, and what it adds to bounds of its chain."""

    problem: Problem

    @cached_property
    def network(self) -> SpectralNetwork:
        graph, norms = self.problem.require_map(), self.problem.norms
        if norms.inputs != norms.outputs:
            raise NotCertified("layers of Fourier are bounded in one norm, not from one to another")
        return recognise(graph, _values(self.problem))

    @cached_property
    def measured(self) -> Any:
        return measured(self.network, self.problem.graph, self.problem.norms)

    @cached_property
    def assembled(self) -> Assembled:
        return assemble(self.measured.network)

    @cached_property
    def chain(self) -> Any:
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
        ratio = 1.0 if out == fewest else (out / fewest) ** 0.5 * (1.0 + 2.0**-50)
        return float(self.measured.factor * ratio)

    def by_kernels(self) -> float:
        norm: Norm = self.problem.norms.inputs
        return impulse_bound(self.network, self.assembled, norm) * self.measured.factor

    def proven(self, of_chain: float) -> float:
        """From a bound of the chain that of the map."""
        return Bound((of_chain + self.added) * self.factor * (1.0 + 2.0**-50)).upper

    def bound(self, of_chain: float, evidence: Evidence) -> Bound:
        """With room: the same on all grids, unless what is added is larger than the room."""
        nearest = float(torch.tensor(self.factor, dtype=torch.float64).to(torch.float32))
        roomy = of_chain * nearest * _MARGIN
        upper = self.proven(of_chain)
        if not upper * (1.0 + 2.0**-32) <= roomy:
            roomy = upper * _MARGIN
        return Bound(roomy, evidence)


def _searched(subject: _Subject, board: Board) -> Iterator[Bound | None]:
    chain = subject.chain
    start = closed_form(chain)
    yield _proven(subject, [start])
    start = multipliers(chain, by_neuron)
    best, steps, due = start, 0, _FIRST
    for found in descend(stages(chain), chain.centers[-1], start):
        best, steps = (best if found is None else found), steps + 1
        yield None
        if steps == due:
            due *= _GROWTH
            yield _proven(subject, [_towards(start, best, s) for s in _SHARES_OF_START])
    yield _proven(subject, [_towards(start, best, s) for s in _SHARES_OF_START])


def _proven(subject: _Subject, candidates: list[tuple[Numbers, ...]]) -> Bound | None:
    """By the first multipliers that are verified."""
    for candidate in candidates:
        try:
            upper = verified_bound(subject.chain, candidate)
        except UnverifiedMultipliers:
            continue
        return subject.bound(
            upper, {"proof": "multipliers", "multipliers": [each.tolist() for each in candidate]}
        )
    return None


def _towards(
    start: tuple[Numbers, ...], end: tuple[Numbers, ...], share: float
) -> tuple[Numbers, ...]:
    """A mean of multipliers, feasible as both are."""
    return tuple((1.0 - share) * e + share * s for s, e in zip(start, end, strict=True))


def _numbers(multipliers: list[list[float]]) -> tuple[Numbers, ...]:
    return tuple(torch.tensor(each, dtype=torch.float64) for each in multipliers)


def _values(problem: Problem) -> dict[str, Interval] | None:
    """Of all nodes on the set; None on everything."""
    if problem.boxes is None:
        return None
    found = dict(problem.boxes.sides)

    def record(name: str, abstraction: Abstraction) -> Abstraction:
        found[name] = abstraction.value
        return abstraction

    interpret(problem.graph, values(problem.boxes), record)
    return found
