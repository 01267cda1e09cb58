"""`ode`: the exact flow of a vector field."""

from certisolve_server.certification.subjects.asked import Asked, Described
from certisolve_server.certification.subjects.networks import named, taken
from certisolve_server.certifier.dynamics.assembly import Assembly
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Graph, Input
from certisolve_server.certifier.problem import Flow

_TIME = "t."


def flow(asked: Asked) -> Described:
    """The map x(0) to x(T), of the family `ode`."""
    manifest = asked.manifest
    integration = manifest.integration
    assert integration is not None
    asked.refuse_steps()
    duration = asked.duration(manifest.t[0] if manifest.t else integration.horizon)
    name = manifest.inputs[0].name
    order = taken(manifest)
    order.insert(1, _TIME)
    varying = {**asked.inputs.varying, _TIME: (1,)}
    graph = named(asked.program, order, varying, asked.inputs.frozen, 0)
    if any(ref.name == _TIME for node in graph.nodes for ref in node.refs):
        raise NotCertified(
            "the vector field depends on t explicitly; tubes are of fields that do not"
        )
    assembly = Assembly(Input(name, asked.inputs.varying[name]))
    # Without influence, so any value will do.
    field = assembly.graph(assembly.insert(_without(graph, _TIME), {name: name}))
    text = (
        f"the exact flow of the learned vector field over t = {duration:g}: {name} at 0 to {name} "
        f"at {duration:g}. The adaptive steps that approach it are not certified: an answer adds "
        f"the error of its integration, by tolerances of rtol = {integration.rtol:g} and atol = "
        f"{integration.atol:g} unless the caller names others"
    )
    return Described(Flow(field, duration), text, duration > integration.horizon)


def _without(graph: Graph, name: str) -> Graph:
    inputs = tuple(each for each in graph.inputs if each.name != name)
    return Graph(inputs, graph.constants, graph.nodes, graph.output)
