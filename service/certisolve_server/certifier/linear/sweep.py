"""Upper bounds of linear functions of what a network and its derivative compute: CROWN on both.

What is bounded is a sum of coefficients times a_k and z_k (see `network`). Backwards through its
data flow, first a_k in terms of d_l of later layers, d_l = f'(z_l) a_l by planes, at last z_k in
terms of h_j of earlier layers and h_j = f(z_j) by lines, until inputs alone are left (Zhang et al.,
CROWN, NeurIPS 2018; of derivatives: Shi et al., NeurIPS 2022).

Coefficients are floats: where the exact one is known to e only, e times the largest size of what
it multiplies goes to the constant. These sizes are proven beforehand, so all errors of rounding of
a product with a matrix W in C +- R are |A| t with t = (gamma_n |C| + R) |h|, one vector per map.
Their sum is computed in floats too; twice the result is more than its own roundings could hide.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import gamma

from .inputs import MORE_TERMS, Inputs
from .network import Network
from .planes import Lines, Planes

#: Coefficients and sizes above it are not computed with; below, all products that underflow
#: together are less than `_UNDERFLOW`.
_LARGEST = 1e40
_UNDERFLOW = 1e-200


@dataclass(eq=False)
class Known:
    """What is known of each layer, number k from 1 on, on a batch of parts of the region.

    Args:
        seeds: e A_k, nearly, by source: (batch, entries).
        a_errors: t of a_k in terms of d_l, by source: (batch, entries).
        z_errors: t of z_k in terms of h_j, by layer.
        h_sizes, d_sizes: of values, by source, and of d, by layer: (batch, neurons).
        z_sizes, a_sizes: of arguments, by layer, and of a, by source.
    """

    network: Network
    inputs: Inputs
    seeds: dict[int, Tensor] = field(default_factory=dict)
    a_errors: dict[int, Tensor] = field(default_factory=dict)
    z_errors: dict[int, Tensor] = field(default_factory=dict)
    h_sizes: dict[int, Tensor] = field(default_factory=dict)
    d_sizes: dict[int, Tensor] = field(default_factory=dict)
    z_sizes: dict[int, Tensor] = field(default_factory=dict)
    a_sizes: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Lines of each layer, and planes of those whose a is bounded already."""

    lines: dict[int, Lines]
    planes: dict[int, Planes]


def upper_bounds(
    known: Known,
    relaxation: Relaxation,
    *,
    a: tuple[int, Tensor] | None = None,
    z: dict[int, Tensor] | None = None,
    rigorous: bool = True,
) -> Tensor:
    """At least each of some linear functions, (batch, rows).

    Args:
        known: see there.
        relaxation: of all layers that matter.
        a: a source k and coefficients of a_k, (batch, rows, entries); that of 0 is the gradient.
        z: coefficients of z_k by layer.
        rigorous: whether errors are added; without them this is a search, and no bound.

    Returns:
        inf where floats overflow or become too large.
    """
    sweep = _Sweep(known, relaxation, rigorous, dict(z or {}))
    if a is not None:
        sweep.adjoint(*a)
    return sweep.forward()


def affine_bounds(
    known: Known, relaxation: Relaxation, z: dict[int, Tensor]
) -> tuple[Tensor, Tensor]:
    """Nearly an affine function of the inputs that is above each of some linear functions of z.

    Returns:
        Its coefficients, (batch, rows, inputs), and its constants, (batch, rows).
    """
    sweep = _Sweep(known, relaxation, rigorous=False, z=dict(z))
    sweep.to_inputs()
    constant = torch.as_tensor(sweep.constant, dtype=torch.float64)
    coefficients = sweep.h.get(0)
    if coefficients is None:
        coefficients = torch.zeros(*constant.shape, known.network.inputs, dtype=torch.float64)
    return coefficients, constant


