"""How far the program that is executed is from the map that is certified, on a region.

The running error analysis of Higham (Accuracy and Stability of Numerical Algorithms, 2nd ed.,
section 3.3), over graphs: at each node what the errors of the operands come to, by slopes and norms
on the region, and what rounding adds. No order of summation is presumed, so it holds of every
blocking, batch size and number of threads, with or without fused multiply-add.

With delta of it, and L a bound for the map on reals, the program g has for all x, y of the region
whose numbers are floats |g(x) - g(y)| <= L |x - y| + 2 delta.
"""

import contextlib
from collections.abc import Mapping

from torch import Tensor
from torch.export import ExportedProgram

from certisolve_server.certifier.arithmetic import (
    Interval,
    require_ieee_threads,
)
from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.domain import values
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.definitions import AS_EXECUTED
from certisolve_server.certifier.graph.fold import fold
from certisolve_server.certifier.graph.lower import lower
from certisolve_server.certifier.graph.node import Constant, Graph, Node
from certisolve_server.certifier.graph.splines import recognise_splines
from certisolve_server.certifier.interpreter import evaluate_exactly, values_along
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import Region, hull, length

from .around import Surveyor
from .deviation import Deviation, Known, largest, widened
from .precision import FLOAT32, Precision
from .walk import Walk


def executed(
    program: ExportedProgram,
    shapes: Mapping[str, tuple[int, ...]],
    frozen: Mapping[str, Tensor] | None = None,
    output: int = 0,
) -> Graph:
    """The graph of what a program computes, with what it computes of its constants left to it.

    Arguments and errors as of `prepare`, and of narrower floats than float32; the frozen inputs are
    those that the program is given, in its type.
    """
    require_ieee_threads()
    graph = lower(program, shapes, frozen or {}, output, AS_EXECUTED, FLOAT32.dtype)
    return recognise_splines(fold(graph, _held))


def rounding_radius(
    graph: Graph, region: Region, norms: Norms, precision: Precision = FLOAT32
) -> float:
    """At least |g(x) - f(x)| for all x of the region, in the norm of outputs.

    Args:
        graph: from `executed`.
        region: bounded; its points of which g is asked are floats of the precision.
        norms: of the output that of outputs counts.
        precision: of the narrowest type that g computes in.

    Raises:
        NotCertified: the region is everything, or the program may overflow on it.
        UnsupportedOperator: an operator has no rule of rounding.
    """
    boxes = hull(region, graph)
    if boxes is None:
        raise NotCertified("rounding has no bound on everything, takes a bounded set")
    walk = Walk(graph, precision)
    exact = _values(graph, region)
    inputs = {
        name: Known(side, Deviation.none(tuple(side.shape)), True)
        for name, side in (
            (name, side.rearranged(lambda ends: ends[0])) for name, side in boxes.sides.items()
        )
    }
    off = walk.output(inputs, lambda name, by: widened(exact[name], by)).deviation
    radius = float(_measured(off, norms))
    # False of NaN.
    if not radius < float("inf"):
        raise NotCertified("rounding has no finite bound here")
    return radius


def _held(node: Node, constants: Mapping[str, Constant]) -> Interval | None:
    """The value of a node of constants that is moved alone, and fits into the floats."""
    value = evaluate_exactly(node, constants)
    if value is None or bool(FLOAT32.of_constants(value.lower).any()):
        return None
    return value


def _values(graph: Graph, region: Region) -> Mapping[str, Interval]:
    """Enclosures of each node on the region, by two ways, of which either may fail."""
    found: Mapping[str, Interval] = {}
    boxes = hull(region, graph)
    if boxes is not None:
        with contextlib.suppress(NotCertified):
            on_boxes = values_along(graph, values(boxes))
            found = {name: side.rearranged(lambda ends: ends[0]) for name, side in on_boxes.items()}
    try:
        around = Surveyor(graph).on_region(region).values
    except NotCertified:
        if not found:
            raise
        return found
    return {
        name: side.intersection(found[name]) if name in found else side
        for name, side in around.items()
    }


def _measured(off: Deviation, norms: Norms) -> Tensor:
    """The norm of a deviation, with the weights of outputs."""
    entries, weights = off.entries.flatten(), norms.output_weights
    heaviest = None
    if weights is not None:
        entries, heaviest = product_up(entries, weights.magnitude), largest(weights.magnitude)
    by_entries = length(entries, norms.outputs)
    if norms.outputs == "l1":
        return by_entries
    whole = off.length if heaviest is None else product_up(off.length, heaviest)
    return by_entries.minimum(whole)
