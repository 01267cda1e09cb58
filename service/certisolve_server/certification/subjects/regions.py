"""From the domain of a request to the set of a problem."""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from certisolve.manifest import Manifest
from certisolve_server.certification.request import BallDomain, BoxDomain, CertifyRequest
from certisolve_server.certifier.arithmetic import rounding
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.region import Ball, Box, Everything, Region
from certisolve_server.errors import InvalidOption
from certisolve_server.jobs import Array

from .measures import cell_volume
from .variables import Variables


def region(request: CertifyRequest, manifest: Manifest, inputs: Variables) -> Region:
    """The set of a request that `check_subject` has admitted, in the shapes of the graph.

    Raises:
        InvalidOption: the cells of a ball in `grid_l2` are of different volumes, or there are none.
    """
    domain = request.domain
    if isinstance(domain, BoxDomain):
        return Box(_points(domain.lower), _points(domain.upper))
    if isinstance(domain, BallDomain):
        return _ball(domain, manifest, inputs)
    return Everything()


def _ball(domain: BallDomain, manifest: Manifest, inputs: Variables) -> Ball:
    center = _points(domain.center)
    norm: Norm = "l2" if domain.norm == "grid_l2" else domain.norm
    radius = domain.radius
    if domain.norm == "grid_l2":
        radius = _in_l2(radius, manifest, inputs)
    if not domain.lower and not domain.upper:
        return Ball(center, radius, norm)
    # Where there is no bound, one that the ball does not reach.
    reach = math.nextafter(2.0 * radius, math.inf)
    below = {name: rounding.down(point - reach) for name, point in center.items()}
    above = {name: rounding.up(point + reach) for name, point in center.items()}
    limits = Box(below | _points(domain.lower), above | _points(domain.upper))
    return Ball(center, radius, norm, limits)


def _in_l2(radius: float, manifest: Manifest, inputs: Variables) -> float:
    """At least the radius in the norm without weights."""
    specs = [spec for spec in manifest.inputs if spec.name in inputs.varying]
    volumes = {cell_volume(spec, manifest, inputs.sizes, "domain.norm") for spec in specs}
    if len(volumes) > 1:
        raise InvalidOption(
            "inputs on grids of different cells have no ball in grid_l2; use l2 or linf",
            field="domain.norm",
        )
    squared = Fraction(radius) ** 2 / volumes.pop()
    root = math.sqrt(squared)
    while Fraction(root) ** 2 < squared:
        root = math.nextafter(root, math.inf)
    return root


def _points(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.array(array, np.float64)).unsqueeze(0)
        for name, array in arrays.items()
    }
