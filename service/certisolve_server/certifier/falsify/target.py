"""What is attacked: a map in plain floats, where it is to be searched, and in which norms."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.execution import Executable, Execution, Replacements
from certisolve_server.certifier.problem import Flow, Problem

from .ascent import Slopes
from .flows import FlowExecution
from .gates import KINKED, softened
from .space import Space, space_of

#: By which kinks grow sharper with each step.
_COOLING = 0.97


@dataclass(frozen=True)
class Target:
    """A problem as a search sees it.

    Args:
        space: the region.
        slopes: the norms.
        function: the map, with other functions in place of some operators.
        is_kinked: whether it has operators that are not smooth.
        numbers: that one point passes through: what an evaluation costs.
    """

    space: Space
    slopes: Slopes
    function: Callable[[Replacements | None], Executable]
    is_kinked: bool
    numbers: int

    def hard(self) -> Executable:
        """The map itself."""
        return self.function(None)

    def annealed(self, steps: int) -> Iterator[Executable]:
        """The map with its kinks softened, less and less."""
        for i in range(steps):
            yield self.function(softened(_COOLING**i)) if self.is_kinked else self.hard()


def target_of(problem: Problem) -> Target:
    """What a search needs of a problem.

    Raises:
        UnsupportedOperator: an operator cannot be executed.
    """
    space, norms, graph = space_of(problem), problem.norms, problem.graph
    shapes = {each.name: each.shape for each in graph.inputs}
    shapes |= {each.name: each.shape for each in graph.nodes}
    numbers = sum(math.prod(shape) for shape in shapes.values())
    shapes |= {name: tuple(each.value.shape) for name, each in graph.constants.items()}
    slopes = Slopes(
        norms,
        _plain(norms.input_weights, space.center.numel()),
        _plain(norms.output_weights, math.prod(shapes[graph.output])),
        space.free,
    )
    is_kinked = any(node.operator in KINKED for node in graph.nodes)
    if isinstance(problem.subject, Flow):
        flow = FlowExecution(problem.subject)
        return Target(space, slopes, flow.function, is_kinked, 4 * flow.steps * numbers)
    return Target(space, slopes, Execution(graph).function, is_kinked, numbers)


def _plain(weights: Interval | None, entries: int) -> Tensor:
    if weights is None:
        return torch.ones(entries, dtype=torch.float64)
    return weights.midpoint_radius()[0]
