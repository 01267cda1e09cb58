"""What is certified of a served model: the problem, and in words which map it is about."""

from collections.abc import Mapping
from dataclasses import dataclass

from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.problem import Problem


@dataclass(frozen=True, eq=False)
class Subject:
    """A problem whose inputs have the manifest's names, each with a leading axis of one request.

    Attributes:
        problem: the map or flow, the set and the norms.
        description: which map a certificate is of, in plain words.
        output: name of the output.
        sizes: of the axes, by name.
        executed: for level `float`, what is computed instead; None for level `real`.
        out_of_range: in what the request exceeds what errors were measured for: `horizon`.
    """

    problem: Problem
    description: str
    output: str
    sizes: Mapping[str, int]
    executed: Graph | None = None
    out_of_range: tuple[str, ...] = ()
