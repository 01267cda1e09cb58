"""A problem's graph read as layers of Fourier, once for all methods that take them."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.domain import values
from certisolve_server.certifier.interpreter import values_along
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.slices import Shared
from certisolve_server.certifier.spectral_layers import SpectralNetwork, recognising

_NAME = "layers of Fourier"


@dataclass(frozen=True, eq=False)
class Recognised:
    """A network of fields.

    Args:
        network: on the region.
        values: of all inputs and nodes there, (1, *shape); none of everything.
    """

    network: SpectralNetwork
    values: Mapping[str, Interval]


def recognised(problem: Problem) -> Generator[None, None, Recognised]:
    """The network of a problem, in slices.

    Raises:
        NotCertified: it has none, or no values on its region.
    """
    if _NAME not in problem.shared:
        problem.shared[_NAME] = Shared(_recognising(problem))
    shared: Shared[Recognised] = problem.shared[_NAME]
    return (yield from shared.result())


def _recognising(problem: Problem) -> Generator[None, None, Recognised]:
    graph = problem.require_map()
    found = {} if problem.boxes is None else values_along(graph, values(problem.boxes))
    yield
    network = yield from recognising(graph, found or None)
    return Recognised(network, MappingProxyType(found))
