"""M2: the box cut into smaller ones, the worst of them first, for as long as one likes.

The largest bound of the parts bounds the Lipschitz constant on the whole: the segment between two
points of a box is cut into pieces that lie in one part each, and the lengths of the pieces add up.
Intervals are the sharper the smaller their box is; so are the slopes (Moore, Kearfott and Cloud,
2009, section 6.3: the excess of mean value forms falls with the square of the width).
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, require_ieee_threads
from certisolve_server.certifier.arithmetic.norms import operator_norm
from certisolve_server.certifier.certificate import BoxCertificate, Method
from certisolve_server.certifier.domain import Boxes
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.graph.digest import digest
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.norms import Norms

from .mean_value import certificate, enclose

#: How many boxes are cut at a time: more fill the processor better, and are chosen worse.
BATCH = 64


def split(
    graph: Graph, box: Boxes, norms: Norms, go_on: Callable[[], bool], batch: int = BATCH
) -> Iterator[BoxCertificate]:
    """Ever smaller bounds, the first one that of the whole box.

    Args:
        graph: from `prepare`.
        box: one.
        norms: of inputs and outputs.
        go_on: asked before each batch of cuts; this knows no clock.
        batch: cuts at a time.

    Raises:
        NotCertified: there is no bound on some part, or none was finite by the end.
    """
    if len(box) != 1:
        raise InvalidRequest("one box is split, not several")
    require_ieee_threads()
    search = _Search(graph, box, norms)
    name, best = digest(graph), math.inf
    while True:
        if search.bound < best:
            best = search.bound
            method: Method = "splitting" if search.splits else "mean_value"
            yield certificate(box, norms, best, method, search.splits, name)
        if not (go_on() and search.advance(batch)):
            break
    if not best < math.inf:
        raise NotCertified(f"no finite bound after {search.splits} splits")


@dataclass(order=True)
class _Part:
    """A box that is not cut yet; the heap gives that of the largest bound first."""

    priority: float
    number: int
    lower: Tensor = field(compare=False)
    upper: Tensor = field(compare=False)
    axis: int = field(compare=False)

    @property
    def bound(self) -> float:
        return -self.priority


class _Search:
    """All parts of the box, and what is to be cut next."""

    def __init__(self, graph: Graph, box: Boxes, norms: Norms) -> None:
        self._graph, self._box, self._norms = graph, box, norms
        self._numbers = itertools.count()
        self._parts: list[_Part] = []
        self.splits = 0
        whole = box.flat()
        self._add(whole.lower, whole.upper, torch.tensor([math.inf], dtype=torch.float64))

    @property
    def bound(self) -> float:
        """On all parts together."""
        return self._parts[0].bound

    def advance(self, batch: int) -> bool:
        """Cuts the worst parts in two; false where the worst one is too small to be cut."""
        chosen: list[_Part] = []
        while self._parts and len(chosen) < batch and self._parts[0].axis >= 0:
            chosen.append(heapq.heappop(self._parts))
        if not chosen:
            return False
        lower = torch.stack([part.lower for part in chosen])
        upper = torch.stack([part.upper for part in chosen])
        rows, axes = torch.arange(len(chosen)), torch.tensor([part.axis for part in chosen])
        middle = _middles(lower, upper)[rows, axes]
        left_upper, right_lower = upper.clone(), lower.clone()
        # Both halves contain the cut, so nothing is lost between them.
        left_upper[rows, axes] = right_lower[rows, axes] = middle
        known = torch.tensor([part.bound for part in chosen], dtype=torch.float64)
        self.splits += len(chosen)
        self._add(torch.cat([lower, right_lower]), torch.cat([left_upper, upper]), known.repeat(2))
        return True

    def _add(self, lower: Tensor, upper: Tensor, known: Tensor) -> None:
        """Bounds new parts; what is `known` of the part that they were cut from holds on, too."""
        found = enclose(self._graph, self._box.from_flat(Interval(lower, upper)))
        bounds = torch.minimum(
            operator_norm(found.jacobian, self._norms.inputs, self._norms.outputs), known
        )
        if bool(bounds.isnan().any()):
            raise NotCertified("a norm is NaN")
        axes = _axes(lower, upper, found.jacobian)
        for i, (bound, axis) in enumerate(zip(bounds.tolist(), axes, strict=True)):
            part = _Part(-bound, next(self._numbers), lower[i], upper[i], axis)
            heapq.heappush(self._parts, part)


def _middles(lower: Tensor, upper: Tensor) -> Tensor:
    return lower + 0.5 * (upper - lower)


def _axes(lower: Tensor, upper: Tensor, jacobian: Interval) -> list[int]:
    """Which axis to cut of each box: along which the output moves most; -1: none can be cut.

    The smear rule (Kearfott, Rigorous Global Search, 1996, section 4.3).
    """
    middle = _middles(lower, upper)
    divisible = (lower < middle) & (middle < upper)
    smear = jacobian.magnitude.amax(1) * (upper - lower)
    # Where nothing is known to move, or everything may without bound, the widest axis is cut.
    usable = smear.isfinite().all(1, keepdim=True) & (smear > 0).any(1, keepdim=True)
    score = torch.where(usable, smear, upper - lower)
    best = torch.where(divisible, score, -1.0).argmax(1)
    can = divisible.any(1)
    return [int(axis) if ok else -1 for axis, ok in zip(best, can, strict=True)]
