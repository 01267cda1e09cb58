"""From a program to the graph that is certified: lowered, folded, its patterns recognised."""

from collections.abc import Mapping

from torch import Tensor
from torch.export import ExportedProgram

from .arithmetic import require_ieee_threads
from .graph.complex_numbers import without_complex
from .graph.edges import recognise_edges
from .graph.fold import fold
from .graph.lower import lower
from .graph.node import Graph
from .graph.splines import recognise_splines
from .interpreter import evaluate, evaluate_exactly, refuse_unsupported


def prepare(
    program: ExportedProgram,
    shapes: Mapping[str, tuple[int, ...]],
    frozen: Mapping[str, Tensor] | None = None,
    output: int = 0,
) -> Graph:
    """The graph of one request, each of its nodes with a rule.

    Args:
        program: checked by whoever loaded it.
        shapes: of each varying input, with a leading axis of one request.
        frozen: every other input, as it is.
        output: which output, counted from 0.

    Raises:
        InvalidRequest: inputs or sizes that the program does not have.
        PossiblyDiscontinuous: a gate, outside of any pattern that is proven continuous.
        UnsupportedOperator: an operator without a rule.
        NotCertified: a constant, or what is computed of constants, is not finite.
        UnsoundArithmetic: a thread of this process does not compute in IEEE arithmetic.
    """
    require_ieee_threads()
    real = without_complex(lower(program, shapes, frozen or {}, output))
    lowered = fold(real, evaluate_exactly)
    graph = fold(recognise_edges(recognise_splines(lowered)), evaluate)
    refuse_unsupported(graph)
    return graph
