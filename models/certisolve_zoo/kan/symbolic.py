"""A formula from a Kolmogorov-Arnold network: edge by edge, then as a whole (Liu et al., 2024).

Every edge is replaced by the elementary function it is nearest to, the functions are composed to
one formula, and its constants are fitted again to the values of the whole network and rounded.
"""

import copy
from dataclasses import dataclass

import numpy as np
import sympy as sp  # type: ignore[import-untyped]  # has no stubs
import torch
from torch import Tensor

from .edge_fit import EdgeFit, best_fit
from .formula import Formula, Points, Values, refitted, rounded
from .library import EXPONENTIAL, LINEAR, LOGARITHM
from .network import Kan
from .training import lattice

NUM_SAMPLES = 300  # along an edge
EVERY = 7  # which points of the lattice the whole formula is fitted to


@dataclass(frozen=True, kw_only=True)
class Readable:
    """A network and what its numbers stand for.

    Attributes:
        network: on [-1, 1]ⁿ.
        variables: names of the inputs in the formula.
        middles: value of each variable at 0.
        halves: by how much each variable differs at 1.
        offset: value of the formula where the network returns 0.
        scale: factor from the network's values to the formula's.
    """

    network: Kan
    variables: tuple[sp.Symbol, ...]
    middles: tuple[float, ...] = (0.0, 0.0)
    halves: tuple[float, ...] = (1.0, 1.0)
    offset: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Edge:
    """What one edge was taken for: edge `target`, `source` of layer `layer`."""

    layer: int
    source: int
    target: int
    fit: EdgeFit


@dataclass(frozen=True)
class ReadOut:
    """The formula of a network.

    Attributes:
        edges: what every edge was taken for.
        formula: the composition, its constants refitted and rounded.
        composed_rmse: difference of the composition from the network before that.
        rmse: and after it.
    """

    edges: tuple[Edge, ...]
    formula: Formula
    composed_rmse: float
    rmse: float


def read_out(readable: Readable) -> ReadOut:
    """The formula of a trained network."""
    network = copy.deepcopy(readable.network).double()
    edges = _read_edges(network, readable)
    points, values = _network_values(network, readable)
    composed = _Composer(edges, readable).formula()
    formula = rounded(refitted(composed, points, values), points, values)
    return ReadOut(edges, formula, composed.rmse(points, values), formula.rmse(points, values))


@torch.no_grad()
def _read_edges(network: Kan, readable: Readable) -> tuple[Edge, ...]:
    hidden = torch.stack(lattice(len(readable.variables)), dim=2).flatten(0, 1)
    edges = []
    layers = network.edges()
    for index, layer in enumerate(layers):
        lower, upper = hidden.min(dim=0).values, hidden.max(dim=0).values
        fractions = torch.linspace(0, 1, NUM_SAMPLES, dtype=lower.dtype)[:, None]
        x = lower + fractions * (upper - lower)
        y = layer.edge_values(x)
        if index == 0:
            x = x.new_tensor(readable.middles) + x * x.new_tensor(readable.halves)
        if index == len(layers) - 1:
            y = readable.scale * y
        edges += _read_layer(index, x, y)
        hidden = layer(hidden)
    return tuple(edges)


def _read_layer(index: int, x: Tensor, y: Tensor) -> list[Edge]:
    _, num_sources, num_targets = y.shape
    return [
        Edge(index, i, j, best_fit(x[:, i].numpy(), y[:, i, j].numpy()))
        for j in range(num_targets)
        for i in range(num_sources)
    ]


@torch.no_grad()
def _network_values(network: Kan, readable: Readable) -> tuple[Points, Values]:
    cover = [variable[:, ::EVERY] for variable in lattice(len(readable.variables))]
    values = readable.offset + readable.scale * network(*cover)
    points = zip(readable.middles, readable.halves, cover, strict=True)
    return tuple(m + h * u[0].numpy() for m, h, u in points), values[0].numpy()


@dataclass(frozen=True)
class _Sum:
    """Σ coefficient expression + constant."""

    terms: tuple[tuple[float, sp.Expr], ...]
    constant: float


class _Composer:
    """Composes edges to a formula without superfluous constants.

    The argument of an exponential needs no constant and that of a power or logarithm no scale:
    both go into the factor, or the constant, in front.
    """

    def __init__(self, edges: tuple[Edge, ...], readable: Readable) -> None:
        self.edges, self.readable = edges, readable
        self.constants: dict[sp.Symbol, float] = {}

    def formula(self) -> Formula:
        total = self._sum(max(edge.layer for edge in self.edges), 0)
        total = _Sum(total.terms, total.constant + self.readable.offset)
        expression = self._with_constants(total, first_is_free=True)
        return Formula(expression, self.readable.variables, self.constants)

    def _sum(self, layer: int, target: int) -> _Sum:
        parts = [
            self._edge(edge) for edge in self.edges if (edge.layer, edge.target) == (layer, target)
        ]
        terms = tuple(term for part in parts for term in part.terms)
        return _Sum(terms, sum(part.constant for part in parts))

    def _edge(self, edge: Edge) -> _Sum:
        fit = edge.fit
        if edge.layer == 0:
            inner = _Sum(((1.0, self.readable.variables[edge.source]),), 0.0)
        else:
            inner = self._sum(edge.layer - 1, edge.source)
        terms = tuple((fit.a * coefficient, each) for coefficient, each in inner.terms)
        return self._applied(fit, _Sum(terms, fit.a * inner.constant + fit.b))

    def _applied(self, fit: EdgeFit, z: _Sum) -> _Sum:
        """C f(z) + d, as one term if f is not the identity."""
        function, c, d = fit.function, fit.c, fit.d
        if function is LINEAR:
            return _Sum(tuple((c * k, each) for k, each in z.terms), c * z.constant + d)
        if function is EXPONENTIAL:
            c, z = c * float(np.exp(z.constant)), _Sum(z.terms, 0.0)
            argument = self._with_constants(z, first_is_free=True)
        elif function.freedom == "shift":
            k = abs(z.terms[0][0])
            c = c if function.degree is None else c * k**function.degree
            d = d + c * float(np.log(k)) if function is LOGARITHM else d
            z = _Sum(tuple((each / k, term) for each, term in z.terms), z.constant / k)
            argument = self._with_constants(z, first_is_free=False)
        else:
            argument = self._with_constants(z, first_is_free=True)
        return _Sum(((c, function.symbol(argument)),), d)

    def _with_constants(self, z: _Sum, *, first_is_free: bool) -> sp.Expr:
        """The sum with a symbol for each of its numbers; a first one of ±1 may stay as it is."""
        (first, leading), *others = z.terms
        expression = (self._constant(first) if first_is_free else round(first)) * leading
        for coefficient, term in others:
            expression += self._constant(coefficient) * term
        return expression + (self._constant(z.constant) if z.constant else 0)

    def _constant(self, value: float) -> sp.Symbol:
        symbol = sp.Symbol(f"p{len(self.constants)}")
        self.constants[symbol] = value
        return symbol
