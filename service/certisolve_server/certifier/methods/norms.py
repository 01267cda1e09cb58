"""M0: bounds from norms of the fused maps of a network alone.

Each nonlinearity is dh = C dz + H du with |du|_r <= |dz|_r in each norm r: of slopes in
[alpha, beta] C = diag(alpha + beta) / 2 and H = diag(beta - alpha) / 2; of sorted groups, whose
differences do not grow in any norm, C = 0 and H = I. Unrolling dz_k = sum_j A_kj dh_j leaves a path
from the inputs and one from each u_j,

    dz_k = Z_k0 dx + sum_j Z_kj du_j,

and so |dz_k|_r <= |Z_k0|_{p->r} + sum_j min_s |Z_kj|_{s->r} |dz_j|_s, which is LipLT (Fazlyab et
al., NeurIPS 2023) of any acyclic graph; likewise entry by entry, |dz_k| <= sum_j |Z_kj| |dz_j|.
With C = 0 and H the largest sizes of slopes there is nothing to multiply out, and the bound is the
product of norms along each path, all paths together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import torch

from certisolve_server.certifier.arithmetic import Interval, matmul, operator_norm
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import Numbers, product_up, sum_up
from certisolve_server.certifier.chains import Folding, Slopes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import length
from certisolve_server.certifier.structure import Layered, TooLarge, layers_of
from certisolve_server.certifier.structure.layered import Layer, Maps

from .method import Board, Bound, Evidence
from .operator_norms import operator_bound

Proof: TypeAlias = Literal["product", "liplt"]

#: The product again, of operators instead of matrices: where these would be too large.
_OPERATORS = "operators"

#: LipLT takes the square of as many norms.
_MOST_LAYERS_OF_LIPLT = 24

# What is claimed beyond what was proven here: another machine sums in another order, and is to come
# to a bound that is not above the one that it rechecks.
_MARGIN = 1.0 + 2.0**-32


class FusedNorms:
    """Products of norms along paths, and LipLT."""

    name = "norms"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """The product, and then LipLT where there are not too many layers."""
        del board
        try:
            layered = layers_of(problem)
        except TooLarge:
            yield from _of(operator_bound(problem), _OPERATORS)
            return
        yield None
        for proof in _proofs(layered):
            yield from _of(bounds(layered, problem.norms, proof), proof)

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """The same norms again."""
        proof = evidence.get("proof")
        if proof == _OPERATORS:
            *_, upper = operator_bound(problem)
            return Bound(cast(float, upper)).upper
        layered = layers_of(problem)
        if proof not in _proofs(layered):
            raise NotCertified(f"norms prove nothing by {proof!r}")
        *_, upper = bounds(layered, problem.norms, cast(Proof, proof))
        return Bound(cast(float, upper)).upper


def _of(uppers: Iterator[float | None], proof: str) -> Iterator[Bound | None]:
    for upper in uppers:
        if upper is None:
            yield None
        elif upper * _MARGIN < float("inf"):
            yield Bound(upper * _MARGIN, {"proof": proof})
        else:
            raise NotCertified(f"norms of maps have no finite bound by {proof}")


def bounds(layered: Layered, norms: Norms, proof: Proof) -> Iterator[float | None]:
    """None after each layer, and at the end a bound, perhaps inf.

    Args:
        layered: with the weights of the norms in its maps.
        norms: of inputs and outputs; their weights do not matter.
        proof: of LipLT or of the product.
    """
    walk = _Walk(norms.inputs, norms.outputs, proof)
    for layer in layered.layers:
        walk.advance(layer)
        yield None
    yield float(walk.reach(walk.arriving(layered.output), layered.outputs).norms[norms.outputs])


def _proofs(layered: Layered) -> tuple[Proof, ...]:
    is_short = 0 < len(layered.layers) <= _MOST_LAYERS_OF_LIPLT
    return get_args(Proof) if is_short else ("product",)


@dataclass(frozen=True, eq=False)
class _Reach:
    """How far dz, and so du, moves at most, of inputs that move by 1.

    Args:
        norms: |dz|_r by r.
        sizes: |dz| entry by entry.
    """

    norms: Mapping[Norm, Numbers]
    sizes: Numbers


#: By root, 0 for the inputs and j for du_j, the matrices Z.
_Paths: TypeAlias = dict[int, Interval]


@dataclass(frozen=True, eq=False)
class _Passed:
    """A layer that the walk has left behind."""

    paths: _Paths
    reach: _Reach
    center: Interval
    spread: Interval


class _Walk:
    """From layer to layer."""

    def __init__(self, inputs: Norm, outputs: Norm, proof: Proof) -> None:
        self._inputs = inputs
        self._norms = tuple(dict.fromkeys((inputs, outputs)))
        self._proof = proof
        self._passed: list[_Passed] = []

    def advance(self, layer: Layer) -> None:
        """Leaves the next layer behind."""
        paths = self.arriving(layer.maps)
        reach = self.reach(paths, layer.neurons)
        if isinstance(layer.function, Folding):
            # A sorted entry is as far from another as some entries of its group at most.
            grouped = reach.sizes.reshape(layer.function.axes.shape)
            spread_out = grouped.amax(1, keepdim=True).expand_as(grouped).flatten()
            reach = _Reach(reach.norms, spread_out)
        self._passed.append(_Passed(paths, reach, *_split(layer, self._proof)))

    def arriving(self, maps: Maps) -> _Paths:
        """The paths to where some maps lead."""
        total: _Paths = {}

        def add(root: int, path: Interval) -> None:
            total[root] = total[root] + path if root in total else path

        for source, a in maps.items():
            if source == 0:
                add(0, a)
                continue
            passed = self._passed[source - 1]
            if bool(passed.spread.magnitude.any()):
                add(source, a * passed.spread)
            if bool(passed.center.magnitude.any()):
                carried = a * passed.center
                for root, path in passed.paths.items():
                    add(root, matmul(carried, path))
        return total

    def reach(self, paths: _Paths, rows: int) -> _Reach:
        """Of dz, from all paths to it."""
        sizes = torch.zeros(rows, dtype=torch.float64)
        for root, path in paths.items():
            sizes = sum_up(sizes, self._sizes(root, path))
        norms = {}
        for norm in self._norms:
            total = torch.zeros((), dtype=torch.float64)
            for root, path in paths.items():
                total = sum_up(total, self._norm(root, path, norm))
            norms[norm] = torch.minimum(total, length(sizes, norm))
        return _Reach(norms, sizes)

    def _sizes(self, root: int, path: Interval) -> Numbers:
        if root == 0:
            rows = path.rearranged(lambda ends: ends.unsqueeze(1))
            return operator_norm(rows, self._inputs, "linf")
        taken, moved = path.magnitude, self._passed[root - 1].reach.sizes
        if not bool(taken.isfinite().all() & moved.isfinite().all()):
            return torch.full(taken.shape[:-1], torch.inf, dtype=torch.float64)
        return matmul(taken, moved).upper

    def _norm(self, root: int, path: Interval, norm: Norm) -> Numbers:
        if root == 0:
            return operator_norm(path, self._inputs, norm)
        moved = self._passed[root - 1].reach.norms
        candidates = [product_up(operator_norm(path, s, norm), moved[s]) for s in self._norms]
        return torch.stack(candidates).amin()


def _split(layer: Layer, proof: Proof) -> tuple[Interval, Interval]:
    """C and H of a layer, their diagonals."""
    ones = torch.ones(layer.neurons, dtype=torch.float64)
    none, all_of_it = Interval.exact(torch.zeros_like(ones)), Interval.exact(ones)
    function = layer.function
    if proof == "product" or isinstance(function, Folding):
        return none, all_of_it if function is None else Interval.exact(function.cap)
    if function is None:
        return all_of_it, none
    return _center_and_spread(function)


def _center_and_spread(slopes: Slopes) -> tuple[Interval, Interval]:
    alpha, beta = Interval.exact(slopes.least), Interval.exact(slopes.most)
    return (alpha + beta) * 0.5, (beta - alpha) * 0.5
