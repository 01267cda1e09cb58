"""Which inputs vary and which stay, of which sizes: a request held against its manifest."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certisolve import wire
from certisolve.manifest import Manifest, ParameterSpec, TensorSpec
from certisolve_server.certification.request import BallDomain, BoxDomain, CertifyRequest
from certisolve_server.errors import (
    InvalidOption,
    MissingInput,
    NotFinite,
    OutOfRange,
    UnknownInput,
    UnknownParameter,
    UnvalidatedResolution,
    WrongShape,
)
from certisolve_server.jobs import Array


@dataclass(frozen=True, eq=False)
class Variables:
    """The inputs of a request.

    Attributes:
        varying: shapes by name, in the manifest's order, with a leading axis of one request.
        frozen: what the program takes beside them: inputs and parameters, as it takes them.
        sizes: of every axis of the inputs.
    """

    varying: Mapping[str, tuple[int, ...]]
    frozen: Mapping[str, Tensor]
    sizes: Mapping[str, int]


def variables(request: CertifyRequest, manifest: Manifest) -> Variables:
    """The inputs of a request, checked.

    Raises:
        InvalidRequest: a subclass that names the field at fault and what would be right.
    """
    _check_names(request, manifest)
    sizes: dict[str, int] = {}
    for spec, array, field in _sent(request, manifest):
        _check_shape(array, spec, manifest, sizes, field)
        if not np.isfinite(array).all():
            raise NotFinite("an element is NaN or infinite", field=field)
    _complete(sizes, request, manifest)
    _check_resolution(sizes, request, manifest)
    varying = {
        spec.name: (1, *(sizes[axis] for axis in spec.axes))
        for spec in manifest.inputs
        if spec.name not in request.inputs
    }
    if not varying:
        raise InvalidOption("every input is kept as it is, so none varies", field="inputs")
    return Variables(varying, _frozen(request, manifest), sizes)


def _check_names(request: CertifyRequest, manifest: Manifest) -> None:
    names = [spec.name for spec in manifest.inputs]
    for field, given in _named(request):
        unknown = sorted(given.keys() - set(names))
        if unknown:
            raise UnknownInput(
                f"{manifest.name} takes {', '.join(names)}", field=f"{field}.{unknown[0]}"
            )
    domain = request.domain
    if isinstance(domain, BallDomain):
        _check_covered("domain.center", domain.center, request, names)
        for field, given in (("domain.lower", domain.lower), ("domain.upper", domain.upper)):
            unknown = sorted(given.keys() - domain.center.keys())
            if unknown:
                raise UnknownInput(
                    "only inputs that vary have bounds", field=f"{field}.{unknown[0]}"
                )
    if isinstance(domain, BoxDomain):
        _check_covered("domain.lower", domain.lower, request, names)
        _check_covered("domain.upper", domain.upper, request, names)


def _check_covered(
    field: str, given: Mapping[str, Array], request: CertifyRequest, names: list[str]
) -> None:
    """Each input is in the domain, or stays as it is."""
    for name in names:
        if (name in given) == (name in request.inputs):
            wrong = "is in both" if name in given else "is in neither"
            raise MissingInput(
                f"every input is in the domain, or in inputs to stay as it is; {name} {wrong}",
                field=f"{field}.{name}",
            )


def _named(request: CertifyRequest) -> Iterator[tuple[str, Mapping[str, Array]]]:
    domain = request.domain
    yield "inputs", request.inputs
    if isinstance(domain, BallDomain):
        yield "domain.center", domain.center
    if isinstance(domain, BallDomain | BoxDomain):
        yield "domain.lower", domain.lower
        yield "domain.upper", domain.upper


def _sent(request: CertifyRequest, manifest: Manifest) -> Iterator[tuple[TensorSpec, Array, str]]:
    """Every array that a request has for an input, with its field."""
    for field, given in _named(request):
        for spec in manifest.inputs:
            if spec.name in given:
                yield spec, np.asarray(given[spec.name]), f"{field}.{spec.name}"


def _check_shape(
    array: Array, spec: TensorSpec, manifest: Manifest, sizes: dict[str, int], field: str
) -> None:
    if array.ndim != len(spec.axes):
        raise WrongShape(
            f"expected axes ({', '.join(spec.axes)}), got shape {list(array.shape)}; "
            "send one sample, without a batch dimension",
            field=field,
        )
    for name, size in zip(spec.axes, array.shape, strict=True):
        axis = manifest.axes[name]
        agreed = axis.size if axis.size is not None else sizes.setdefault(name, size)
        sizes[name] = agreed
        too_many = axis.maximum is not None and size > axis.maximum
        if size != agreed or size < axis.minimum or too_many:
            allowed = f"{axis.minimum} to {axis.maximum or 'any number'}"
            right = f"expected {agreed}, as elsewhere" if size != agreed else f"expected {allowed}"
            raise WrongShape(f"axis {name} has {size} values; {right}", field=field)


def _complete(sizes: dict[str, int], request: CertifyRequest, manifest: Manifest) -> None:
    """Sizes that no array says: of the grid those asked for, of lists of points the least."""
    asked = request.resolution
    if asked is not None and len(asked) != len(manifest.grid_axes):
        axes = ", ".join(manifest.grid_axes) or "no grid axes"
        raise WrongShape(f"name one size for each of: {axes}", field="resolution")
    resolution = manifest.resolutions[0].sizes
    wanted = dict(zip(manifest.grid_axes, asked, strict=True)) if asked is not None else {}
    for name, size in wanted.items():
        if sizes.setdefault(name, size) != size:
            raise WrongShape(f"inputs have {sizes[name]} values along {name}", field="resolution")
    for spec in manifest.inputs:
        for name in spec.axes:
            axis = manifest.axes[name]
            sizes.setdefault(name, axis.size or resolution.get(name) or max(1, axis.minimum))


def _check_resolution(
    sizes: Mapping[str, int], request: CertifyRequest, manifest: Manifest
) -> None:
    wanted = {name: sizes[name] for name in manifest.grid_axes}
    if any(each.sizes == wanted for each in manifest.resolutions):
        return
    known = "; ".join(_text(each.sizes) for each in manifest.resolutions)
    field = "resolution" if request.resolution is not None else "domain"
    raise UnvalidatedResolution(
        f"{_text(wanted)} is not one of: {known}; a certificate is of the grid on which the "
        "program runs",
        field=field,
    )


def _text(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def _frozen(request: CertifyRequest, manifest: Manifest) -> dict[str, Tensor]:
    frozen = {}
    for spec in manifest.inputs:
        if spec.name in request.inputs:
            array = np.asarray(request.inputs[spec.name]).astype(wire.DTYPES[spec.dtype])
            frozen[spec.name] = torch.tensor(array).unsqueeze(0)
    return frozen | _parameters(request, manifest)


def _parameters(request: CertifyRequest, manifest: Manifest) -> dict[str, Tensor]:
    """Of the program, in the precision in which a worker passes them on."""
    passed = {}
    specs = {spec.name: spec for spec in manifest.parameters}
    unknown = sorted(request.parameters.keys() - specs.keys())
    if unknown:
        known = ", ".join(specs) or "no parameters"
        raise UnknownParameter(f"{manifest.name} takes {known}", field=f"parameters.{unknown[0]}")
    for name, parameter in specs.items():
        value = _parameter(parameter, request.parameters.get(name, parameter.default))
        if parameter.program_input:
            passed[name] = torch.tensor([value], dtype=torch.float32)
    return passed


def _parameter(spec: ParameterSpec, value: float) -> float:
    if not (math.isfinite(value) and spec.minimum <= value <= spec.maximum):
        fixed = spec.minimum == spec.maximum
        allowed = f"{spec.minimum:g}" if fixed else f"{spec.minimum:g} to {spec.maximum:g}"
        raise OutOfRange(
            f"{value:g} was not validated; use {allowed}", field=f"parameters.{spec.name}"
        )
    return value