@dataclass(eq=False)
class _Sweep:
    known: Known
    relaxation: Relaxation
    rigorous: bool
    z: dict[int, Tensor]
    d: dict[int, Tensor] = field(default_factory=dict)
    h: dict[int, Tensor] = field(default_factory=dict)
    constant: Tensor | float = 0.0
    sizes: Tensor | float = 0.0
    slack: Tensor | float = 0.0
    largest: Tensor | float = 0.0

    def adjoint(self, source: int, a: Tensor) -> None:
        """From a_k through all later layers, until coefficients of z alone are left."""
        self._expand_a(source, a)
        for number in range(source + 1, self.known.network.depth + 1):
            if number in self.d:
                self._expand_a(number, self._relax_d(number, self.d.pop(number)))

    def forward(self) -> Tensor:
        """From z to the inputs, and the largest value there."""
        self.to_inputs()
        if 0 in self.h:
            self._add_constant(self.known.inputs.largest(self.h[0]))
            if self.rigorous:
                self._charge_sizes(self.h[0].abs(), None)
                self.slack = self.slack + self.known.inputs.error(self.h[0].abs())
        return self._total()

    def to_inputs(self) -> None:
        """From z through all earlier layers, until coefficients of inputs alone are left."""
        for number in range(self.known.network.depth, 0, -1):
            if number in self.h:
                self._relax_h(number, self.h.pop(number))
            if number in self.z:
                self._expand_z(number, self.z.pop(number))

    def _expand_a(self, source: int, a: Tensor) -> None:
        for number, matrix in self.known.network.consumers[source]:
            _add(self.d, number, a @ matrix.center.mT)
        self._add_constant(_dot(a, self.known.seeds[source][:, None]))
        self._charge(a, self.known.a_errors[source][:, None])

    def _relax_d(self, number: int, d: Tensor) -> Tensor:
        planes = self.relaxation.planes[number]
        above, below = d.clamp(min=0.0), d.clamp(max=0.0)
        _add(self.z, number, above * planes.upper_p + below * planes.lower_p)
        self._add_constant(_dot(above, planes.upper_offset) + _dot(below, planes.lower_offset))
        if self.rigorous:
            p = torch.maximum(planes.upper_p.abs(), planes.lower_p.abs())
            q = torch.maximum(planes.upper_q.abs(), planes.lower_q.abs())
            offset = torch.maximum(planes.upper_offset.abs(), planes.lower_offset.abs())
            z, a = self.known.z_sizes[number][:, None], self.known.a_sizes[number][:, None]
            self._charge(d, _relative(d) * (offset + p * z + q * a))
        return above * planes.upper_q + below * planes.lower_q

    def _relax_h(self, number: int, h: Tensor) -> None:
        lines = self.relaxation.lines[number]
        above, below = h.clamp(min=0.0), h.clamp(max=0.0)
        _add(self.z, number, above * lines.upper_slope + below * lines.lower_slope)
        self._add_constant(_dot(above, lines.upper_offset) + _dot(below, lines.lower_offset))
        if self.rigorous:
            slope = torch.maximum(lines.upper_slope.abs(), lines.lower_slope.abs())
            offset = torch.maximum(lines.upper_offset.abs(), lines.lower_offset.abs())
            size = self.known.z_sizes[number][:, None]
            self._charge(h, _relative(h) * (offset + slope * size))

    def _expand_z(self, number: int, z: Tensor) -> None:
        argument = self.known.network.layers[number - 1].argument
        for source, matrix in argument.maps.items():
            _add(self.h, source, z @ matrix.center)
        self._add_constant(z @ argument.offset.midpoint_radius()[0])
        self._charge(z, self.known.z_errors[number][:, None])

    def _add_constant(self, term: Tensor) -> None:
        self.constant = self.constant + term
        if self.rigorous:
            self.sizes = self.sizes + term.abs()

    def _charge(self, coefficients: Tensor, error: Tensor) -> None:
        """The error per unit of each coefficient."""
        if self.rigorous:
            self._charge_sizes(coefficients.abs(), error)

    def _charge_sizes(self, sizes: Tensor, error: Tensor | None) -> None:
        self.largest = torch.maximum(sizes.amax(-1), torch.as_tensor(self.largest))
        if error is not None:
            self.slack = self.slack + _dot(sizes, error)

    def _total(self) -> Tensor:
        bound = torch.as_tensor(self.constant, dtype=torch.float64)
        if not self.rigorous:
            return bound
        own = gamma(4 * MORE_TERMS) * self.sizes
        bound = bound + 2.0 * (self.slack + own) + _UNDERFLOW
        # False of NaN and infinities.
        usable = (bound.abs() < _LARGEST) & (self.largest < _LARGEST) & (self.sizes < _LARGEST)
        return torch.where(usable, bound, torch.inf)


def _relative(coefficients: Tensor) -> float:
    return gamma(coefficients.shape[-1] + MORE_TERMS)


def _add(terms: dict[int, Tensor], key: int, term: Tensor) -> None:
    terms[key] = terms[key] + term if key in terms else term


def _dot(coefficients: Tensor, numbers: Tensor) -> Tensor:
    """Over the last axis, (batch, rows); `numbers` may have one row for all."""
    if numbers.shape[-2] == 1:
        return torch.matmul(coefficients, numbers.mT)[..., 0]
    return (coefficients * numbers).sum(-1)
