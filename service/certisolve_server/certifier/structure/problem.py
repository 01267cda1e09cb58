"""The layers of a problem: of its graph, on its region, in its norms."""

from certisolve_server.certifier.problem import Problem

from .fuse import fuse
from .layered import Layered
from .values import values_of


def layers_of(problem: Problem) -> Layered:
    """Fused, with the slopes that functions have on the region, and the weights of the norms.

    Raises:
        NotCertified: it is a flow, or its layers are not bounded or too large.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    return fuse(problem.require_map(), values_of(problem)).weighted(problem.norms)
