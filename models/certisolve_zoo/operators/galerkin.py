"""Galerkin transformers (Cao, "Choose a Transformer: Fourier or Galerkin", 2021), on free points.

    z_i = Q_i (K^T V)/n,   K and V normalised over the channels of each head

Attention without softmax is a Petrov-Galerkin projection: its cost is linear in the number of
points, and K^T V/n is a quadrature, which keeps its meaning when points are added.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .fno import projection
from .perceptron import Perceptron


class GalerkinTransformer(nn.Module):
    """An operator between functions at the same points, which may lie anywhere, in any order.

    Args:
        channels_in: components of the function it takes.
        channels_out: components of the function it returns.
        num_coordinates: of a point.
        width: channels of the hidden functions.
        num_heads: of the attention; divides `width`.
        num_layers: attention layers.
    """

    def __init__(
        self,
        channels_in: int = 1,
        channels_out: int = 1,
        num_coordinates: int = 2,
        width: int = 48,
        num_heads: int = 4,
        num_layers: int = 4,
    ) -> None:
        super().__init__()
        self.lift = nn.Linear(channels_in + num_coordinates, width)
        self.attention = nn.ModuleList(
            GalerkinAttention(width, num_heads, num_coordinates) for _ in range(num_layers)
        )
        self.pointwise = nn.ModuleList(
            Perceptron((width, 2 * width, width)) for _ in range(num_layers)
        )
        self.project = projection(width, channels_out)

    def forward(
        self,
        function: Float[Tensor, "batch point channel_in"],
        position: Float[Tensor, "batch point coordinate"],
    ) -> Float[Tensor, "batch point channel_out"]:
        """The solution at the points."""
        hidden = self.lift(torch.cat([function, position], dim=2))
        for attention, pointwise in zip(self.attention, self.pointwise, strict=True):
            hidden = hidden + attention(hidden, position)
            hidden = hidden + pointwise(hidden)
        return torch.as_tensor(self.project(hidden))


class GalerkinAttention(nn.Module):
    """Linear attention of several heads; positions are appended to the channels of each.

    Args:
        width: channels, before and after.
        num_heads: h; each has `width / h` channels.
        num_coordinates: of a point.
    """

    def __init__(self, width: int, num_heads: int, num_coordinates: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head = width // num_heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.norm_key = _HeadNorm(num_heads, head)
        self.norm_value = _HeadNorm(num_heads, head)
        self.merge = nn.Linear(num_heads * (head + num_coordinates), width)

    def forward(
        self,
        hidden: Float[Tensor, "batch point channel"],
        position: Float[Tensor, "batch point coordinate"],
    ) -> Float[Tensor, "batch point channel"]:
        """Q (K^T V)/n of all heads, mixed."""
        placed = position.unsqueeze(1).expand(-1, self.num_heads, -1, -1)
        query = torch.cat([self._heads(self.query(hidden)), placed], dim=3)
        key = torch.cat([self.norm_key(self._heads(self.key(hidden))), placed], dim=3)
        value = torch.cat([self.norm_value(self._heads(self.value(hidden))), placed], dim=3)
        moments = torch.matmul(key.transpose(2, 3), value / hidden.shape[1])
        return torch.as_tensor(self.merge(torch.matmul(query, moments).transpose(1, 2).flatten(2)))

    def _heads(
        self, hidden: Float[Tensor, "batch point channel"]
    ) -> Float[Tensor, "batch head point channel_head"]:
        return torch.unflatten(hidden, 2, (self.num_heads, -1)).transpose(1, 2)


class _HeadNorm(nn.Module):
    """Layer normalisation over the channels of a head, with a scale and shift for each head."""

    def __init__(self, num_heads: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.scale = nn.Parameter(torch.ones(num_heads, 1, channels))
        self.shift = nn.Parameter(torch.zeros(num_heads, 1, channels))

    def forward(
        self, x: Float[Tensor, "batch head point channel"]
    ) -> Float[Tensor, "batch head point channel"]:
        return torch.as_tensor(self.norm(x) * self.scale + self.shift)
