"""Convolutions on grids, circular or with zeros around, with strides, dilations and groups.

In phases of the stride (space to depth) x[s t + r] = x_r[t], and a strided convolution is a sum of
plain ones, y[t] = sum_r sum_q K_r[q] x_r[t + q], with s r-th parts of the kernel as further input
channels. A circular one has in the basis of Fourier the blocks K^(w) = sum_q K[q] e^{i w q}, so
its l2 norm is the largest of theirs (Sedghi, Gupta and Long, ICLR 2019). With zeros around, outputs
t = 0 to n - 1 meet the inputs from q_min to n - 1 + q_max of each phase, which are different places
of a circle of n + q_max - q_min: so that operator is a part of the circular one of this size, and
its norm is at most that one's.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, convolution, matmul, spectral_norm
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes

from .fourier import as_real, phases
from .operator import LinearOperator, require


@dataclass(frozen=True, eq=False)
class Convolution(LinearOperator):
    """The cross-correlation of `torch.nn.functional.conv1d`, `conv2d` and so on.

    Args:
        weight: exact or enclosed, (out channels, in channels / groups, *kernel).
        grid: points of the input per axis.
        stride: step per axis; divides the grid where the convolution is circular.
        padding: points before and after, per axis.
        dilation: distance of taps, per axis.
        groups: of channels that do not mix.
        circular: whether the points around are those of the other side, as of `padding_mode`
            circular in torch, and not zeros.
    """

    weight: Interval
    grid: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    circular: bool = False

    def __post_init__(self) -> None:
        axes = len(self.grid)
        settings = (self.stride, self.padding, self.dilation)
        require(axes > 0 and self.weight.ndim == axes + 2, "a kernel with the axes of the grid")
        require(all(len(setting) == axes for setting in settings), "settings for each axis")
        require(min(*self.grid, *self.stride, *self.dilation) > 0, "sizes and steps are above 0")
        require(min(self.padding) >= 0, "padding is not negative")
        require(self.weight.shape[0] % self.groups == 0, "groups divide the output channels")
        require(min(self.output_grid) > 0, "the kernel is larger than the grid")
        if self.circular:
            wraps = zip(self.grid, self.padding, self.stride, strict=True)
            fits = all(p <= n and n % s == 0 for n, p, s in wraps)
            steps = zip(self.output_grid, self.stride, self.grid, strict=True)
            whole = all(m * s == n for m, s, n in steps)
            require(fits and whole, "a circular convolution keeps the circle, but for the stride")

    @property
    def inputs(self) -> int:
        return self.weight.shape[1] * self.groups * math.prod(self.grid)

    @property
    def outputs(self) -> int:
        return self.weight.shape[0] * math.prod(self.output_grid)

    @cached_property
    def output_grid(self) -> tuple[int, ...]:
        """Points of the output per axis."""
        sizes = zip(
            self.grid, self.weight.shape[2:], self.stride, self.padding, self.dilation, strict=True
        )
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)

    def norm_bound(self, norm: Norm) -> float:
        if norm == "linf":
            sizes = self._taps.magnitude
            return float(sum_of_sizes(sizes, tuple(range(1, sizes.ndim))).max())
        if norm == "l1":
            return float(self._column_sums().max())
        cos, sin = phases(self._places, self._frequencies(), self._circle)
        real, imaginary = self._symbol(cos), self._symbol(sin)
        return float(spectral_norm(as_real(real, imaginary)).max())

    def apply(self, x: Interval) -> Interval:
        channels = self.weight.shape[1] * self.groups
        image = x.rearranged(lambda ends: ends.reshape(-1, channels, *self.grid))
        padding = self.padding
        if self.circular:
            image = image.rearranged(self._wrapped)
            padding = (0,) * len(padding)
        result = convolution(
            self.weight,
            image,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return result.rearranged(lambda ends: ends.reshape(*x.shape[:-1], self.outputs))

    def _wrapped(self, image: Tensor) -> Tensor:
        for axis, (size, around) in enumerate(zip(self.grid, self.padding, strict=True), start=2):
            image = image.index_select(axis, torch.arange(-around, size + around) % size)
        return image

    @cached_property
    def _taps(self) -> Interval:
        """The kernel of one group, (out channels, in channels / group, taps)."""
        return self.weight.rearranged(lambda ends: ends.flatten(2))

    @cached_property
    def _offsets(self) -> Tensor:
        """Where taps reach from stride times t, (taps, axes)."""
        settings = zip(self.weight.shape[2:], self.dilation, self.padding, strict=True)
        return torch.cartesian_prod(*[torch.arange(k) * d - p for k, d, p in settings]).reshape(
            -1, len(self.grid)
        )

    @cached_property
    def _places(self) -> Tensor:
        """Q of each tap, (taps, axes)."""
        return self._offsets.div(torch.tensor(self.stride), rounding_mode="floor")

    @cached_property
    def _phase(self) -> Tensor:
        """R of each tap as one number, (taps,)."""
        steps = torch.tensor([math.prod(self.stride[axis + 1 :]) for axis in range(len(self.grid))])
        return ((self._offsets % torch.tensor(self.stride)) * steps).sum(-1)

    @cached_property
    def _circle(self) -> tuple[int, ...]:
        """The size per axis of a circle of which the operator is a part."""
        if self.circular:
            return self.output_grid
        reach = (self._places.amax(0) - self._places.amin(0)).tolist()
        return tuple(n + far for n, far in zip(self.output_grid, reach, strict=True))

    def _frequencies(self) -> Tensor:
        """Half of all; the blocks of the others are the complex conjugates of these."""
        *others, last = self._circle
        axes = [range(size) for size in others] + [range(last // 2 + 1)]
        return torch.tensor(list(itertools.product(*axes)))

    def _symbol(self, wave: Interval) -> Interval:
        """sum_q K_r[q] wave[q, w], (frequencies * groups, out / groups, phases * in / groups)."""
        parts = []
        for phase in range(math.prod(self.stride)):
            chosen = (self._phase == phase).nonzero()[:, 0]
            kernel = self._taps.rearranged(lambda ends, at=chosen: ends[..., at])  # type: ignore[misc]
            parts.append(matmul(kernel, wave.rearranged(lambda ends, at=chosen: ends[at])))  # type: ignore[misc]
        ends = [self._grouped([getattr(part, end) for part in parts]) for end in ("lower", "upper")]
        return Interval(ends[0], ends[1])

    def _grouped(self, parts: list[Tensor]) -> Tensor:
        """(out, in / groups, frequencies) by phase to matrices of each frequency and group."""
        together = torch.cat(parts, 1)
        grouped = together.reshape(self.groups, -1, *together.shape[1:])
        return grouped.permute(3, 0, 1, 2).flatten(0, 1)

    def _column_sums(self) -> Numbers:
        """At least the sizes that an input meets, (phases, groups, in channels)."""
        taps = self._taps.magnitude
        sizes = taps.reshape(self.groups, -1, *taps.shape[1:])
        return torch.stack(
            [
                sum_of_sizes(sizes[..., self._phase == phase], (1, 3))
                for phase in range(math.prod(self.stride))
            ]
        )
