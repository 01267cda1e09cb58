"""Closed loops: a cascade of observers that measurements correct, jointly with what it forecasts.

Layer i passes x_i on as x_{i+1} = x_i + dt F(x_i, y_i, g_i), and its observer y_i follows the same
slope (Jia et al., "Feedback Favors the Generalization of Neural ODEs", 2024). State and estimate
are one graph of all measurements: the bound is one of the loop, not a product of bounds of parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.graph.node import Graph, Input

from .assembly import Assembly
from .integrators import moved
from .rollouts import selected


@dataclass(frozen=True)
class Pass:
    """What some neighbouring layers do at the same time.

    Args:
        first: the lowest of them.
        gains: of each.
        dt_x: by which x_{i+1} is ahead of x_i; 0 where layers stay.
        dt_y: by which observers move; 0 where they stay.
        opens: whether it is the observer of the next layer that begins, not its own that moves.
        measurement: the one that becomes x_0 afterwards; None for none.
    """

    first: int
    gains: tuple[float, ...]
    dt_x: float
    dt_y: float
    opens: bool = False
    measurement: int | None = None


@dataclass(frozen=True)
class Corrected:
    """A vector field that is corrected.

    Args:
        graph: F, of the state, its observer and a gain of shape (1,), all of them varying.
        state: name of that input.
        observer: likewise, of the shape of the state.
        gain: likewise.
        literal: as of `Assembly`.
    """

    graph: Graph
    state: str
    observer: str
    gain: str
    literal: bool = False


def uncorrected(field: Corrected) -> Graph:
    """The field of a state that its observer equals: f(x) = F(x, x, 0)."""
    state = field.graph.input(field.state)
    assembly = Assembly(state)
    return assembly.graph(_slope(assembly, field, state.name, state.name, 0.0))


def cascade(field: Corrected, passes: Sequence[Pass], history: str, measurements: int) -> Graph:
    """What the lowest layer of the last pass says of the step ahead.

    Args:
        field: F.
        passes: in their order; each layer was reached before it is passed on.
        history: name of the input of the graph, of shape (1, measurements, *state).
        measurements: how many, the oldest first.

    Raises:
        InvalidRequest: there is no pass, or a layer is used that was not reached.
    """
    shape = field.graph.input(field.state).shape
    given = Input(history, (1, measurements, *shape[1:]))
    assembly = Assembly(given, literal=field.literal)
    first = selected(assembly, history, 1, 0)
    layers, observers = {0: first}, {0: first}
    ahead: list[str] = []
    for each in passes:
        ahead = _passed(assembly, field, each, layers, observers)
        if each.measurement is not None:
            layers[0] = selected(assembly, history, 1, each.measurement)
    if not ahead:
        raise InvalidRequest("a cascade takes at least one pass")
    return assembly.graph(ahead[0])


def _passed(
    assembly: Assembly,
    field: Corrected,
    each: Pass,
    layers: dict[int, str],
    observers: dict[int, str],
) -> list[str]:
    """The states ahead; layers and observers are brought to where the pass leaves them."""
    numbers = range(each.first, each.first + len(each.gains))
    if any(number not in layers or number not in observers for number in numbers):
        raise InvalidRequest("a pass begins at a layer that was not reached yet")
    slopes = [
        _slope(assembly, field, layers[number], observers[number], gain)
        for number, gain in zip(numbers, each.gains, strict=True)
    ]
    ahead = [
        moved(assembly, layers[number], [slope], [Fraction(each.dt_x)])
        for number, slope in zip(numbers, slopes, strict=True)
    ]
    followed = [
        moved(assembly, observers[number], [slope], [Fraction(each.dt_y)])
        for number, slope in zip(numbers, slopes, strict=True)
    ]
    if each.dt_x:
        layers.update((number + 1, state) for number, state in zip(numbers, ahead, strict=True))
    if each.dt_y:
        later = 1 if each.opens else 0
        observers.update(
            (number + later, state) for number, state in zip(numbers, followed, strict=True)
        )
    return ahead


def _slope(assembly: Assembly, field: Corrected, state: str, observer: str, gain: float) -> str:
    number = Interval.exact(torch.tensor([gain], dtype=torch.float64))
    values = {
        field.state: state,
        field.observer: observer,
        field.gain: assembly.constant(number, "gain"),
    }
    return assembly.insert(field.graph, values)
