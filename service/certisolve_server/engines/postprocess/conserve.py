"""Projection onto fields with the right integral (ProbConserv)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .base import AbstractPostprocess, Outputs

_TINY = torch.finfo(torch.float64).tiny


class Conserve(AbstractPostprocess):
    """The most likely field whose integral is b, given the prediction μ with covariance Σ.

        μ' = μ - Σ G^T (G Σ G^T)^-1 (G μ - b)        Hansen et al. (2023), eq. 8, with σ_G = 0
        Σ' = Σ - Σ G^T (G Σ G^T)^-1 G Σ

    G is the row of quadrature weights: equal ones on periodic grids and cells, those of the
    trapezoidal rule on nodes. Σ is diagonal, the squares of a deviation that the model returns, or
    the identity; of Σ' the diagonal is kept. In float64. The relative size of G μ - b is
    `conservation_defect`: how far the prediction was off before it was moved.
    """

    def __call__(self, outputs: Outputs, inputs: Mapping[str, Tensor]) -> Outputs:
        field = outputs.fields[self.spec.output]
        weights = self._weights(field)
        prediction = field.double().flatten(1)
        variance = self._variance(outputs, prediction)
        spread = variance * weights
        integral = self._integral(inputs, weights, len(field))
        excess = prediction @ weights - integral
        total = (spread @ weights).clamp_min(_TINY).unsqueeze(1)
        moved = prediction - spread / total * excess.unsqueeze(1)
        fields = outputs.fields | {self.spec.output: moved.view_as(field).to(field.dtype)}
        if self.spec.deviation is not None:
            left = _root(variance - spread**2 / total)
            fields[self.spec.deviation] = left.view_as(field).to(field.dtype)
        scale = torch.maximum(prediction.abs() @ weights, integral.abs())
        defect = excess.abs() / scale.clamp_min(_TINY)
        others = outputs.findings.get("conservation_defect", defect)
        return Outputs(
            fields, outputs.findings | {"conservation_defect": torch.maximum(defect, others)}
        )

    def _variance(self, outputs: Outputs, prediction: Tensor) -> Tensor:
        if self.spec.deviation is None:
            return torch.ones_like(prediction)
        return outputs.fields[self.spec.deviation].double().flatten(1) ** 2

    def _integral(self, inputs: Mapping[str, Tensor], weights: Tensor, batch_size: int) -> Tensor:
        if self.spec.integral_of is None:
            return weights.new_full((batch_size,), self.spec.value)
        return inputs[self.spec.integral_of].double().flatten(1) @ weights

    def _weights(self, field: Tensor) -> Tensor:
        """Quadrature weights of a flattened field."""
        weights = torch.ones(field.shape[1:], dtype=torch.float64, device=field.device)
        for dimension, name in self.grid_dimensions().items():
            axis, size = self.manifest.axes[name], field.shape[dimension]
            extent = (axis.upper or 0.0) - (axis.lower or 0.0)
            along = weights.new_ones(size)
            if axis.convention == "nodes":
                along[0] = along[-1] = 0.5
            along *= extent / along.sum()
            weights *= along.view(-1, *(1,) * (field.dim() - 1 - dimension))
        return weights.flatten()


def _root(x: Tensor) -> Tensor:
    """The square root, 0 below 0, with a derivative of 0 there: an infinite one times 0 is NaN."""
    none = x <= 0  # not where x is NaN
    return x.masked_fill(none, 1.0).sqrt().masked_fill(none, 0.0)
