"""Latent spectral models (Wu et al., 2023), channels last.

On each of several grids the field is cut into patches. Attention projects the points of a patch
onto a few latent tokens, a trigonometric series acts on the tokens, attention carries them back:

    T = T_0 + softmax(T_0 K^T/√d) V,   S(T) = T + w_0 + Σ_k w_k sin(kT) + w_k' cos(kT),
    v <- v + softmax(Q S(T)_K^T/√d) S(T)_V
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .convolution import Boundary
from .pyramid import Pyramid


class Lsm2d(nn.Module):
    """An operator between fields on a rectangle.

    Args:
        channels_in: components of the field it takes.
        channels_out: components of the field it returns.
        width: channels on the finest grid, a multiple of 4 and of `num_heads`.
        num_levels: grids, each with half the points and twice the channels of the one before.
        patch: points along each side of a patch, on every grid; sizes must be multiples of it times
            2 to the power of `num_levels - 1`.
        num_tokens: latent tokens per patch and head.
        num_heads: of both attentions.
        num_bases: highest k of the series.
        boundary: how stencils see the field beyond the edge.
    """

    def __init__(
        self,
        channels_in: int = 1,
        channels_out: int = 1,
        width: int = 16,
        num_levels: int = 3,
        patch: int = 4,
        *,
        num_tokens: int = 4,
        num_heads: int = 4,
        num_bases: int = 6,
        boundary: Boundary = "zero",
    ) -> None:
        super().__init__()
        widths = tuple(width * 2**level for level in range(num_levels))
        self.pyramid = Pyramid(channels_in, widths, boundary)
        self.blocks = nn.ModuleList(
            SpectralBlock(channels, patch, num_tokens, num_heads, num_bases) for channels in widths
        )
        self.leave = nn.Linear(width, channels_out)

    def forward(
        self, field: Float[Tensor, "batch y x channel_in"]
    ) -> Float[Tensor, "batch y x channel_out"]:
        """The solution on the same grid."""
        grids = self.pyramid.descend(field.permute(0, 3, 1, 2))
        levels = [block(grid) for block, grid in zip(self.blocks, grids, strict=True)]
        hidden = self.pyramid.ascend(levels)
        return torch.as_tensor(self.leave(hidden.permute(0, 2, 3, 1)))


class SpectralBlock(nn.Module):
    """The neural spectral block: patches to tokens, a series on the tokens, tokens to patches.

    Args:
        channels: of the field, a multiple of `num_heads`.
        patch: points along each side of a patch.
        num_tokens: latent tokens per patch and head.
        num_heads: of both attentions.
        num_bases: highest k of the series.
    """

    def __init__(
        self, channels: int, patch: int, num_tokens: int, num_heads: int, num_bases: int
    ) -> None:
        super().__init__()
        head = channels // num_heads
        self.patch, self.num_heads = patch, num_heads
        self.tokens = nn.Parameter(torch.randn(num_heads, num_tokens, head))
        self.encode_key = nn.Linear(channels, channels)
        self.encode_value = nn.Linear(channels, channels)
        self.decode_query = nn.Linear(channels, channels)
        self.decode_key = nn.Linear(head, head)
        self.decode_value = nn.Linear(head, head)
        self.series = _Series(num_heads, head, num_bases)

    def forward(self, v: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """The field, corrected patch by patch."""
        patches = self._cut(v)
        keys, values, queries = (
            torch.unflatten(projection(patches), 2, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.encode_key, self.encode_value, self.decode_query)
        )
        tokens = self.series(self.tokens + _attend(self.tokens, keys, values))
        fresh = _attend(queries, self.decode_key(tokens), self.decode_value(tokens))
        return v + self._join(fresh.transpose(1, 2).flatten(2), v)

    def _cut(self, v: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "patch point channel"]:
        cut = torch.unflatten(torch.unflatten(v, 3, (-1, self.patch)), 2, (-1, self.patch))
        return cut.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)

    def _join(
        self, patches: Float[Tensor, "patch point channel"], like: Tensor
    ) -> Float[Tensor, "batch channel y x"]:
        batch, channels, rows, columns = like.shape
        grid = batch, rows // self.patch, columns // self.patch
        joined = patches.reshape(*grid, self.patch, self.patch, channels)
        return joined.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, rows, columns)


class _Series(nn.Module):
    """T + w_0 + Σ_{k<=K} w_k sin(kT) + w_k' cos(kT), channel by channel."""

    waves: Tensor

    def __init__(self, num_heads: int, channels: int, num_bases: int) -> None:
        super().__init__()
        shape = num_heads, 1, channels
        self.register_buffer("waves", torch.arange(1.0, num_bases + 1))
        self.constant = nn.Parameter(torch.zeros(shape))
        scale = 1 / num_bases
        self.sines = nn.Parameter(scale * torch.rand(*shape, num_bases))
        self.cosines = nn.Parameter(scale * torch.rand(*shape, num_bases))

    def forward(
        self, tokens: Float[Tensor, "patch head token channel"]
    ) -> Float[Tensor, "patch head token channel"]:
        angle = tokens.unsqueeze(4) * self.waves
        series = self.sines * angle.sin() + self.cosines * angle.cos()
        return tokens + self.constant + series.sum(dim=4)


def _attend(
    queries: Float[Tensor, "*patch head query channel"],
    keys: Float[Tensor, "patch head key channel"],
    values: Float[Tensor, "patch head key channel"],
) -> Float[Tensor, "patch head query channel"]:
    scores = torch.matmul(queries, keys.transpose(2, 3)) / keys.shape[3] ** 0.5
    return torch.matmul(scores.softmax(dim=3), values)
