"""What a request for a certificate must be before it may wait for a prover; pure, without torch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.admission import cast, check_parameters, check_shape, check_values
from certisolve_server.errors import (
    InvalidOption,
    MissingInput,
    NotCertified,
    NotFinite,
    UnknownInput,
    UnvalidatedResolution,
    WrongDtype,
)
from certisolve_server.jobs import Array

from .request import BallDomain, BoxDomain, CertifyRequest, Domain, GlobalDomain, Scales


def check(request: CertifyRequest, manifest: Manifest, *, max_budget_s: float) -> CertifyRequest:
    """The request in the manifest's terms: sets in float64, other inputs as they would be solved.

    Its version is that of the manifest, its resolution the one that counts.

    Args:
        request: as it came.
        manifest: of the model.
        max_budget_s: longest search.

    Raises:
        InvalidRequest: a subclass that names the field at fault and what would be right.
    """
    _check_program(manifest)
    specs = {spec.name: spec for spec in manifest.inputs}
    _check_names(request, specs, manifest)
    sizes: dict[str, int] = {}
    inputs = {
        name: _frozen(array, specs[name], manifest, sizes) for name, array in request.inputs.items()
    }
    domain = _domain(request.domain, specs, manifest, sizes)
    resolution = _resolution(request, manifest, sizes)
    check_parameters(request.parameters, manifest)
    _check_output(request, manifest, sizes)
    _check_search(request, max_budget_s)
    _check_horizon(request, manifest)
    return replace(
        request,
        version=manifest.version,
        domain=domain,
        inputs=inputs,
        resolution=resolution,
        input_scale=_scales("input_scale", request.input_scale, specs.keys()),
        output_scale=_scales(
            "output_scale", request.output_scale, {spec.name for spec in manifest.outputs}
        ),
    )


def _check_program(manifest: Manifest) -> None:
    if manifest.program.format != "torch.export":
        raise NotCertified(
            f"{manifest.name}: a program of the format {manifest.program.format} cannot be "
            "certified; export the model with torch.export"
        )


def _check_names(
    request: CertifyRequest, specs: Mapping[str, TensorSpec], manifest: Manifest
) -> None:
    groups = {"inputs": request.inputs, **_groups(request.domain)}
    for role, arrays in groups.items():
        for name in sorted(arrays.keys() - specs.keys()):
            raise UnknownInput(f"{manifest.name} takes {', '.join(specs)}", field=f"{role}.{name}")
    if isinstance(request.domain, GlobalDomain):
        if request.inputs.keys() == specs.keys():
            raise InvalidOption("every input is kept as it is: none varies", field="inputs")
        return
    first, *others = _groups(request.domain).items()
    _check_varying(first, request, specs, manifest)
    for role, arrays in others:
        strange = sorted(arrays.keys() - first[1].keys())
        if strange:
            raise InvalidOption(f"{strange[0]} does not vary", field=f"{role}.{strange[0]}")
    if isinstance(request.domain, BoxDomain) and len(others[0][1]) < len(first[1]):
        raise MissingInput("a box needs lower and upper", field="domain.upper")


def _check_varying(
    center: tuple[str, Mapping[str, Array]],
    request: CertifyRequest,
    specs: Mapping[str, TensorSpec],
    manifest: Manifest,
) -> None:
    role, varying = center
    if not varying:
        raise InvalidOption("no input varies", field=role)
    for name, spec in specs.items():
        if name in varying and name in request.inputs:
            raise InvalidOption(f"{name} varies in the domain", field=f"inputs.{name}")
        if name not in varying and name not in request.inputs:
            raise MissingInput(
                f"{manifest.name} needs {name}, in the domain or kept as it is: {spec.description}",
                field=f"inputs.{name}",
            )


def _groups(domain: Domain) -> Mapping[str, Mapping[str, Array]]:
    """The arrays of a set by their role; that which names what varies first."""
    match domain:
        case BallDomain():
            return {
                "domain.center": domain.center,
                "domain.lower": domain.lower,
                "domain.upper": domain.upper,
            }
        case BoxDomain():
            return {"domain.lower": domain.lower, "domain.upper": domain.upper}
        case GlobalDomain():
            return {}


def _frozen(array: Array, spec: TensorSpec, manifest: Manifest, sizes: dict[str, int]) -> Array:
    field = f"inputs.{spec.name}"
    check_shape(array, spec, manifest, sizes, field)
    array = cast(array, spec, field)
    check_values(array, spec, field)
    return array


def _domain(
    domain: Domain, specs: Mapping[str, TensorSpec], manifest: Manifest, sizes: dict[str, int]
) -> Domain:
    groups = {
        role: {
            name: _corner(array, specs[name], manifest, sizes, f"{role}.{name}")
            for name, array in arrays.items()
        }
        for role, arrays in _groups(domain).items()
    }
    match domain:
        case BallDomain():
            if not 0.0 <= domain.radius < math.inf:
                raise InvalidOption("must be finite and not negative", field="domain.radius")
            center, lower, upper = groups.values()
            _check_order(lower, center, "domain.lower")
            _check_order(center, upper, "domain.upper")
            return replace(domain, center=center, lower=lower, upper=upper)
        case BoxDomain():
            lower, upper = groups.values()
            _check_order(lower, upper, "domain.upper")
            return BoxDomain(lower, upper)
        case GlobalDomain():
            return domain


def _corner(
    array: Array, spec: TensorSpec, manifest: Manifest, sizes: dict[str, int], field: str
) -> Array:
    if wire.DTYPES[spec.dtype].kind != "f":
        raise WrongDtype(
            f"{spec.name} takes whole numbers, which do not vary continuously; keep it in inputs",
            field=field,
        )
    check_shape(array, spec, manifest, sizes, field)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise NotFinite(f"element {first} is {array[tuple(first)]}", field=field)
    return array


def _check_order(lower: Mapping[str, Array], upper: Mapping[str, Array], role: str) -> None:
    for name in lower.keys() & upper.keys():
        if not (lower[name] <= upper[name]).all():
            raise InvalidOption(
                "lower exceeds upper, or the center lies outside", field=f"{role}.{name}"
            )


def _resolution(
    request: CertifyRequest, manifest: Manifest, sizes: Mapping[str, int]
) -> tuple[int, ...] | None:
    """Sizes of the grid axes where all inputs vary freely; elsewhere the arrays say them."""
    axes = manifest.grid_axes
    known = [tuple(each.sizes[axis] for axis in axes) for each in manifest.resolutions]
    text = "; ".join(" x ".join(map(str, each)) for each in known)
    if request.resolution is not None:
        if not isinstance(request.domain, GlobalDomain):
            raise InvalidOption("the domain says it already", field="resolution")
        if request.resolution not in known:
            raise UnvalidatedResolution(f"is not one of: {text}", field="resolution")
    at = request.resolution or known[0]
    given = tuple(sizes.get(axis, size) for axis, size in zip(axes, at, strict=True))
    if request.resolution is not None and given != at:
        raise UnvalidatedResolution("the inputs have another one", field="resolution")
    if given not in known:
        field = "inputs" if isinstance(request.domain, GlobalDomain) else "domain"
        raise UnvalidatedResolution(f"{given} is not one of: {text}", field=field)
    return given if isinstance(request.domain, GlobalDomain) else None


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
    steps, stepping = request.steps, manifest.stepping
    if steps is not None:
        if stepping is None:
            raise InvalidOption(f"{manifest.name} takes no steps", field="steps")
        if not 1 <= steps <= stepping.max_steps:
            raise InvalidOption(f"must be 1 to {stepping.max_steps}", field="steps")
    if request.t is not None and not 0.0 <= request.t < math.inf:
        raise InvalidOption("must be finite and not negative", field="t")


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
