"""Layers of Fourier neural operators: on each frequency a matrix of its own.

A real field u with spectrum u^ goes to the field whose half spectrum is R_k u^(k) for kept k, and
0 for others, plus W u at each point. The inverse transform of real fields (`irfftn`) takes of what
it is given for k_last = 0 and k_last = n / 2, which are their own partners along the last axis, the
part that is the spectrum of a real field, (v(k) + conj v(-k)) / 2. As u^(-k) = conj u^(k), there
the layer acts by (R_k + conj R_{-k}) / 2, a missing partner counting as 0; for one axis by Re R_0.
The transform on one and the same grid is unitary up to a factor that its inverse takes back, so the
l2 norm is the largest norm of all blocks, with those of k and -k equal. Blocks do not depend on the
grid as long as no kept k is n / 2 on any axis: bounds hold for every such grid then.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import (
    Interval,
    concatenate,
    einsum,
    matmul,
    spectral_norm,
    stack,
)
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes

from .fourier import as_real, phases
from .operator import LinearOperator, require

Frequency = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Spectral(LinearOperator):
    """A block diagonal operator in the basis of Fourier, of real fields on one periodic grid.

    Args:
        grid: points per axis.
        frequencies: k of each block, one of k and -k, indices modulo the grid.
        real: of the blocks, (blocks, out channels, in channels).
        imaginary: likewise.
        rest: the real block of all other frequencies, (out channels, in channels).
    """

    grid: tuple[int, ...]
    frequencies: tuple[Frequency, ...]
    real: Interval
    imaginary: Interval
    rest: Interval

    def __post_init__(self) -> None:
        shape = (len(self.frequencies), *self.rest.shape)
        require(self.real.shape == shape == self.imaginary.shape, "a block for each frequency")
        known = {self._canonical(k) for k in self.frequencies}
        require(len(known) == len(self.frequencies), "a frequency occurs twice")
        own = self.imaginary.magnitude[self._is_own_partner()]
        require(not bool(own.any()), "a block that is its own partner is real")

    @classmethod
    def of_weights(
        cls, weights: Tensor, frequencies: Sequence[Frequency], grid: tuple[int, ...]
    ) -> "Spectral":
        """The layer irfftn(R rfftn(u)) with weights as stored.

        Args:
            weights: R, complex, (kept, out channels, in channels), taken exactly.
            frequencies: k of each; the last of each k, from 0 to n / 2, is that of `rfftn`.
            grid: points per axis, the same for input and output.
        """
        stored = {
            cls._modulo(k, grid): block for k, block in zip(frequencies, weights, strict=True)
        }
        require(len(stored) == len(frequencies), "a frequency occurs twice on this grid")
        require(all(2 * k[-1] <= grid[-1] for k in stored), "the last axis has half a spectrum")
        blocks = {min(k, cls._partner(k, grid)): cls._effective(stored, k, grid) for k in stored}
        zero = Interval.exact(torch.zeros(weights.shape[1:], dtype=torch.float64))
        return cls(
            grid,
            tuple(blocks),
            stack([real for real, _ in blocks.values()], 0),
            stack([imaginary for _, imaginary in blocks.values()], 0),
            zero,
        )

    @property
    def inputs(self) -> int:
        return self.rest.shape[1] * math.prod(self.grid)

    @property
    def outputs(self) -> int:
        return self.rest.shape[0] * math.prod(self.grid)

    def plus_pointwise(self, weight: Interval) -> "Spectral":
        """With W u added at each point: K + W."""
        return replace(self, real=self.real + weight, rest=self.rest + weight)

    def after_pointwise(self, weight: Interval) -> "Spectral":
        """Of P u: A P."""
        return replace(
            self,
            real=matmul(self.real, weight),
            imaginary=matmul(self.imaginary, weight),
            rest=matmul(self.rest, weight),
        )

    def norm_bound(self, norm: Norm) -> float:
        if norm == "l2":
            return float(spectral_norm(self.blocks()).max())
        kernel = self._kernel().magnitude
        return float(sum_of_sizes(kernel, (1, 2) if norm == "linf" else (0, 2)).max())

    def apply(self, x: Interval) -> Interval:
        points = math.prod(self.grid)
        field = x.rearranged(lambda ends: ends.reshape(*ends.shape[:-1], -1, points))
        places = self._differences()
        circulant = self._kernel().rearranged(lambda ends: ends[..., places])
        return einsum("oits,...is->...ot", circulant, field).rearranged(lambda e: e.flatten(-2))

    def blocks(self) -> Interval:
        """All different blocks as real matrices, (blocks + 1, 2 out channels, 2 in channels)."""
        rest = as_real(self.rest, self.rest * 0.0)
        kept = as_real(self.real, self.imaginary)
        return concatenate((kept, rest.rearranged(lambda ends: ends.unsqueeze(0))), 0)

    def _kernel(self) -> Interval:
        """The response to an impulse, (out channels, in channels, points): exact up to rounding.

        rest at 0, and for each block the inverse transform of its difference from rest, with twice
        the real part where -k is another frequency.
        """
        points = torch.cartesian_prod(*[torch.arange(n) for n in self.grid])
        points = points.reshape(-1, len(self.grid))
        cos, sin = phases(torch.tensor(self.frequencies), points, self.grid)
        weights = torch.where(self._is_own_partner(), 1.0, 2.0).to(torch.float64)[:, None]
        share = self.real - self.rest
        response = einsum("koi,kt->oit", share, cos * weights) - einsum(
            "koi,kt->oit", self.imaginary, sin * weights
        )
        impulse = torch.zeros(math.prod(self.grid), dtype=torch.float64)
        impulse[0] = 1.0
        at_zero = self.rest.rearranged(lambda ends: ends.unsqueeze(-1)) * impulse
        return response / float(math.prod(self.grid)) + at_zero

    def _differences(self) -> Tensor:
        """Of points t and s the place of t - s, (points, points)."""
        points = list(itertools.product(*[range(n) for n in self.grid]))
        index = {point: place for place, point in enumerate(points)}
        rows = [
            [
                index[self._modulo([a - b for a, b in zip(t, s, strict=True)], self.grid)]
                for s in points
            ]
            for t in points
        ]
        return torch.tensor(rows)

    def _is_own_partner(self) -> Tensor:
        """Of each block, whether -k is k."""
        known = [self._modulo(k, self.grid) for k in self.frequencies]
        return torch.tensor([k == self._partner(k, self.grid) for k in known], dtype=torch.bool)

    def _canonical(self, frequency: Frequency) -> Frequency:
        """The same of k and -k."""
        k = self._modulo(frequency, self.grid)
        return min(k, self._partner(k, self.grid))

    @staticmethod
    def _modulo(frequency: Sequence[int], grid: tuple[int, ...]) -> Frequency:
        return tuple(k % n for k, n in zip(frequency, grid, strict=True))

    @staticmethod
    def _partner(frequency: Frequency, grid: tuple[int, ...]) -> Frequency:
        """-k."""
        return tuple(-k % n for k, n in zip(frequency, grid, strict=True))

    @classmethod
    def _effective(
        cls, stored: dict[Frequency, Tensor], k: Frequency, grid: tuple[int, ...]
    ) -> tuple[Interval, Interval]:
        """The block of the smaller of k and -k, real and imaginary part."""
        partner = cls._partner(k, grid)
        block = stored[k]
        real, imaginary = Interval.exact(block.real), Interval.exact(block.imag)
        if 2 * k[-1] % grid[-1] == 0:
            other = stored.get(partner, torch.zeros_like(block))
            real = (real + other.real) * 0.5
            imaginary = (imaginary - other.imag) * 0.5
        return (real, imaginary) if k <= partner else (real, -imaginary)
