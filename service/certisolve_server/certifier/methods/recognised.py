"""A problem's graph read as layers of Fourier, once for all methods that take them."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.domain import values
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.rules import Abstraction
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
    found = _values(problem)
    yield
    network = yield from recognising(problem.require_map(), found or None)
    return Recognised(network, MappingProxyType(found))


def _values(problem: Problem) -> dict[str, Interval]:
    """Of all inputs and nodes on the region; none on everything."""
    if problem.boxes is None:
        return {}
    found = dict(problem.boxes.sides)

    def record(name: str, abstraction: Abstraction) -> Abstraction:
        found[name] = abstraction.value
        return abstraction

    interpret(problem.require_map(), values(problem.boxes), record)
    return found
