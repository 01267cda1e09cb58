"""The semidefinite program of a chain, whose least value is the bound of LipSDP.

All r of all layers are linear in the input x and in earlier r, (V_1 h_0, V_2 h_1, ...) = V (x, r),
and y = Y (x, r). With T the multipliers, |y|^2 <= rho c |x|^2 follows from

    F = [[rho I + T - V^T T V, -Y^T], [-Y, c I]] > 0,

T on the r alone. Inputs in linf have a diagonal mu for rho I, |x|_mu^2 <= sum(mu) |x|_inf^2, and
outputs in l1 one for c I likewise (GeoLIP: Wang et al., 2022). Half of rho + c, or of the sums of
the diagonals, is minimised: it is at least the constant, and there is a scale at which it is no
more.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .stages import Stage


@dataclass(frozen=True, eq=False)
class Block:
    """Blocks of F of one shape, C + sum_k w_k (e_k e_k^T - v_k v_k^T); e_k may be in another one.

    Args:
        reach: the v_k, (..., those that are not 0 here, x and r of the block).
        output: Y, (..., outputs of the block, x and r of the block).
        own: which weight each row has, (..., rows): x and r, then outputs.
        reached: which weight each v_k has, (..., those).
    """

    reach: Numbers
    output: Numbers
    own: torch.Tensor
    reached: torch.Tensor

    @property
    def linked(self) -> int:
        """How many x and r there are."""
        return self.reach.shape[-1]

    @property
    def size(self) -> int:
        """Of all matrices of a batch together."""
        return self.own.numel()

    def change(self, weights: Numbers) -> Numbers:
        """sum_k w_k (e_k e_k^T - v_k v_k^T)."""
        upper = -(self.reach.mT * weights[self.reached].unsqueeze(-2)) @ self.reach
        outputs = self.output.shape[-2]
        full = torch.nn.functional.pad(upper, (0, outputs, 0, outputs))
        full.diagonal(dim1=-2, dim2=-1).add_(weights[self.own])
        return full

    def inequality(self, weights: Numbers) -> Numbers:
        """The block itself."""
        full = self.change(weights)
        full[..., self.linked :, : self.linked] = -self.output
        full[..., : self.linked, self.linked :] = -self.output.mT
        return full

    def pairs(self, weights: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Where in a flat (weights, weights) are pairs of own, of reached and own, of reached."""
        own, reached = self.own.unsqueeze(-2), self.reached.unsqueeze(-2)
        return (
            (own.mT * weights + own).flatten(),
            (reached.mT * weights + own).flatten(),
            (reached.mT * weights + reached).flatten(),
        )


@dataclass(frozen=True, eq=False)
class Program:
    """The blocks of F, and what is minimised.

    Args:
        blocks: all of them, by shape.
        cost: of each weight, (weights,).
        layers: how many weights each layer has, those between the inputs' and the outputs'.
        inputs: how many weights there are of inputs.
    """

    blocks: tuple[Block, ...]
    cost: Numbers
    layers: tuple[int, ...]
    inputs: int

    @cached_property
    def pairs(self) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], ...]:
        """Of each block."""
        return tuple(block.pairs(self.cost.numel()) for block in self.blocks)

    @property
    def size(self) -> int:
        """Of F."""
        return sum(block.size for block in self.blocks)

    def parts(self, weights: Numbers) -> tuple[Numbers, tuple[Numbers, ...], Numbers]:
        """Of the inputs, of each layer, of the outputs."""
        outputs = weights.numel() - sum(self.layers) - self.inputs
        first, *layers, last = torch.split(weights, [self.inputs, *self.layers, outputs])
        return first, tuple(layers), last


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
    blocks = _blocks(reach, output, torch.cat(shares))
    return Program(blocks, torch.cat(costs), layers, costs[0].numel())


def _blocks(reach: Numbers, output: Numbers, share: torch.Tensor) -> tuple[Block, ...]:
    """What hangs together by V and Y, as what is after a fold does not by what is before it."""
    linked, bent = reach.shape[-1], reach.shape[-2]
    acts = (torch.cat([reach, output], -2) != 0).reshape(-1, bent + output.shape[-2], linked)
    rows, columns = acts.any(0).nonzero(as_tuple=True)
    nodes = linked + acts.shape[1]
    edges = (torch.ones(rows.numel()).numpy(), (rows.numpy() + linked, columns.numpy()))
    _, found = connected_components(coo_matrix(edges, shape=(nodes, nodes)), directed=False)
    labels = torch.from_numpy(found).to(torch.int64)
    sizes = [linked, bent, output.shape[-2]]
    of_columns, of_reach, of_output = torch.split(labels, sizes)
    batch, alike = reach.shape[:-2], defaultdict(list)
    for label in range(int(of_columns.max()) + 1):
        inside, seen, out = of_columns == label, of_reach == label, of_output == label
        if bool(inside.any()):
            own = torch.cat([share[:linked][inside], share[linked:][out]])
            reached = share[linked - bent : linked][seen]
            block = Block(
                reach[..., seen, :][..., inside],
                output[..., out, :][..., inside],
                own.expand(*batch, -1),
                reached.expand(*batch, -1),
            )
            alike[block.reach.shape, block.output.shape].append(block)
    return tuple(_stacked(blocks) for blocks in alike.values())


def _stacked(blocks: Sequence[Block]) -> Block:
    """As one batch."""
    return Block(
        torch.stack([block.reach for block in blocks]),
        torch.stack([block.output for block in blocks]),
        torch.stack([block.own for block in blocks]),
        torch.stack([block.reached for block in blocks]),
    )


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
