"""Flows: searched for by steps of a fixed length, proven by tubes around both trajectories.

A tube that holds all trajectories from a box comes with matrices that map their differences from
the beginning to the end (see `dynamics.tubes`). Around two inputs close to each other it is narrow,
so that the difference of their ends is known almost exactly.
"""

import math
from typing import TypeVar

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, matmul
from certisolve_server.certifier.dynamics.fields import Field
from certisolve_server.certifier.dynamics.tubes import tube
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.execution import Executable, Execution, Replacements
from certisolve_server.certifier.problem import Flow
from certisolve_server.certifier.slices import finished

_Result = TypeVar("_Result")

#: Steps of a tube, ever more until its matrices are known well enough.
_TUBE_STEPS = (64, 256, 1024)
_WELL_ENOUGH = 1e-6

#: Steps of a search, by the length of the flow.
_STEPS_PER_TIME = 16
_LEAST_STEPS, _MOST_STEPS = 16, 256


class FlowExecution:
    """The flow in plain floats, by the classical method of Runge and Kutta.

    Raises:
        UnsupportedOperator: an operator of the field cannot be executed.
    """

    def __init__(self, flow: Flow) -> None:
        self._field, self._duration = Execution(flow.field), flow.duration
        wanted = math.ceil(_STEPS_PER_TIME * flow.duration)
        self.steps = min(_MOST_STEPS, max(_LEAST_STEPS, wanted))

    def function(self, replaced: Replacements | None = None) -> Executable:
        """The map on a batch of points, with other functions in place of some operators."""
        field, dt = self._field.function(replaced), self._duration / self.steps

        def integrate(points: Tensor) -> Tensor:
            for _ in range(self.steps):
                points = _step(field, points, dt)
            return points

        return integrate


def flow_change(flow: Flow, x: Tensor, y: Tensor) -> Interval:
    """F(x) - f(y) of a flow f: (entries,), for x and y of that shape.

    Raises:
        NotCertified: no tube was proven to hold both trajectories.
    """
    field = Field(flow.field)
    end, start = Interval.exact(x), Interval.exact(y)
    box = end.hull(start).rearranged(lambda ends: ends.unsqueeze(0))
    step = (end - start).rearranged(lambda ends: ends.reshape(1, -1, 1))
    found: Interval | None = None
    for steps in _TUBE_STEPS:
        held = finished(tube(field, box, flow.duration, steps))
        if not bool(held.proven.all()):
            continue
        change = matmul(held.matrices, step).rearranged(lambda ends: ends.flatten())
        found = change if found is None else found.intersection(change)
        width = float((found.upper - found.lower).amax())
        if width <= _WELL_ENOUGH * float(found.magnitude.amax()):
            break
    if found is None:
        raise NotCertified("no tube was proven to hold both trajectories of the witness")
    return found


def _step(field: Executable, y: Tensor, dt: float) -> Tensor:
    k1 = field(y)
    k2 = field(y + 0.5 * dt * k1)
    k3 = field(y + 0.5 * dt * k2)
    k4 = field(y + dt * k3)
    return y + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
