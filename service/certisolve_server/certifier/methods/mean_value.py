"""M1: enclosures of every value and of the slopes on a box, each sharpened by the other.

Forward, node by node: the interval of a value, and by the chain rule an interval matrix J of its
slopes with respect to the inputs (see `rules.abstraction`). With the value z(c) at a point c of the
box, the mean value form

    z(x) in z(c) + J (X - c)

(Moore, Kearfott and Cloud, Introduction to Interval Analysis, 2009, section 6.3) encloses it as
well, and what both have in common is gone on with. J at the output is a set of matrices that maps
each difference of two inputs in the box to that of their outputs, so the largest norm in it bounds
the Lipschitz constant; the box being convex, also on a union of boxes that is convex.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import (
    Interval,
    concatenate,
    matmul,
    require_ieee_threads,
)
from certisolve_server.certifier.arithmetic.norms import operator_norm
from certisolve_server.certifier.certificate import BoxCertificate, Method
from certisolve_server.certifier.domain import Boxes, seeds, values
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.graph.digest import digest
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.rules import Abstraction


@dataclass(frozen=True)
class Enclosure:
    """What M1 knows of the output on each box.

    Args:
        value: (boxes, *shape of the output).
        jacobian: (boxes, outputs, inputs), both flattened, inputs in the order of the graph.
    """

    value: Interval
    jacobian: Interval


def bound(graph: Graph, box: Boxes, norms: Norms) -> BoxCertificate:
    """The norm of the slopes on one box, as it is.

    Raises:
        NotCertified: there is no finite bound.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    if len(box) != 1:
        raise InvalidRequest("a certificate is of one box")
    require_ieee_threads()
    jacobian = enclose(graph, box).jacobian
    upper = float(operator_norm(jacobian, norms.inputs, norms.outputs))
    return certificate(box, norms, upper, "mean_value", 0, digest(graph))


def certificate(
    box: Boxes, norms: Norms, upper: float, method: Method, splits: int, graph: str
) -> BoxCertificate:
    """The record of a bound on one box."""
    lower_corner = _corner({name: side.lower for name, side in box.sides.items()})
    upper_corner = _corner({name: side.upper for name, side in box.sides.items()})
    return BoxCertificate(norms, lower_corner, upper_corner, upper, method, splits, graph)


def enclose(graph: Graph, boxes: Boxes) -> Enclosure:
    """Values and slopes on each box.

    Raises:
        NotCertified: no bound could be given at some node, which is named.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    centers = boxes.centers()
    at_center: dict[str, Interval] = {}

    def record(name: str, abstraction: Abstraction) -> Abstraction:
        at_center[name] = abstraction.value
        return abstraction

    interpret(graph, values(centers), record)
    offsets = {name: boxes.sides[name] - centers.sides[name] for name in boxes.sides}

    def sharpen(name: str, abstraction: Abstraction) -> Abstraction:
        return _sharpened(abstraction, at_center[name], offsets)

    output = interpret(graph, seeds(boxes), sharpen)
    return Enclosure(output.value, _matrix(output, boxes))


def _corner(ends: Mapping[str, Tensor]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return tuple((name, tuple(end[0].flatten().tolist())) for name, end in ends.items())


def _sharpened(x: Abstraction, center: Interval, offsets: Mapping[str, Interval]) -> Abstraction:
    """X with its values in the mean value form as well."""
    if not x.jacobian:
        return x
    form = center
    for name, block in x.jacobian.items():
        form = form + _change(block, offsets[name])
    return Abstraction(x.value.intersection(form), x.jacobian)


def _change(block: Interval, offset: Interval) -> Interval:
    """J (X - c) of one input: (boxes, *shape of the value)."""
    shape = block.shape[2:]
    matrix = block.rearranged(lambda bound: bound.flatten(2) if shape else bound.unsqueeze(2))
    row = offset.rearranged(lambda bound: bound.flatten(1).unsqueeze(1))
    return matmul(row, matrix).rearranged(lambda bound: bound.reshape(-1, *shape))


def _matrix(output: Abstraction, boxes: Boxes) -> Interval:
    """(boxes, outputs, inputs): zeros for inputs without influence."""
    outputs = output.value.lower[0].numel()
    columns = [_columns(output, name, side, outputs) for name, side in boxes.sides.items()]
    count = len(boxes)
    everywhere = [block.rearranged(lambda bound: bound.expand(count, -1, -1)) for block in columns]
    return concatenate(everywhere, 1).rearranged(lambda bound: bound.transpose(1, 2))


def _columns(output: Abstraction, name: str, side: Interval, outputs: int) -> Interval:
    entries = side.lower[0].numel()
    block = output.jacobian.get(name)
    if block is None:
        return Interval.exact(torch.zeros(1, entries, outputs, dtype=torch.float64))
    return block.rearranged(lambda bound: bound.reshape(-1, entries, outputs))
