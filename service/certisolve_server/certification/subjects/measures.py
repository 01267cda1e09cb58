"""From the norms of a request to those of a problem: weights of cells and of channels."""

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.certification.request import CertifyRequest, NormName, Scales
from certisolve_server.certifier.arithmetic import Interval, where
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import Ball, Box, Region
from certisolve_server.errors import InvalidOption, UnknownInput, WrongShape

from .variables import Variables

#: The weight of what does not differ.
_HEAVY = 2.0**200


def norms(
    request: CertifyRequest,
    manifest: Manifest,
    inputs: Variables,
    output: TensorSpec,
    shape: tuple[int, ...],
) -> Norms:
    """The norms of a problem.

    Args:
        request: names norms and scales.
        manifest: of the model.
        inputs: of the request.
        output: the one that is asked for.
        shape: of it, with a leading axis of one request, before a component is taken.

    Raises:
        InvalidRequest: there is no grid, or scales are of another shape or of what is not measured.
    """
    names = request.norms
    specs = {spec.name: spec for spec in manifest.inputs}
    _check_scaled(request.input_scale, inputs.varying, "input_scale")
    _check_scaled(request.output_scale, {output.name: shape}, "output_scale")
    columns = [
        _weights(names[0], specs[name], manifest, inputs.sizes, size, request.input_scale, "input")
        for name, size in inputs.varying.items()
    ]
    sizes = dict(inputs.sizes) | dict(
        zip(output.axes, shape[len(shape) - len(output.axes) :], strict=True)
    )
    rows = _weights(names[1], output, manifest, sizes, shape, request.output_scale, "output")
    if rows is not None and request.component is not None:
        rows = rows.rearranged(lambda ends: ends[request.component].unsqueeze(0))
    return Norms(_plain(names[0]), _plain(names[1]), _joined(columns, inputs), rows)


def without_fixed(norms: Norms, region: Region) -> Norms:
    """The same lengths of differences within the region, where some entries are all the same.

    What does not differ may be weighed as one likes: so much, that its columns of a Jacobian, which
    no difference is mapped by, count nothing.
    """
    limits = region.limits if isinstance(region, Ball) else region
    if not isinstance(limits, Box):
        return norms
    ends = [
        torch.cat([x.flatten() for x in side.values()]) for side in (limits.lower, limits.upper)
    ]
    fixed = ends[0] == ends[1]
    if not bool(fixed.any()) or bool(fixed.all()):
        return norms
    weights = norms.input_weights or Interval.exact(torch.ones_like(ends[0]))
    heavy = Interval.exact(torch.full_like(ends[0], _HEAVY))
    return replace(norms, input_weights=where(fixed, heavy, weights))


def cell_volume(
    spec: TensorSpec, manifest: Manifest, sizes: Mapping[str, int], field: str
) -> Fraction:
    """Of a cell of the grid of a field, as the manifest says where its values lie.

    Raises:
        InvalidOption: it has no grid.
    """
    volume, on_grid = Fraction(1), False
    for name in spec.axes:
        axis = manifest.axes[name]
        if axis.kind == "grid":
            on_grid = True
            cells = sizes[name] - 1 if axis.convention == "nodes" else sizes[name]
            extent = Fraction(axis.upper or 0.0) - Fraction(axis.lower or 0.0)
            volume *= extent / max(cells, 1)
    if not on_grid or volume <= 0:
        raise InvalidOption(f"{spec.name} has no grid; use l1, l2 or linf", field=field)
    return volume


def _plain(name: NormName) -> Norm:
    return "l2" if name == "grid_l2" else name


def _check_scaled(scales: Scales, there: Mapping[str, tuple[int, ...]], field: str) -> None:
    unknown = sorted(scales.keys() - there.keys())
    if unknown:
        raise UnknownInput(
            f"lengths are measured of {', '.join(there)}", field=f"{field}.{unknown[0]}"
        )


def _weights(
    norm: NormName,
    spec: TensorSpec,
    manifest: Manifest,
    sizes: Mapping[str, int],
    shape: tuple[int, ...],
    scales: Scales,
    side: str,
) -> Interval | None:
    """By entry of one tensor; None for ones."""
    count = math.prod(shape)
    weights = None
    if norm == "grid_l2":
        volume = cell_volume(spec, manifest, sizes, f"{side}_norm")
        lower, upper = _root(volume)
        weights = Interval.between(
            torch.full((count,), lower, dtype=torch.float64),
            torch.full((count,), upper, dtype=torch.float64),
        )
    if spec.name not in scales:
        return weights
    divisor = _scale(scales[spec.name], spec, manifest, shape, f"{side}_scale.{spec.name}")
    return (Interval.exact(torch.ones_like(divisor)) if weights is None else weights) / divisor


def _scale(
    scale: object, spec: TensorSpec, manifest: Manifest, shape: tuple[int, ...], field: str
) -> Tensor:
    """(entries,) of a tensor: one number, or one for each component of its channel axis."""
    numbers = torch.from_numpy(np.array(scale, np.float64))
    if numbers.ndim == 0:
        return numbers.expand(math.prod(shape)).clone()
    channels = [i for i, name in enumerate(spec.axes) if manifest.axes[name].kind == "channel"]
    if not channels or shape[1 + channels[-1]] != len(numbers):
        raise WrongShape(
            "use one number, or one for each component of the channel axis", field=field
        )
    across = [1] * len(shape)
    across[1 + channels[-1]] = -1
    return numbers.reshape(across).expand(shape).flatten()


def _joined(columns: list[Interval | None], inputs: Variables) -> Interval | None:
    """Of all inputs one after another; ones for those without weights."""
    if all(column is None for column in columns):
        return None
    parts = [
        Interval.exact(torch.ones(math.prod(shape), dtype=torch.float64)) if part is None else part
        for part, shape in zip(columns, inputs.varying.values(), strict=True)
    ]
    return Interval(
        torch.cat([part.lower for part in parts]), torch.cat([part.upper for part in parts])
    )


def _root(number: Fraction) -> tuple[float, float]:
    """Floats around the square root."""
    lower = upper = math.sqrt(number)
    while Fraction(lower) ** 2 > number:
        lower = math.nextafter(lower, 0.0)
    while Fraction(upper) ** 2 < number:
        upper = math.nextafter(upper, math.inf)
    return lower, upper
