"""A request, held against the manifest, as a problem."""

import math

from torch.export import ExportedProgram

from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.certification.request import CertifyRequest
from certisolve_server.certifier.dynamics.assembly import Assembly
from certisolve_server.certifier.dynamics.rollouts import selected
from certisolve_server.certifier.graph.node import Graph, Ref
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.errors import InvalidOption, OutOfRange

from .asked import Asked
from .families import described
from .measures import norms
from .regions import region
from .subject import Subject
from .variables import variables


def open_subject(request: CertifyRequest, manifest: Manifest, program: ExportedProgram) -> Subject:
    """What is to be certified.

    Args:
        request: of this model.
        manifest: of the model.
        program: of the model, checked by whoever loaded it.

    Raises:
        InvalidRequest: of the server's errors, with the field at fault and what would be right.
        CertifierError: the map has no graph that can be certified: an operator without a rule, one
            that may jump, a family or parameters of which nothing is proven.
    """
    output = _output(request, manifest)
    inputs = variables(request, manifest)
    where = region(request, manifest, inputs)
    found = described(Asked(request, manifest, program, inputs, output.name))
    graph = found.map.field if isinstance(found.map, Flow) else found.map
    shape = _shape(graph)
    measured = norms(request, manifest, inputs, output, shape)
    subject, text = found.map, found.text
    if request.component is not None and isinstance(subject, Graph):
        _check_component(request.component, math.prod(shape))
        subject = _component(subject, request.component)
        text += f"; of it the one value of index {request.component}"
    return Subject(
        Problem(subject, where, measured),
        text,
        output.name,
        inputs.sizes,
        ("horizon",) if found.beyond_horizon else (),
    )


def _output(request: CertifyRequest, manifest: Manifest) -> TensorSpec:
    if request.output is None:
        return manifest.outputs[0]
    for spec in manifest.outputs:
        if spec.name == request.output:
            return spec
    known = ", ".join(spec.name for spec in manifest.outputs)
    raise InvalidOption(f"{manifest.name} returns {known}", field="output")


def _check_component(component: int, count: int) -> None:
    if not 0 <= component < count:
        raise OutOfRange(
            f"{component}: the output has {count} values, counted from 0", field="component"
        )


def _component(graph: Graph, component: int) -> Graph:
    """One value of the output, by its place in C order."""
    assembly = Assembly(*graph.inputs)
    output = assembly.insert(graph, {each.name: each.name for each in graph.inputs})
    count = math.prod(assembly.shape(output))
    flat = assembly.apply(
        "aten.reshape.default", (1, count), {"self": Ref(output), "shape": (1, count)}
    )
    return assembly.graph(selected(assembly, flat, 1, component))


def _shape(graph: Graph) -> tuple[int, ...]:
    """Of the output."""
    return next(node.shape for node in graph.nodes if node.name == graph.output)
