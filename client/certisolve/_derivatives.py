"""Derivatives of solutions: what is asked for, and what comes back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

from ._arguments import Priority, check_keywords
from ._arrays import Array, Tensor, to_array
from ._calls import Call, Reply, read_solution, reading
from ._results import Solution
from ._solves import Asked, Defaults, build_solve

#: Names of tensors beside inputs and fields begin with one of these, in calls and replies.
TANGENTS, COTANGENTS = "tangents.", "cotangents."
PARAMETER_TANGENTS = "parameter_tangents."
DERIVATIVES, PARAMETER_DERIVATIVES = "derivatives.", "parameter_derivatives."


class Where(TypedDict, total=False):
    """Which solution is differentiated, and on which terms: as for `Client.solve`."""

    parameters: Mapping[str, float] | None
    t: float | Sequence[float] | Array | None
    steps: int | None
    save_every: int | None
    version: str | None
    tolerance: float | None
    rtol: float | None
    atol: float | None
    diagnostics: bool
    priority: Priority
    timeout: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Derivative:
    """A solution, and its derivatives along one direction or several.

    The arrays are read-only views of the reply, each with an axis of directions in front, unless a
    single direction was passed without one.

    Attributes:
        solution: where the derivatives were taken.
        derivatives: of `Client.jvp`: of the outputs, by name, with the axes of the field. Of
            `Client.vjp`: by the inputs, by name, with the axes of the input.
        parameter_derivatives: of `Client.vjp`: by the parameters of the program, by name.
    """

    solution: Solution
    derivatives: Mapping[str, Array]
    parameter_derivatives: Mapping[str, Array]


def build_derivative(
    operation: Literal["jvp", "vjp"],
    model: str,
    inputs: Mapping[str, Tensor],
    directions: Mapping[str, Tensor],
    parameter_directions: Mapping[str, Tensor] | None,
    where: Where,
    defaults: Defaults,
) -> Call:
    """The call that differentiates a solution.

    Raises:
        TypeError: an input or direction is not an array of numbers.
        ValueError: there is no direction, or an argument of the solve is out of its range.
    """
    role = TANGENTS if operation == "jvp" else COTANGENTS
    tensors = {role + name: to_array(role + name, value) for name, value in directions.items()}
    for name, value in (parameter_directions or {}).items():
        path = PARAMETER_TANGENTS + name
        tensors[path] = to_array(path, value)
    if not tensors:
        raise ValueError(f"{role[:-1]}: name at least one direction")
    check_keywords(where, Where)
    asked: Asked = {"resume_from": None, **where}
    solve = build_solve("solve", model, inputs, asked, defaults)
    return replace(solve, operation=operation, tensors={**solve.tensors, **tensors})


def read_derivative(call: Call, reply: Reply) -> Derivative:
    """What came back for a call.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading(call.operation):
        derivatives = dict(_under(DERIVATIVES, reply.tensors))
        of_parameters = dict(_under(PARAMETER_DERIVATIVES, reply.tensors))
        fields = {
            name: array
            for name, array in reply.tensors.items()
            if not name.startswith((DERIVATIVES, PARAMETER_DERIVATIVES))
        }
        solution = read_solution(fields, reply.body)
        if _is_single(call, solution):
            derivatives = {name: array[0] for name, array in derivatives.items()}
            of_parameters = {name: array[0] for name, array in of_parameters.items()}
        return Derivative(solution, derivatives, of_parameters)


def _under(prefix: str, tensors: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    for name, array in tensors.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), array


def _is_single(call: Call, solution: Solution) -> bool:
    """Whether no direction had an axis of directions."""
    like = call.tensors if call.operation == "jvp" else solution.fields
    role = TANGENTS if call.operation == "jvp" else COTANGENTS
    ranks = [(array.ndim, like[name].ndim) for name, array in _under(role, call.tensors)]
    ranks += [(array.ndim, 0) for _, array in _under(PARAMETER_TANGENTS, call.tensors)]
    return all(own == one for own, one in ranks)
