"""What is certified of a served model: the problem, and in words which map it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Region

from .measures import without_fixed


@dataclass(frozen=True, eq=False)
class Subject:
    """A problem whose inputs have the manifest's names, each with a leading axis of one request.

    Attributes:
        problem: the map or flow, the set and the norms on it.
        norms: as they are asked for, wherever the set is.
        description: which map a certificate is of, in plain words.
        output: name of the output.
        sizes: of the axes, by name.
        executed: for level `float`, what is computed instead; None for level `real`.
        out_of_range: in what the request exceeds what errors were measured for: `horizon`.
    """

    problem: Problem
    norms: Norms
    description: str
    output: str
    sizes: Mapping[str, int]
    executed: Graph | None = None
    out_of_range: tuple[str, ...] = ()

    def on(self, where: Region) -> "Subject":
        """The same map in the same norms on another set."""
        problem = Problem(self.problem.subject, where, without_fixed(self.norms, where))
        return replace(self, problem=problem)
