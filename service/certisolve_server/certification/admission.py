"""What a request for a certificate must be before it may wait for a prover; pure, without torch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from certisolve.manifest import Manifest, TensorSpec
from certisolve_server import horizon
from certisolve_server.admission import (
    cast,
    check_parameters,
    check_shape,
    check_values,
    resolutions_text,
    sizes_text,
)
from certisolve_server.errors import (
    InvalidOption,
    NotCertified,
    OutOfRange,
    UnknownInput,
    UnvalidatedResolution,
)
from certisolve_server.jobs import Array

from .request import CertifyRequest, GlobalDomain, Scales
from .sets import check_domain, check_names


def check(request: CertifyRequest, manifest: Manifest, *, max_budget_s: float) -> CertifyRequest:
    """The request in the manifest's terms, as `check_subject`; its search within limits, too.

    Args:
        request: as it came.
        manifest: of the model.
        max_budget_s: longest search.

    Raises:
        InvalidRequest: a subclass that names the field at fault and what would be right.
    """
    checked = check_subject(request, manifest)
    _check_search(request, max_budget_s)
    return checked


def check_subject(request: CertifyRequest, manifest: Manifest) -> CertifyRequest:
    """Which map, set and norms are meant: sets in float64, other inputs as they would be solved.

    Its version is that of the manifest, its resolution the one that counts. What was checked comes
    back as it is.

    Args:
        request: as it came, or out of a certificate.
        manifest: of the model.

    Raises:
        InvalidRequest: a subclass that names the field at fault and what would be right.
    """
    _check_program(manifest)
    specs = {spec.name: spec for spec in manifest.inputs}
    check_names(request, specs, manifest)
    sizes: dict[str, int] = {}
    inputs = {
        name: _frozen(array, specs[name], manifest, sizes) for name, array in request.inputs.items()
    }
    domain = check_domain(request.domain, specs, manifest, sizes)
    resolution = _resolution(request, manifest, sizes)
    check_parameters(request.parameters, manifest)
    _check_output(request, manifest, sizes)
    _check_horizon(request, manifest)
    outputs = {spec.name for spec in manifest.outputs}
    return replace(
        request,
        version=manifest.version,
        domain=domain,
        inputs=inputs,
        resolution=resolution,
        input_scale=_scales("input_scale", request.input_scale, specs.keys()),
        output_scale=_scales("output_scale", request.output_scale, outputs),
    )


def _check_program(manifest: Manifest) -> None:
    if manifest.program.format != "torch.export":
        raise NotCertified(
            f"{manifest.name}: a program of the format {manifest.program.format} cannot be "
            "certified; export the model with torch.export"
        )


def _frozen(array: Array, spec: TensorSpec, manifest: Manifest, sizes: dict[str, int]) -> Array:
    field = f"inputs.{spec.name}"
    check_shape(array, spec, manifest, sizes, field)
    array = cast(array, spec, field)
    check_values(array, spec, field)
    return array


def _resolution(
    request: CertifyRequest, manifest: Manifest, sizes: Mapping[str, int]
) -> tuple[int, ...] | None:
    """Sizes of the grid axes where all inputs vary freely; elsewhere the arrays say them."""
    axes, is_global = manifest.grid_axes, isinstance(request.domain, GlobalDomain)
    asked = request.resolution
    if asked is not None and not is_global:
        raise InvalidOption("the domain says it already: leave it out", field="resolution")
    if asked is not None and len(asked) != len(axes):
        named = ", ".join(axes)
        wanted = f"name one size for each of: {named}" if axes else "there is no grid: leave it out"
        raise UnvalidatedResolution(wanted, field="resolution")
    first = tuple(manifest.resolutions[0].sizes[axis] for axis in axes)
    given = {axis: sizes.get(axis, size) for axis, size in zip(axes, asked or first, strict=True)}
    if asked is not None and tuple(given.values()) != asked:
        raise UnvalidatedResolution("the inputs have another one", field="resolution")
    if all(each.sizes != given for each in manifest.resolutions):
        field = "domain" if not is_global else "inputs" if asked is None else "resolution"
        raise UnvalidatedResolution(
            f"{sizes_text(given)} is not one of: {resolutions_text(manifest)}", field=field
        )
    return tuple(given.values()) if is_global else None


def _check_output(request: CertifyRequest, manifest: Manifest, sizes: Mapping[str, int]) -> None:
    names = [spec.name for spec in manifest.outputs]
    if request.output is not None and request.output not in names:
        raise InvalidOption(f"{manifest.name} has {', '.join(names)}", field="output")
    if request.component is None:
        return
    if request.component < 0:
        raise InvalidOption("must be 0 or more", field="component")
    spec = manifest.outputs[0 if request.output is None else names.index(request.output)]
    known = {name: sizes.get(name, manifest.axes[name].size) for name in spec.axes}
    counts = [size for size in known.values() if size is not None]
    if len(counts) == len(known) and request.component >= math.prod(counts):
        raise InvalidOption(f"{spec.name} has {math.prod(counts)} values", field="component")


def _check_search(request: CertifyRequest, max_budget_s: float) -> None:
    if not 0.0 <= request.budget_s <= max_budget_s:
        raise InvalidOption(f"must be 0 to {max_budget_s:g} seconds", field="budget_s")
    if not 1.0 <= request.gap < math.inf:
        raise InvalidOption("must be 1 or more, and finite", field="gap")
    if request.max_splits is not None and request.max_splits < 0:
        raise InvalidOption("must be 0 or more", field="max_splits")
    if not 0 <= request.seed < 1 << 63:
        raise InvalidOption("must be 0 or more, below 2^63", field="seed")


def _check_horizon(request: CertifyRequest, manifest: Manifest) -> None:
    """Steps as of a solve, and no further than it; the family says which times it takes."""
    steps, t = request.steps, request.t
    horizon.check_steps(manifest, steps=steps)
    if t is not None and not 0.0 <= t < math.inf:
        raise InvalidOption("must be finite and not negative", field="t")
    if steps is not None:
        horizon.wanted(None if t is None else (t,), manifest, steps=steps)
    elif t is not None and t > (longest := horizon.longest(manifest)):
        raise OutOfRange(f"{t:g}: {manifest.name} answers up to t = {longest:g}", field="t")


def _scales(role: str, scales: Scales, known: Collection[str]) -> Scales:
    checked = {}
    for name, scale in scales.items():
        field = f"{role}.{name}"
        if name not in known:
            raise UnknownInput(f"there are {', '.join(sorted(known))}", field=field)
        if scale.ndim > 1 or not scale.size:
            raise InvalidOption("must be a number, or one per channel", field=field)
        values = scale.astype(np.float64)
        # False of NaN.
        if not ((values > 0) & (values < math.inf)).all():
            raise InvalidOption("must be finite and above 0", field=field)
        checked[name] = values
    return checked
