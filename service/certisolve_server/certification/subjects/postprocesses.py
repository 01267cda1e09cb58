"""What is done to outputs before they are returned, as operators of a graph.

As `engines.postprocess` computes it, but of the reals: quadrature weights are exact, and so is a
mean.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from certisolve.manifest import Manifest, Postprocess, TensorSpec
from certisolve_server.certifier.arithmetic import Interval, total
from certisolve_server.certifier.dynamics.assembly import Assembly
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Argument, Graph, Input, Ref


def postprocess(
    manifest: Manifest,
    name: str,
    varying: Mapping[str, tuple[int, ...]],
    frozen: Mapping[str, Tensor],
    raw: Callable[[str], Graph],
    *,
    literal: bool = False,
) -> Graph:
    """The graph of an output as it is returned.

    Args:
        manifest: of the model.
        name: of the output.
        varying: shapes of the inputs, by name.
        frozen: other inputs.
        raw: gives the graph of an output of the program.
        literal: as of `Assembly`.

    Raises:
        NotCertified: a post-processor has no graph.
    """
    changes = [each for each in manifest.postprocess if name in (each.output, each.deviation)]
    if not changes:
        return raw(name)
    given = (Input(each, tuple(shape)) for each, shape in varying.items())
    assembly = Assembly(*given, literal=literal)
    values = {each: each for each in varying}
    field = assembly.insert(raw(changes[0].output), values)
    for each in changes:
        field = _Change(assembly, manifest, each, frozen).of(field, name == each.deviation)
    return assembly.graph(field)


class _Change:
    """One post-processor on one field."""

    def __init__(
        self,
        assembly: Assembly,
        manifest: Manifest,
        spec: Postprocess,
        frozen: Mapping[str, Tensor],
    ) -> None:
        self._assembly, self._manifest, self._spec = assembly, manifest, spec
        self._frozen = frozen
        output = next(each for each in manifest.outputs if each.name == spec.output)
        self._grid = _grid_dimensions(output, manifest)

    def of(self, field: str, deviation: bool) -> str:
        """The field, or its deviation, afterwards."""
        kind = self._spec.kind
        if kind == "ensemble":
            return self._deviation(field) if deviation else self._mean(field, (1,), False)
        if kind == "conserve" and self._spec.deviation is None:
            return self._conserved(field)
        if kind == "dirichlet":
            return self._dirichlet(field)
        if kind == "periodic":
            return self._periodic(field)
        raise NotCertified(f"the post-processor {kind} with a deviation has no certified graph")

    def _deviation(self, members: str) -> str:
        """Calibration x the standard deviation of a sample."""
        centered = self._binary(
            "aten.sub.Tensor", members, self._mean(members, (1,), True), alpha=1
        )
        squares = self._binary("aten.mul.Tensor", centered, centered)
        shape = self._shape(members)
        variance = self._times(
            self._reduced("aten.sum.dim_IntList", squares, (1,), False),
            Fraction(self._spec.calibration) ** 2 / (shape[1] - 1),
        )
        return self._assembly.apply(
            "aten.sqrt.default", self._shape(variance), {"self": Ref(variance)}
        )

    def _conserved(self, field: str) -> str:
        """The field moved along the quadrature weights w: u - w (w.u - b) / w.w."""
        weights = self._weights(field)
        source = self._spec.integral_of
        if source is None:
            wanted = self._constant(torch.tensor(self._spec.value, dtype=torch.float64))
        elif source in self._frozen:
            wanted = self._integrals(self._constant(self._frozen[source].double()), weights)
        else:
            wanted = self._integrals(source, weights)
        found = self._integrals(field, weights)
        excess = self._binary("aten.sub.Tensor", found, wanted, alpha=1)
        exact = Interval.exact(weights)
        direction = exact / total(exact.square(), tuple(range(weights.ndim)))
        if self._is_line(weights):
            change = self._product(excess, direction)
        else:
            change = self._binary("aten.mul.Tensor", self._assembly.constant(direction), excess)
        return self._binary("aten.sub.Tensor", field, change, alpha=1)

    def _weights(self, field: str) -> Tensor:
        """Quadrature weights, of the shape of the field."""
        weights = torch.ones(self._shape(field), dtype=torch.float64)
        for dimension, name in self._grid.items():
            axis, size = self._manifest.axes[name], weights.shape[dimension]
            along = torch.ones(size, dtype=torch.float64)
            if axis.convention == "nodes":
                along[0] = along[-1] = 0.5
            along *= ((axis.upper or 0.0) - (axis.lower or 0.0)) / along.sum()
            weights *= along.view(-1, *(1,) * (weights.ndim - 1 - dimension))
        return weights

    def _integrals(self, field: str, weights: Tensor) -> str:
        """w.u, with as many axes as the field: (1, ..., 1)."""
        if self._is_line(weights):
            return self._product(field, Interval.exact(weights.mT.contiguous()))
        weighted = self._binary("aten.mul.Tensor", field, self._constant(weights))
        return self._reduced("aten.sum.dim_IntList", weighted, tuple(range(1, weights.ndim)), True)

    def _is_line(self, weights: Tensor) -> bool:
        """Whether fields are rows: then integrals are products with matrices, as transforms are."""
        return weights.ndim == 2

    def _product(self, rows: str, matrix: Interval) -> str:
        shape = (self._shape(rows)[0], matrix.shape[1])
        arguments: dict[str, Argument] = {
            "self": Ref(rows),
            "other": Ref(self._assembly.constant(matrix)),
        }
        return self._assembly.apply("aten.matmul.default", shape, arguments)

    def _dirichlet(self, field: str) -> str:
        inside = torch.ones(self._shape(field), dtype=torch.float64)
        for dimension in self._grid:
            inside.select(dimension, 0).fill_(0.0)
            inside.select(dimension, -1).fill_(0.0)
        kept = self._binary("aten.mul.Tensor", field, self._constant(inside))
        boundary = self._constant((1.0 - inside) * self._spec.value)
        return self._binary("aten.add.Tensor", kept, boundary, alpha=1)

    def _periodic(self, field: str) -> str:
        for dimension in self._grid:
            last = self._shape(field)[dimension] - 1
            ends = [self._slice(field, dimension, at, at + 1) for at in (0, last)]
            mean = self._times(self._binary("aten.add.Tensor", *ends, alpha=1), Fraction(1, 2))
            inner = self._slice(field, dimension, 1, last)
            arguments: dict[str, Argument] = {
                "tensors": (Ref(mean), Ref(inner), Ref(mean)),
                "dim": dimension,
            }
            field = self._assembly.apply("aten.cat.default", self._shape(field), arguments)
        return field

    def _mean(self, field: str, dims: tuple[int, ...], keepdim: bool) -> str:
        return self._reduced("aten.mean.dim", field, dims, keepdim)

    def _reduced(self, operator: str, field: str, dims: tuple[int, ...], keepdim: bool) -> str:
        shape = self._shape(field)
        kept = tuple(
            1 if dim in dims else size
            for dim, size in enumerate(shape)
            if keepdim or dim not in dims
        )
        arguments: dict[str, Argument] = {
            "self": Ref(field),
            "dim": dims,
            "keepdim": keepdim,
            "dtype": None,
        }
        return self._assembly.apply(operator, kept, arguments)

    def _slice(self, field: str, dim: int, start: int, end: int) -> str:
        shape = list(self._shape(field))
        shape[dim] = end - start
        arguments: dict[str, Argument] = {
            "self": Ref(field),
            "dim": dim,
            "start": start,
            "end": end,
            "step": 1,
        }
        return self._assembly.apply("aten.slice.Tensor", tuple(shape), arguments)

    def _times(self, field: str, number: Fraction) -> str:
        constant = self._assembly.constant(Interval.of_fraction(number))
        return self._binary("aten.mul.Tensor", field, constant)

    def _binary(self, operator: str, x: str, y: str, **rest: Argument) -> str:
        shape = np.broadcast_shapes(self._shape(x), self._shape(y))
        return self._assembly.apply(operator, shape, {"self": Ref(x), "other": Ref(y), **rest})

    def _constant(self, numbers: Tensor) -> str:
        return self._assembly.constant(Interval.exact(numbers))

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._assembly.shape(name)


def _grid_dimensions(spec: TensorSpec, manifest: Manifest) -> dict[int, str]:
    return {
        dimension: name
        for dimension, name in enumerate(spec.axes, start=1)
        if manifest.axes[name].kind == "grid"
    }
