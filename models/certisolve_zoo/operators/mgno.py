"""Multigrid neural operators (He, Liu and Xu, "MgNO", 2023), channels last outside.

    v_0 = P(a),   v_{l+1} = GELU(K_l v_l + W_l v_l),   u = Q(v_L)

K_l is linear: one V-cycle of multigrid with learned stencils. Boundary conditions enter through the
stencils, there is no Fourier transform, and long-range coupling costs O(N).
"""

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .convolution import Boundary, convolution, prolongation
from .fno import projection


class MgNo2d(nn.Module):
    """An operator between fields on a rectangle.

    Args:
        channels_in: components of the field it takes.
        channels_out: components of the field it returns.
        width: channels of the hidden fields.
        num_layers: V-cycles.
        num_levels: grids of a V-cycle; sizes must be multiples of 2 to the power of
            `num_levels - 1`.
        num_smoothings: corrections per level, before and after the coarser grid.
        boundary: how stencils see the field beyond the edge.
    """

    def __init__(
        self,
        channels_in: int = 1,
        channels_out: int = 1,
        width: int = 24,
        num_layers: int = 4,
        num_levels: int = 4,
        num_smoothings: int = 1,
        boundary: Boundary = "zero",
    ) -> None:
        super().__init__()
        self.lift = nn.Linear(channels_in, width)
        self.cycles = nn.ModuleList(
            VCycle(width, num_levels, num_smoothings, boundary) for _ in range(num_layers)
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(num_layers))
        self.project = projection(width, channels_out)

    def forward(
        self, field: Float[Tensor, "batch y x channel_in"]
    ) -> Float[Tensor, "batch y x channel_out"]:
        """The solution on the same grid."""
        hidden = self.lift(field).permute(0, 3, 1, 2)
        for cycle, pointwise in zip(self.cycles, self.pointwise, strict=True):
            hidden = functional.gelu(cycle(hidden) + pointwise(hidden))
        return torch.as_tensor(self.project(hidden.permute(0, 2, 3, 1)))


class VCycle(nn.Module):
    """One V-cycle for A u = f from u = 0, as a linear map of f.

    On each level u <- u + B (f - A u); the residual f - A u is restricted to be the right-hand side
    of the next coarser level, whose u is prolonged and added on the way back.

    Args:
        width: channels of f and u on every level.
        num_levels: grids.
        num_smoothings: corrections per level, before and after the coarser grid.
        boundary: how stencils see the field beyond the edge.
    """

    def __init__(
        self, width: int, num_levels: int, num_smoothings: int, boundary: Boundary
    ) -> None:
        super().__init__()
        levels = range(num_levels - 1)
        self.descend = nn.ModuleList(_Smoothing(width, num_smoothings, boundary) for _ in levels)
        self.restrict = nn.ModuleList(
            convolution(width, width, boundary, stride=2, bias=False) for _ in levels
        )
        self.coarsest = _Smoothing(width, num_smoothings + 1, boundary)
        self.prolong = nn.ModuleList(prolongation(width, width, bias=False) for _ in levels)
        self.ascend = nn.ModuleList(_Smoothing(width, num_smoothings, boundary) for _ in levels)

    def forward(self, f: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """What the cycle makes of the right-hand side."""
        path = []
        descend = cast("Iterable[_Smoothing]", self.descend)
        for smoothing, restrict in zip(descend, self.restrict, strict=True):
            u = smoothing(f)
            path.append((u, f))
            f = restrict(f - smoothing.operator(u))
        u = self.coarsest(f)
        way_back = zip(reversed(path), reversed(self.prolong), reversed(self.ascend), strict=True)
        for (finer, f), prolong, ascend in way_back:
            u = ascend(f, finer + prolong(u))
        return torch.as_tensor(u)


class _Smoothing(nn.Module):
    """u <- u + B_i (f - A u) for each i."""

    def __init__(self, width: int, num_smoothings: int, boundary: Boundary) -> None:
        super().__init__()
        self.operator = convolution(width, width, boundary, bias=False)
        self.corrections = nn.ModuleList(
            convolution(width, width, boundary, bias=False) for _ in range(num_smoothings)
        )

    def forward(
        self,
        f: Float[Tensor, "batch channel y x"],
        u: Float[Tensor, "batch channel y x"] | None = None,
    ) -> Float[Tensor, "batch channel y x"]:
        """The corrected u, from zero if there is none."""
        for correction in self.corrections:
            u = correction(f) if u is None else u + correction(f - self.operator(u))
        assert u is not None
        return u
