"""From a graph to a network of fields in the basis of Fourier, if it is one.

The graph is walked once. A tensor that varies is a form, see `form`; each nonlinearity begins a new
field, and so does a sum of several fields that more than one operator takes, as the stream of a
residual network. What is constant is evaluated by the rules of the certifier, and matrices among it
are read by value, see `basis`. Whatever does not fit is refused by the name of its node.
"""

import itertools
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from certisolve_server.certifier import interpreter
from certisolve_server.certifier.arithmetic import Interval, NotABound, OutsideDomain
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Argument, Graph, Node, Ref
from certisolve_server.certifier.rules import Abstraction, constant
from certisolve_server.certifier.rules.pointwise import FUNCTIONS
from certisolve_server.certifier.slices import finished

from .form import Dense, Form, Grid
from .network import Bend, Sources, SpectralNetwork, flattened, slopes_over_grid
from .rules import RULES
from .shapes import added, aligned, expanded

#: Of values of nodes on a set, (1, *shape); empty for everything.
Values = Mapping[str, Interval]


def recognise(graph: Graph, values: Values | None = None) -> SpectralNetwork:
    """The network of a graph; see `recognising`."""
    return finished(recognising(graph, values))


def recognising(
    graph: Graph, values: Values | None = None
) -> Generator[None, None, SpectralNetwork]:
    """The network of a graph, as far as differences go, in slices of one node.

    Args:
        graph: from `prepare`.
        values: of all nodes and inputs on the set that the network is of; None for everything.

    Raises:
        NotCertified: it is no such network, and why.
    """
    refusals: list[str] = []
    for axes in _choices(graph):
        try:
            return (yield from _Walk(graph, axes, values or {}).network())
        except (NotCertified, NotABound, OutsideDomain) as refusal:
            refusals.append(str(refusal))
    # That of the choice that is most likely comes first.
    raise NotCertified(f"no layers of Fourier: {refusals[0]}" if refusals else "no inputs")


def _choices(graph: Graph) -> Iterator[tuple[int, ...]]:
    """Which axes of the inputs may be those of the grid; all but that of requests first."""
    ranks = {len(each.shape) for each in graph.inputs}
    if len(ranks) != 1:
        return
    axes = [axis for axis in range(1, ranks.pop()) if graph.inputs[0].shape[axis] > 1]
    for count in range(len(axes), 0, -1):
        yield from itertools.combinations(axes, count)


class _Walk:
    """What is known of each node: a form, or what the rules of the certifier give of constants."""

    def __init__(self, graph: Graph, axes: tuple[int, ...], values: Values) -> None:
        self._graph, self._values = graph, values
        self._sources = Sources()
        self._known: dict[str, Any] = {
            name: constant(each.value) for name, each in graph.constants.items()
        }
        self._uses = Counter(ref.name for node in graph.nodes for ref in node.refs)
        for each in graph.inputs:
            atoms = [_atom(axis, size, axes) for axis, size in enumerate(each.shape)]
            form = Form(tuple(atoms), MappingProxyType({}))
            self._known[each.name] = self._sources.begin(each.name, form, None, {})

    def network(self) -> Generator[None, None, SpectralNetwork]:
        """After the last node."""
        for node in self._graph.nodes:
            self._known[node.name] = self._advance(node)
            yield
        output = self._known[self._graph.output]
        if not isinstance(output, Form):
            raise NotCertified("the output does not vary")
        if not self._sources.known_periods:
            raise NotCertified("nothing is transformed")
        self._sources.begin("the output", output, None, flattened(output))
        return SpectralNetwork(
            tuple(self._sources.found), len(self._graph.inputs), self._sources.known_periods
        )

    def _advance(self, node: Node) -> Any:
        if not any(isinstance(self._known[ref.name], Form) for ref in node.refs):
            return interpreter.apply(node, self._known)
        try:
            result = self._applied(node)
        except NotCertified as refusal:
            raise NotCertified(f"{node.operator} at node {node.name!r}: {refusal}") from refusal
        if result.shape != node.shape:
            raise NotCertified(f"{node.operator} at node {node.name!r} has another shape")
        return self._shared(node, result)

    def _applied(self, node: Node) -> Form:
        arguments = {name: self._filled_in(value) for name, value in node.arguments.items()}
        if node.operator in FUNCTIONS:
            return self._function(node, arguments)
        if node.operator == "aten.mul.Tensor" and all(
            isinstance(each, Form) for each in arguments.values()
        ):
            return self._product(node)
        if node.operator not in RULES:
            raise NotCertified("is no operator of spectral layers")
        return RULES[node.operator](self._sources, **arguments)

    def _function(self, node: Node, arguments: Mapping[str, Any]) -> Form:
        operand: Form = arguments["self"]
        parameters = {name: value for name, value in arguments.items() if name != "self"}
        of = node.refs[0].name
        on = self._values.get(of, Interval.entire((1, *operand.shape)))
        function = FUNCTIONS[node.operator](**parameters)
        slopes = function.derivative(on)
        if not bool(slopes.magnitude.isfinite().all()):
            raise NotCertified("is not Lipschitz on the set")
        return self._sources.begin(
            node.name,
            operand,
            slopes_over_grid(operand.atoms, slopes.rearranged(lambda ends: ends[0])),
            flattened(operand),
            Bend(
                of,
                len(self._sources.found),
                function.derivative,
                function.second_derivative,
                node.name,
            ),
        )

    def _product(self, node: Node) -> Form:
        """D(a b) = a da... of both, each a neuron whose slopes are the values of the other."""
        names = [ref.name for ref in node.refs]
        if not all(name in self._values for name in names):
            raise NotCertified("multiplies two tensors that vary, which has no constant everywhere")
        forms = [expanded(self._known[name], node.shape) for name in names]
        forms[0], forms[1] = aligned(*forms)

        def whole(values: Interval) -> Interval:
            return values.rearranged(lambda ends: ends[0].expand(node.shape))

        name, first, parts = f"a factor of {node.name}", len(self._sources.found), []
        for number, (form, other) in enumerate(zip(forms, reversed(names), strict=True)):
            slopes = slopes_over_grid(form.atoms, whole(self._values[other]))
            bend = Bend(other, first + 1 - number, whole, lambda _: Interval.exact(1.0), node.name)
            parts.append(self._sources.begin(name, form, slopes, flattened(form), bend))
        return added(*parts)

    def _shared(self, node: Node, form: Form) -> Form:
        """The form, or that of a new field where it is taken of several and by several."""
        live = [entries for entries in form.terms.values() if entries.places.shape[0]]
        if self._uses[node.name] < 2 or len(live) < 2 or not form.is_field:
            return form
        if not any(isinstance(atom, Grid) for atom in form.atoms):
            return form
        return self._sources.begin(node.name, form, None, flattened(form))

    def _filled_in(self, argument: Argument) -> Any:
        if isinstance(argument, Ref):
            known = self._known[argument.name]
            if isinstance(known, Abstraction):
                return known.value.rearranged(lambda ends: ends[0])
            return known
        if isinstance(argument, tuple):
            return tuple(self._filled_in(item) for item in argument)
        return argument


def _atom(axis: int, size: int, axes: tuple[int, ...]) -> tuple[Dense | Grid, ...]:
    if axis in axes:
        return (Grid(axes.index(axis), size),)
    return (Dense(size),) if size > 1 else ()
