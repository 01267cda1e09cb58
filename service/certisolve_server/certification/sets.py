"""The set of a request for a certificate, held against the manifest; pure, without torch."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.admission import check_shape
from certisolve_server.errors import (
    InvalidOption,
    MissingInput,
    NotFinite,
    UnknownInput,
    WrongDtype,
)
from certisolve_server.jobs import Array

from .request import BallDomain, BoxDomain, CertifyRequest, Domain, GlobalDomain


def check_names(
    request: CertifyRequest, specs: Mapping[str, TensorSpec], manifest: Manifest
) -> None:
    """Refuse a request unless each input is in its set, or kept as it is.

    Raises:
        InvalidRequest: `UnknownInput`, `MissingInput` or `InvalidOption`.
    """
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


def check_domain(
    domain: Domain, specs: Mapping[str, TensorSpec], manifest: Manifest, sizes: dict[str, int]
) -> Domain:
    """The set in float64.

    Args:
        domain: of inputs that there are.
        specs: of inputs, by name.
        manifest: of the model.
        sizes: of the axes as they are known; those of the set are added.

    Raises:
        InvalidRequest: it is empty, unbounded, or of other shapes than the inputs.
    """
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
