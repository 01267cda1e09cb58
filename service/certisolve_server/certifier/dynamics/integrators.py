"""Steps of fixed size along a vector field, unrolled to one graph.

The Jacobian of a step, as I + h/6 (J1 + 2 J2 (I + h/2 J1) + ...) of the classical method, follows
from the rules for its sums and products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.graph.node import Argument, Graph, Ref

from .assembly import Assembly


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method (Hairer, Norsett and Wanner, 1993, section II.1).

    Args:
        stages: of each stage after the first, the weights of those before it.
        weights: of the stages in a step.
    """

    stages: tuple[tuple[Fraction, ...], ...]
    weights: tuple[Fraction, ...]


_HALF, _SIXTH, _THIRD = Fraction(1, 2), Fraction(1, 6), Fraction(1, 3)
_NOTHING, _ONE = Fraction(0), Fraction(1)

EULER = Tableau((), (_ONE,))
HEUN = Tableau(((_ONE,),), (_HALF, _HALF))
RK4 = Tableau(
    ((_HALF,), (_NOTHING, _HALF), (_NOTHING, _NOTHING, _ONE)), (_SIXTH, _THIRD, _THIRD, _SIXTH)
)


def unrolled(field: Graph, dt: float, steps: int, tableau: Tableau) -> Graph:
    """The state after n steps.

    Args:
        field: dx/dt = f(x), of one input and an output of its shape.
        dt: of a step, taken exactly.
        steps: n, at least 1.
        tableau: of the method.

    Raises:
        InvalidRequest: n is less, or the field is not of its own shape.
    """
    if steps < 1:
        raise InvalidRequest(f"there is at least one step, not {steps}")
    if len(field.inputs) != 1:
        raise InvalidRequest("a field has one varying input, the state")
    assembly = Assembly(*field.inputs)
    state = field.inputs[0].name
    for _ in range(steps):
        slopes: list[str] = []
        for stage in ((), *tableau.stages):
            at = moved(assembly, state, slopes, [Fraction(dt) * each for each in stage])
            slopes.append(assembly.insert(field, {field.inputs[0].name: at}))
            if assembly.shape(slopes[-1]) != assembly.shape(state):
                raise InvalidRequest("a field has the shape of its state")
        state = moved(assembly, state, slopes, [Fraction(dt) * each for each in tableau.weights])
    return assembly.graph(state)


def moved(
    assembly: Assembly, state: str, slopes: Sequence[str], lengths: Sequence[Fraction]
) -> str:
    """The state x + sum of h_i k_i, each h_i as an interval where no float is equal to it."""
    shape = assembly.shape(state)
    for slope, length in zip(slopes, lengths, strict=True):
        if length:
            number = assembly.constant(Interval.of_fraction(length), "dt")
            product: dict[str, Argument] = {"self": Ref(slope), "other": Ref(number)}
            change = assembly.apply("aten.mul.Tensor", shape, product)
            sums: dict[str, Argument] = {"self": Ref(state), "other": Ref(change), "alpha": 1}
            state = assembly.apply("aten.add.Tensor", shape, sums)
    return state
