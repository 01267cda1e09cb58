"""Bounds of the norm of a Jacobian from what is known of its rows on parts of a region.

For p -> q, |J x|_q <= | (|J_1|_p*, |J_2|_p*, ...) |_q |x|_p with J_j the rows and p* dual to p, an
equality for q = linf. A row's norm is a convex function of its entries G_i, and of each term

    phi_i(G_i) <= c_i G_i + max(phi_i(l_i) - c_i l_i, phi_i(u_i) - c_i u_i)  on [l_i, u_i],

phi the size of G_i, or its square for l2; the sum of the right sides is affine in the gradient, and
a sweep bounds it jointly.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, gamma
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up, up
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import length

from .enclosure import Enclosure
from .sweep import Relaxation, upper_bounds

_DUALS: dict[Norm, Norm] = {"l1": "linf", "l2": "l2", "linf": "l1"}
_ROUNDING = 32.0 * 2.0**-53


@dataclass(frozen=True, eq=False)
class Objective:
    """What is bounded.

    Args:
        norms: of inputs and outputs.
        inputs: entries of all inputs.
        outputs: entries of the output.
    """

    norms: Norms
    inputs: int
    outputs: int

    @property
    def is_per_row(self) -> bool:
        """Whether the bound is the largest of those of rows, on any parts of the region each."""
        return self.norms.outputs == "linf"

    @property
    def is_swept(self) -> bool:
        """Whether a sweep bounds a row's norm; that for l1 is just of its largest entry."""
        return self.norms.inputs != "l1"

    @cached_property
    def seeds(self) -> Tensor:
        """A unit vector for each row."""
        return torch.eye(self.outputs, dtype=torch.float64)

    @cached_property
    def column_weights(self) -> Tensor:
        """At least what the columns of the Jacobian are multiplied with."""
        weights = self.norms.input_weights
        if weights is None:
            return torch.ones(self.inputs, dtype=torch.float64)
        return (1.0 / weights).upper

    @cached_property
    def row_weights(self) -> Tensor:
        """Likewise of the rows."""
        weights = self.norms.output_weights
        return torch.ones(self.outputs, dtype=torch.float64) if weights is None else weights.upper

    def rows(
        self,
        enclosure: Enclosure,
        relaxation: Relaxation | None = None,
        z: dict[int, Tensor] | None = None,
        *,
        rigorous: bool = True,
    ) -> Tensor:
        """At least the norm of e J D_in^-1 on each part, e its seed: (batch,).

        Args:
            enclosure: of the parts.
            relaxation: what the sweep goes through, if not that of the enclosure.
            z: what may be added to the objective, as it is not negative on the part.
            rigorous: see `upper_bounds`.
        """
        through = enclosure.relaxation if relaxation is None else relaxation
        by_intervals = length(self._sizes(enclosure), _DUALS[self.norms.inputs])
        if not self.is_swept:
            return by_intervals
        slopes, offset = self._chords(enclosure)
        start = (0, slopes[:, None])
        swept = upper_bounds(enclosure.known, through, a=start, z=z, rigorous=rigorous)[:, 0]
        bound = (swept + offset).clamp(min=0.0)
        if not rigorous:
            return bound
        bound = torch.where(swept > -torch.inf, up(up(bound)), torch.inf)
        bound = sqrt_up(bound) if self.norms.inputs == "l2" else bound
        return torch.minimum(bound, by_intervals)

    def total(self, enclosure: Enclosure, rows: Tensor) -> Tensor:
        """At least the norm on each part, from bounds of all its rows: (parts,).

        Args:
            enclosure: of each part times all rows in turn.
            rows: (parts * outputs,).
        """
        if self.is_per_row:
            raise ValueError("the rows are bounded one by one")
        ends = enclosure.a[0]
        shape = (-1, self.outputs, self.inputs)
        jacobian = Interval(ends.lower.reshape(shape), ends.upper.reshape(shape))
        weighted = product_up(rows.reshape(-1, self.outputs), self.row_weights)
        return torch.minimum(length(weighted, self.norms.outputs), self.norms.bound(jacobian))

    def sensitivities(self, enclosure: Enclosure) -> tuple[Tensor, Tensor]:
        """By how much the norm changes with entries of the gradient, (batch, inputs) each.

        Where its sign is known, by the first; elsewhere by at most the second, up or down.
        """
        ends, weights = enclosure.a[0], self.column_weights
        slopes, _ = self._chords(enclosure)
        crosses = (ends.lower < 0) & (ends.upper > 0)
        most = weights * (2.0 * ends.magnitude * weights if self.norms.inputs == "l2" else 1.0)
        return torch.where(crosses, 0.0, slopes), torch.where(crosses, most, 0.0)

    def _sizes(self, enclosure: Enclosure) -> Tensor:
        return product_up(enclosure.a[0].magnitude, self.column_weights)

    def _chords(self, enclosure: Enclosure) -> tuple[Tensor, Tensor]:
        """All c_i, and at least the sum of what is added to c_i G_i: (batch, inputs), (batch,)."""
        ends, weights = enclosure.a[0], self.column_weights
        width = ends.upper - ends.lower
        phi = [self._term(weights * end) for end in (ends.lower, ends.upper)]
        chord = torch.where(width > 0, (phi[1] - phi[0]) / torch.where(width > 0, width, 1.0), 0.0)
        away = torch.maximum(phi[0] - chord * ends.lower, phi[1] - chord * ends.upper)
        sizes = torch.maximum(*phi) + chord.abs() * ends.magnitude
        relative = _ROUNDING + gamma(self.inputs)
        return chord, away.sum(-1) + 2.0 * relative * sizes.sum(-1) + 1e-300

    def _term(self, entries: Tensor) -> Tensor:
        return entries.square() if self.norms.inputs == "l2" else entries.abs()
