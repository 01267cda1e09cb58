"""Convolutional networks as chains of one block per frequency.

With zeros around, a convolution is P C E: E puts zeros around its input until it fits a circle, C
is a circular convolution, P keeps the outputs that there are (see `operators.convolution`). After a
nonlinearity with slopes D comes the next E, and E D P is D on the points that there are and 0 on
the rest of the circle: slopes in the hull of those of D and 0. E and P at the ends do not lengthen
anything. So the network is bounded by that of the circular convolutions on one circle, with slopes,
and multipliers, that are the same at all points for each channel. In the basis of Fourier these are
block diagonal.

With strides, layers live on grids of different steps. Their points are sorted by phases of the
largest step, which all grids have a circle of: x[R t + r] is channel r of point t. Tap q of a layer
of stride s takes x[s (R t + r) + q], the phase (s r + q) mod s R of t + floor((s r + q) / (s R)).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval, concatenate, matmul
from certisolve_server.certifier.chains import Chain, Slopes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.operators import (
    Composition,
    Convolution,
    Dense,
    Diagonal,
    LinearOperator,
)
from certisolve_server.certifier.operators.fourier import as_real, phases

from .compose import after
from .operators import OperatorLayer, Operators

#: Of all blocks of a map together.
_MOST_ELEMENTS = 1 << 24

# Of the largest weight of a channel, so that what the output does not take can be scaled back.
_LEAST_SHARE = 2.0**-20


@dataclass(frozen=True, eq=False)
class Circles:
    """A chain of convolutions and what follows it, so that |f(x) - f(y)| <= |tail| L |x - y|.

    Args:
        chain: with the constant L, l2 to l2.
        tail: the operator after the last nonlinearity, its inputs scaled back.
    """

    chain: Chain
    tail: LinearOperator


@dataclass(frozen=True, eq=False)
class _Step:
    """One convolution and the slopes after it, (channels, *grid) each."""

    convolution: Convolution
    least: torch.Tensor
    most: torch.Tensor


def circles_of(operators: Operators) -> Circles:
    """The chain of a network that is one of convolutions up to its last nonlinearity.

    Raises:
        NotCertified: it is not, or its blocks would be too many.
    """
    steps, source = [], operators.inputs[0]
    if len(operators.inputs) != 1 or not operators.layers:
        raise NotCertified("convolutions in a row have one input, and functions between them")
    for layer in operators.layers:
        if set(layer.runs) != {source}:
            raise NotCertified("convolutions in a row take one value each")
        steps += _steps(layer, source)
        source = layer.name
    if set(operators.output) != {source}:
        raise NotCertified("the output takes more than the last of the convolutions in a row")
    circle = _circle([step.convolution for step in steps])
    return _assembled(steps, circle, operators.output[source])


def _steps(layer: OperatorLayer, source: str) -> list[_Step]:
    run = layer.runs[source]
    parts = run.parts if isinstance(run, Composition) else (run,)
    found = []
    for part in parts:
        if not isinstance(part, Convolution):
            raise NotCertified("what is between two functions is more than convolutions")
        shape = (part.weight.shape[0], *part.output_grid)
        # What is outside of the grid between two convolutions is cut off: a slope of 0 there.
        ones = torch.ones(shape, dtype=torch.float64)
        found.append(_Step(part, ones, ones))
    last = found[-1]
    least, most = (
        ends.reshape(last.least.shape) for ends in (layer.slopes.least, layer.slopes.most)
    )
    return [*found[:-1], _Step(last.convolution, least, most)]


def _circle(convolutions: Sequence[Convolution]) -> tuple[int, ...]:
    """Points per axis of the coarsest grid's circle."""
    first, last = convolutions[0], convolutions[-1]
    if all(each.circular for each in convolutions):
        return last.output_grid
    if any(each.circular for each in convolutions):
        raise NotCertified("some convolutions in a row are circular, and some are not")
    sizes = []
    for axis in range(len(first.grid)):
        steps = [each.stride[axis] for each in convolutions]
        needed = [
            -(-_length(each, axis) // math.prod(steps[number:]))
            for number, each in enumerate(convolutions)
        ]
        sizes.append(max(needed))
    return tuple(sizes)


def _length(each: Convolution, axis: int) -> int:
    """Points of a circle of the input on which no window meets the input twice."""
    around = each.padding[axis]
    reach = each.dilation[axis] * (each.weight.shape[2 + axis] - 1) - around
    behind = each.stride[axis] * (each.output_grid[axis] - 1) + reach + 1
    return max(behind, each.grid[axis]) + around


def _assembled(
    steps: Sequence[_Step], circle: tuple[int, ...], output: LinearOperator | None
) -> Circles:
    *others, last = circle
    axes = [range(size) for size in others] + [range(last // 2 + 1)]
    frequencies = torch.tensor(list(itertools.product(*axes)))
    strides = [step.convolution.stride for step in steps]
    maps, slopes = [], []
    for number, step in enumerate(steps):
        rest = tuple(math.prod(each) for each in zip(*strides[number + 1 :], strict=True))
        rest = rest or (1,) * len(circle)
        maps.append(_blocks(step.convolution, rest, circle, frequencies))
        slopes.append(_slopes(step, rest, cut=not step.convolution.circular))
    weights, tail = _tail(output, steps[-1])
    end = torch.diag(weights)
    maps.append(as_real(Interval.exact(end), Interval.exact(torch.zeros_like(end))))
    return Circles(Chain(tuple(maps), tuple(slopes), copies=2), tail)


def _tail(output: LinearOperator | None, last: _Step) -> tuple[torch.Tensor, LinearOperator]:
    """A weight for each channel, about as much as the output takes of it, and what is left."""
    channels, points = last.least.shape[0], last.least[0].numel()
    weights = torch.ones(channels, dtype=torch.float64)
    if isinstance(output, Dense):
        taken = output.weight.midpoint_radius()[0].reshape(-1, channels, points)
        sizes = taken.square().sum((0, 2)).sqrt()
        weights = sizes.clamp(min=float(sizes.max()) * _LEAST_SHARE) if sizes.any() else weights
    spread = weights.repeat_interleave(points)
    back = Diagonal(1.0 / Interval.exact(spread))
    if output is None:
        return weights, back
    run: LinearOperator | None = back
    run = after(output, run)
    return weights, back if run is None else run


def _slopes(step: _Step, rest: tuple[int, ...], cut: bool) -> Slopes:
    """Of each channel at each phase, on all of the circle."""
    ends = []
    for values, reduce in ((step.least, torch.amin), (step.most, torch.amax)):
        by_phase = [
            reduce(_at_phase(values, phase, rest), 1)
            for phase in itertools.product(*(range(n) for n in rest))
        ]
        ends.append(torch.stack(by_phase, 1).flatten())
    least, most = ends
    return Slopes(least.clamp(max=0.0), most.clamp(min=0.0)) if cut else Slopes(least, most)


def _at_phase(values: torch.Tensor, phase: tuple[int, ...], rest: tuple[int, ...]) -> torch.Tensor:
    """(channels, points), 0 at one point where the phase has none."""
    places = (slice(r, None, n) for r, n in zip(phase, rest, strict=True))
    found = values[(slice(None), *places)].flatten(1)
    return found if found.shape[1] else found.new_zeros(found.shape[0], 1)


def _blocks(
    convolution: Convolution,
    rest: tuple[int, ...],
    circle: tuple[int, ...],
    frequencies: torch.Tensor,
) -> Interval:
    """(frequencies, 2 out channels * phases, 2 in channels * phases); phases last in channels."""
    kernel = _full_kernel(convolution)
    steps = tuple(s * r for s, r in zip(convolution.stride, rest, strict=True))
    rows = kernel.shape[0] * math.prod(rest)
    columns = kernel.shape[1] * math.prod(steps)
    if len(frequencies) * rows * columns * 4 > _MOST_ELEMENTS:
        raise NotCertified("convolutions in a row have too many blocks")
    reach = zip(
        convolution.weight.shape[2:], convolution.dilation, convolution.padding, strict=True
    )
    taps = torch.cartesian_prod(*[torch.arange(k) * d - p for k, d, p in reach])
    taps = taps.reshape(-1, len(circle))
    above = []
    for phase in itertools.product(*(range(n) for n in rest)):
        start = torch.tensor(phase) * torch.tensor(convolution.stride)
        above.append(_row(kernel, taps + start, steps, circle, frequencies))
    real, imaginary = (_by_phase([parts[i] for parts in above], -2) for i in (0, 1))
    return as_real(real, imaginary)


def _row(
    kernel: Interval,
    places: torch.Tensor,
    steps: tuple[int, ...],
    circle: tuple[int, ...],
    frequencies: torch.Tensor,
) -> tuple[Interval, Interval]:
    """Of one output phase, (frequencies, out channels, in channels * phases): C + i S."""
    divisor = torch.tensor(steps)
    target = places % divisor
    cos, sin = phases(places.div(divisor, rounding_mode="floor"), frequencies, circle)
    found = []
    for wave in (cos, sin):
        parts = []
        for phase in itertools.product(*(range(n) for n in steps)):
            chosen = (target == torch.tensor(phase)).all(1).nonzero()[:, 0]
            taken = kernel.rearranged(lambda ends, at=chosen: ends[..., at])  # type: ignore[misc]
            turned = wave.rearranged(lambda ends, at=chosen: ends[at])  # type: ignore[misc]
            part = matmul(taken, turned)
            parts.append(part.rearranged(lambda ends: ends.permute(2, 0, 1)))
        found.append(_by_phase(parts, -1))
    return found[0], found[1]


def _by_phase(parts: Sequence[Interval], dim: int) -> Interval:
    """Channels with phases behind each other in one axis: channel 0 at all phases first."""
    axis = dim % parts[0].ndim
    whole = concatenate(
        [part.rearranged(lambda ends: ends.unsqueeze(axis + 1)) for part in parts], axis + 1
    )
    return whole.rearranged(lambda ends: ends.flatten(axis, axis + 1))


def _full_kernel(convolution: Convolution) -> Interval:
    """(out channels, in channels, taps), zeros where groups do not mix."""
    weight, groups = convolution.weight, convolution.groups

    def full(ends: torch.Tensor) -> torch.Tensor:
        flat = ends.flatten(2)
        out, into, taps = flat.shape
        whole = flat.new_zeros(groups, out // groups, groups, into, taps)
        for group, part in enumerate(flat.reshape(groups, out // groups, into, taps)):
            whole[group, :, group] = part
        return whole.reshape(out, groups * into, taps)

    return weight.rearranged(full)
