"""Backward: what the output takes of each field around the center, and the bound from it.

With C_i what the slopes m at the center make the output take of h_i,

    C_j = sum_i C_i diag(m_i) A_ij + R_j,    C = 1 at the output,

R_j being rounding, multiplying out from the end gives of each two points x, x' of the set

    y(x) - y(x') = (C_0 + sum_i C_i S_i (F_i + E_i) - sum_j R_j H_j) (x - x'),

with S_i, F_i and E_i from `expand` and h_j(x) - h_j(x') = H_j (x - x'). So what is of first order,
C_i S_i F_i, lies between what really comes before and after, and products of norms are left for
the second order, C_i S_i E_i. Entry by entry |C_i S_i F_i| <= |C_i| s_i |F_i|, and in l2

    |C_i S_i F_i|_2 <= |C_i diag(s_i)^(1/2)|_2 |diag(s_i)^(1/2) F_i|_2.
"""

import math
from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.norms import Norms

from .expand import Expanded, Field
from .layout import Layout
from .sizes import MORE, SMALLEST, frobenius, lengths, lengths_along, require_tame, spectral
from .slopes import Slopes


def bound(expanded: Expanded, norms: Norms) -> Generator[None, None, float]:
    """At least the Lipschitz constant on the set of the expansion; perhaps inf.

    Raises:
        NotCertified: numbers grow too large.
    """
    backward = _Backward(expanded)
    for number in reversed(range(expanded.network.inputs, len(expanded.network.sources) - 1)):
        yield from backward.pass_field(number)
    return min(backward.by_entries(norms), backward.by_lengths(norms))


class _Backward:
    """From the output to the inputs.

    Attributes:
        first: at least sum_i |C_i| s_i |F_i|, (outputs, inputs).
        first_length: at least the sum of these terms in l2.
        second: at least what E adds to each entry of a row, (outputs, 1).
        second_length: at least what E adds in l2.
        rounding: at least what rounding adds in l2.
    """

    def __init__(self, expanded: Expanded) -> None:
        self._expanded = expanded
        output = expanded.network.sources[-1]
        self._outputs = output.channels * math.prod(output.grid)
        inputs = expanded.fields[0].jacobian.shape[0]
        self.first = torch.zeros(self._outputs, inputs, dtype=torch.float64)
        self.second = torch.zeros(self._outputs, 1, dtype=torch.float64)
        self.first_length = self.second_length = self.rounding = 0.0
        self._taken: dict[int, Tensor] = {}
        identity = torch.eye(self._outputs, dtype=torch.float64)
        self._pass_on(len(expanded.network.sources) - 1, Layout(output.atoms).to_fields(identity))

    def pass_field(self, number: int) -> Iterator[None]:
        """Counts what a field adds, and goes on to those before it."""
        taken = self._taken.pop(number, None)
        if taken is None:
            return
        require_tame(taken)
        field = self._expanded.fields[number]
        if field.slopes is not None:
            self._count(taken, field, field.slopes)
            yield
            taken = field.slopes.center * taken
        self._pass_on(number, taken)
        yield

    def by_entries(self, norms: Norms) -> float:
        """The norm of all matrices whose entries are as near to C_0 as those of the set."""
        radius = (self.first + self.second + self.rounding) * MORE
        return float(norms.bound(Interval.ball(self._center(), radius))[0])

    def by_lengths(self, norms: Norms) -> float:
        """|C_0| and the norms of what is added to it in l2, as norms are compared."""
        added = self.first_length + self.second_length + self.rounding
        outputs, inputs = self.first.shape
        return (
            float(norms.bound(Interval.exact(self._center()))[0])
            + added * _between(norms, outputs, inputs)
        ) * MORE

    def _center(self) -> Tensor:
        """C_0, (1, outputs, inputs)."""
        columns = []
        for number in range(self._expanded.network.inputs):
            source = self._expanded.network.sources[number]
            taken = self._taken.get(number)
            size = source.channels * math.prod(source.grid)
            columns.append(
                torch.zeros(self._outputs, size, dtype=torch.float64)
                if taken is None
                else Layout(source.atoms).from_fields(taken)
            )
        return torch.cat(columns, 1)[None]

    def _count(self, taken: Tensor, field: Field, slopes: Slopes) -> None:
        sizes, spread = taken.abs().flatten(1), slopes.spread.flatten()
        before = field.jacobian.abs().flatten(1)
        self.first += (sizes * spread) @ before.mT * MORE + SMALLEST
        root = slopes.spread.sqrt() * MORE + SMALLEST
        self.first_length += spectral(root * taken) * spectral(root * field.jacobian) * MORE
        bent = slopes.spread * taken
        each = lengths_along(taken.flatten(1), 0)
        by_row = lengths(bent) + slopes.loose * taken.abs().flatten(1).amax(1) * MORE
        self.second += (by_row * field.error)[:, None] * MORE
        by_length = spectral(bent) + slopes.loose * float(each.amax()) * MORE
        self.second_length += by_length * field.error * MORE
        if slopes.loose:
            self._count_loose(taken, field.jacobian, slopes.loose)

    def _count_loose(self, taken: Tensor, jacobian: Tensor, loose: float) -> None:
        """|C T F|: by |T| times the root of sum_n C_on^2 F_ni^2, and by max_n |F_n| |C|."""
        behind, before = taken.flatten(1).square(), jacobian.flatten(1).square()
        self.first += (behind @ before.mT).sqrt() * (loose * MORE) + SMALLEST
        longest = math.sqrt(float(before.sum(0).amax())) * MORE + SMALLEST
        self.first_length += spectral(taken) * loose * longest * MORE

    def _pass_on(self, number: int, taken: Tensor) -> None:
        for j, transfer in self._expanded.transfers[number].items():
            part = transfer.adjoint(taken)
            off = transfer.adjoint.rounded(taken)
            if j in self._taken:
                off += 2.0**-50 * (frobenius(part) + frobenius(self._taken[j]))
                part = self._taken[j] + part
            self._taken[j] = part
            field = self._expanded.fields[j]
            self.rounding += off * float(field.most.amax()) * field.size * MORE


def _between(norms: Norms, outputs: int, inputs: int) -> float:
    """At least |M|_{p->q} / |M|_2, weights included."""
    factor = 1.0
    if norms.inputs == "linf":
        factor *= math.sqrt(inputs)
    if norms.outputs == "l1":
        factor *= math.sqrt(outputs)
    if norms.input_weights is not None:
        factor /= float(norms.input_weights.lower.min())
    if norms.output_weights is not None:
        factor *= float(norms.output_weights.upper.max())
    return factor * MORE
