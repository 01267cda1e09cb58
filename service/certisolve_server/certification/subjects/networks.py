"""The graphs of a program and its post-processors, their inputs by the manifest's names."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor
from torch.export import ExportedProgram

from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.certifier.dynamics.assembly import Assembly
from certisolve_server.certifier.errors import UnsupportedOperator
from certisolve_server.certifier.graph.node import Graph, Input
from certisolve_server.certifier.prepare import prepare

from .postprocesses import postprocess

#: From a program, the shapes of what varies, all else, and the number of an output to its graph.
Reading: TypeAlias = Callable[
    [ExportedProgram, Mapping[str, tuple[int, ...]], Mapping[str, Tensor], int], Graph
]

#: The graph of one output or state of the program, by its name.
Network: TypeAlias = Callable[[str], Graph]

#: In front of the names of states, which may be those of inputs.
STATE = "state."


def network(
    manifest: Manifest,
    program: ExportedProgram,
    varying: Mapping[str, tuple[int, ...]],
    frozen: Mapping[str, Tensor],
    reading: Reading = prepare,
) -> Network:
    """What gives the graphs of a pass: outputs as callers get them, and states.

    Args:
        manifest: of the model.
        program: takes inputs, states and parameters, returns outputs and states.
        varying: shapes by name; states with `STATE` in front.
        frozen: all others.
        reading: gives graphs of the program.

    Returns:
        A function that raises UnsupportedOperator, PossiblyDiscontinuous or NotCertified where
        there is no graph of an output.
    """
    returned = [spec.name for spec in _returned(manifest)]
    states = [STATE + spec.name for spec in manifest.stepping.states] if manifest.stepping else []

    def raw(name: str) -> Graph:
        position = (returned + states).index(name)
        return named(program, taken(manifest), varying, frozen, position, reading)

    def graph(name: str) -> Graph:
        if name in states:
            return raw(name)
        return postprocess(manifest, name, varying, frozen, raw, literal=reading is not prepare)

    return graph


def taken(manifest: Manifest) -> list[str]:
    """What a program takes, in its order: inputs, states, and parameters."""
    states = [STATE + spec.name for spec in manifest.stepping.states] if manifest.stepping else []
    parameters = [spec.name for spec in manifest.parameters if spec.program_input]
    return [*(spec.name for spec in manifest.inputs), *states, *parameters]


def named(
    program: ExportedProgram,
    names: list[str],
    varying: Mapping[str, tuple[int, ...]],
    frozen: Mapping[str, Tensor],
    output: int,
    reading: Reading = prepare,
) -> Graph:
    """The graph of an output, its inputs by names of ours instead of the program's.

    Args:
        program: takes as many tensors as there are names.
        names: of them, in its order.
        varying: shapes by name, in the order that inputs of the graph are to have.
        frozen: all others.
        output: which, counted from 0.
        reading: gives graphs of the program.

    Raises:
        UnsupportedOperator: the program takes another number of inputs, or see `prepare`.
    """
    theirs = [str(each) for each in program.graph_signature.user_inputs]
    if len(theirs) != len(names):
        raise UnsupportedOperator(
            "the program", "inputs", f"takes {len(theirs)} tensors, not {len(names)}"
        )
    by_name = dict(zip(names, theirs, strict=True))
    graph = reading(
        program,
        {by_name[name]: shape for name, shape in varying.items()},
        {by_name[name]: value for name, value in frozen.items()},
        output,
    )
    given = (Input(name, tuple(shape)) for name, shape in varying.items())
    assembly = Assembly(*given, literal=reading is not prepare)
    return assembly.graph(assembly.insert(graph, {by_name[name]: name for name in varying}))


def _returned(manifest: Manifest) -> list[TensorSpec]:
    """Outputs of the program itself; a deviation is made of the members of an ensemble."""
    made = {each.deviation for each in manifest.postprocess if each.kind == "ensemble"}
    return [spec for spec in manifest.outputs if spec.name not in made]
