"""The semidefinite program of a chain, whose least value is the bound of LipSDP.

All r of all layers are linear in the input x and in earlier r, (V_1 h_0, V_2 h_1, ...) = V (x, r),
and y = Y (x, r). With T the multipliers, |y|^2 <= rho c |x|^2 follows from

    F = [[rho I + T - V^T T V, -Y^T], [-Y, c I]] > 0,

T on the r alone. Inputs in linf have a diagonal mu for rho I, |x|_mu^2 <= sum(mu) |x|_inf^2, and
outputs in l1 one for c I likewise (GeoLIP: Wang et al., 2022). Half of rho + c, or of the sums of
the diagonals, is minimised: it is at least the constant, and there is a scale at which it is no
more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .stages import Stage


@dataclass(frozen=True, eq=False)
class Program:
    """F = C + sum_k w_k (e_k e_k^T - v_k v_k^T), w_k the weight of row k of F, v_k = 0 but for r.

    Args:
        reach: V, (..., all r, x and all r).
        output: Y, (..., outputs, x and all r).
        share: which weight each row of F has, (rows,): inputs, r, outputs.
        cost: of each weight, (weights,).
        layers: how many weights each layer has, those between the inputs' and the outputs'.
    """

    reach: Numbers
    output: Numbers
    share: torch.Tensor
    cost: Numbers
    layers: tuple[int, ...]

    @property
    def size(self) -> int:
        """Of F."""
        return self.share.numel()

    @property
    def linked(self) -> int:
        """How many x and r there are."""
        return self.reach.shape[-1]

    @property
    def bent(self) -> slice:
        """The rows of r."""
        return slice(self.linked - self.reach.shape[-2], self.linked)

    @property
    def blocks(self) -> int:
        """How many F there are."""
        return self.reach.shape[:-2].numel()

    def change(self, weights: Numbers) -> Numbers:
        """sum_k w_k (e_k e_k^T - v_k v_k^T)."""
        rows = weights[self.share]
        upper = -(self.reach.mT * rows[self.bent]) @ self.reach
        outputs = self.output.shape[-2]
        full = torch.nn.functional.pad(upper, (0, outputs, 0, outputs))
        full.diagonal(dim1=-2, dim2=-1).add_(rows)
        return full

    def inequality(self, weights: Numbers) -> Numbers:
        """F."""
        full = self.change(weights)
        full[..., self.linked :, : self.linked] = -self.output
        full[..., : self.linked, self.linked :] = -self.output.mT
        return full

    def summed(self, rows: Numbers) -> Numbers:
        """Of each weight the sum over its rows."""
        shape = (self.cost.numel(), *rows.shape[1:])
        return torch.zeros(shape, dtype=torch.float64).index_add_(0, self.share, rows)

    def parts(self, weights: Numbers) -> tuple[Numbers, tuple[Numbers, ...], Numbers]:
        """Of the inputs, of each layer, of the outputs."""
        inputs = self.cost.numel() - sum(self.layers) - self._outputs
        sizes = [inputs, *self.layers, self._outputs]
        first, *layers, last = torch.split(weights, sizes)
        return first, tuple(layers), last

    @property
    def _outputs(self) -> int:
        return int(self.share[-1] - self.share[self.linked]) + 1


def program(
    stages: Sequence[Stage], last: Numbers, free_inputs: bool = False, free_outputs: bool = False
) -> Program:
    """Of a chain.

    Args:
        stages: its layers.
        last: the map after them.
        free_inputs: whether each input has its own weight.
        free_outputs: likewise.
    """
    reach, output = _unrolled(stages, last)
    if not free_outputs and output.shape[-2] > output.shape[-1]:
        output = torch.linalg.qr(output, mode="r")[1]
    inputs = reach.shape[-1] - reach.shape[-2]
    if not free_inputs and inputs > reach.shape[-2] + output.shape[-2]:
        reach, output, inputs = _compressed(reach, output, inputs)
    first = torch.arange(inputs) if free_inputs else torch.zeros(inputs, dtype=torch.int64)
    shares, costs = [first], [torch.full((int(first[-1]) + 1,), 0.5, dtype=torch.float64)]
    for stage in stages:
        shares.append(stage.share + sum(map(len, costs)))
        costs.append(torch.zeros(stage.multipliers, dtype=torch.float64))
    outputs = output.shape[-2]
    end = torch.arange(outputs) if free_outputs else torch.zeros(outputs, dtype=torch.int64)
    shares.append(end + sum(map(len, costs)))
    costs.append(torch.full((int(end[-1]) + 1,), 0.5, dtype=torch.float64))
    layers = tuple(stage.multipliers for stage in stages)
    return Program(reach, output, torch.cat(shares), torch.cat(costs), layers)


def _unrolled(stages: Sequence[Stage], last: Numbers) -> tuple[Numbers, Numbers]:
    """V and Y."""
    inputs = (stages[0].reach if stages else last).shape[-1]
    total = sum(stage.reach.shape[-2] for stage in stages)
    parts = [part for stage in stages for part in (stage.reach, stage.carry, stage.mix)]
    shapes = [last.shape[:-2], *(part.shape[:-2] for part in parts)]
    batch = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    state = torch.eye(inputs, inputs + total, dtype=torch.float64).expand(*batch, -1, -1)
    reach, start = [state[..., :0, :]], inputs
    for stage in stages:
        reach.append(stage.reach @ state)
        state = stage.carry @ state
        end = start + stage.reach.shape[-2]
        state[..., start:end] += stage.mix
        start = end
    return torch.cat(reach, -2), last @ state


def _compressed(reach: Numbers, output: Numbers, inputs: int) -> tuple[Numbers, Numbers, int]:
    """With inputs in orthonormal coordinates of what they act on, fewer than before."""
    acts = torch.cat([reach, output], -2)
    triangle = torch.linalg.qr(acts[..., :inputs].mT, mode="r")[1].mT
    acts = torch.cat([triangle, acts[..., inputs:]], -1)
    rows = reach.shape[-2]
    return acts[..., :rows, :], acts[..., rows:, :], triangle.shape[-1]
