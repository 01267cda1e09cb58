"""Which inputs vary and which stay, of which sizes, in the tensors that a graph is made with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.admission import check_parameters
from certisolve_server.certification.request import BallDomain, BoxDomain, CertifyRequest
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
    """The inputs of a request that `check_subject` has admitted."""
    sizes = _sizes(request, manifest)
    varying = {
        spec.name: (1, *(sizes[axis] for axis in spec.axes))
        for spec in manifest.inputs
        if spec.name not in request.inputs
    }
    return Variables(varying, _frozen(request, manifest) | _parameters(request, manifest), sizes)


def _sizes(request: CertifyRequest, manifest: Manifest) -> dict[str, int]:
    """Those of the arrays; where there is none, of the grid those asked for, of lists the least."""
    sizes: dict[str, int] = {}
    for spec, array in _sent(request, manifest):
        sizes |= zip(spec.axes, array.shape, strict=True)
    first = manifest.resolutions[0].sizes
    if request.resolution is not None:
        first = dict(zip(manifest.grid_axes, request.resolution, strict=True))
    for spec in manifest.inputs:
        for name in spec.axes:
            axis = manifest.axes[name]
            sizes.setdefault(name, axis.size or first.get(name) or max(1, axis.minimum))
    return sizes


def _sent(request: CertifyRequest, manifest: Manifest) -> Iterator[tuple[TensorSpec, Array]]:
    """The arrays that say how large inputs are."""
    match request.domain:
        case BallDomain():
            arrays = {**request.inputs, **request.domain.center}
        case BoxDomain():
            arrays = {**request.inputs, **request.domain.lower}
        case _:
            arrays = dict(request.inputs)
    for spec in manifest.inputs:
        if spec.name in arrays:
            yield spec, arrays[spec.name]


def _frozen(request: CertifyRequest, manifest: Manifest) -> dict[str, Tensor]:
    return {
        spec.name: torch.tensor(
            np.asarray(request.inputs[spec.name]).astype(wire.DTYPES[spec.dtype])
        ).unsqueeze(0)
        for spec in manifest.inputs
        if spec.name in request.inputs
    }


def _parameters(request: CertifyRequest, manifest: Manifest) -> dict[str, Tensor]:
    """Of the program, in the precision in which a worker passes them on."""
    names = [spec.name for spec in manifest.parameters if spec.program_input]
    values = check_parameters(request.parameters, manifest)
    return {
        name: torch.tensor([value], dtype=torch.float32)
        for name, value in zip(names, values, strict=True)
    }
