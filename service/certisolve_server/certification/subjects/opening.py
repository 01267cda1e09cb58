"""A request, held against the manifest, as a problem."""

import math
from dataclasses import replace

from torch.export import ExportedProgram

from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.certification.admission import check_subject
from certisolve_server.certification.request import CertifyRequest
from certisolve_server.certifier.dynamics.assembly import Assembly
from certisolve_server.certifier.dynamics.rollouts import selected
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Graph, Ref
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.problem import Subject as Map
from certisolve_server.certifier.rounding_radius import executed
from certisolve_server.errors import OutOfRange

from .asked import Asked
from .families import described
from .measures import norms, without_fixed
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
    request = check_subject(request, manifest)
    output = _output(request, manifest)
    inputs = variables(request, manifest)
    where = region(request, manifest, inputs)
    asked = Asked(request, manifest, program, inputs, output.name)
    found = described(asked)
    graph = found.map.field if isinstance(found.map, Flow) else found.map
    shape = _shape(graph)
    measured = norms(request, manifest, inputs, output, shape)
    text = found.text
    if request.component is not None and isinstance(found.map, Graph):
        _check_component(request.component, math.prod(shape))
        text += f"; of it the one value of index {request.component}"
    return Subject(
        Problem(_wanted(found.map, request), where, without_fixed(measured, where)),
        measured,
        text,
        output.name,
        inputs.sizes,
        _executed(asked) if request.soundness == "float" else None,
        ("horizon",) if found.beyond_horizon else (),
    )


def _executed(asked: Asked) -> Graph:
    """What is computed, with its rounding, instead of the map on reals."""
    found = described(replace(asked, reading=executed)).map
    if isinstance(found, Flow):
        raise NotCertified(
            f"{asked.manifest.name}: of an exact flow nothing is executed; ask for level real"
        )
    wanted = _wanted(found, asked.request, literal=True)
    assert isinstance(wanted, Graph)
    return wanted


def _wanted(found: Map, request: CertifyRequest, *, literal: bool = False) -> Map:
    """The map to all values of its output, or to the one that is asked for."""
    if request.component is None or isinstance(found, Flow):
        return found
    return _component(found, request.component, literal=literal)


def _output(request: CertifyRequest, manifest: Manifest) -> TensorSpec:
    specs = {spec.name: spec for spec in manifest.outputs}
    return manifest.outputs[0] if request.output is None else specs[request.output]


def _check_component(component: int, count: int) -> None:
    if not 0 <= component < count:
        raise OutOfRange(
            f"{component}: the output has {count} values, counted from 0", field="component"
        )


def _component(graph: Graph, component: int, *, literal: bool) -> Graph:
    """One value of the output, by its place in C order."""
    assembly = Assembly(*graph.inputs, literal=literal)
    output = assembly.insert(graph, {each.name: each.name for each in graph.inputs})
    count = math.prod(assembly.shape(output))
    flat = assembly.apply(
        "aten.reshape.default", (1, count), {"self": Ref(output), "shape": (1, count)}
    )
    return assembly.graph(selected(assembly, flat, 1, component))


def _shape(graph: Graph) -> tuple[int, ...]:
    """Of the output."""
    return next(node.shape for node in graph.nodes if node.name == graph.output)
