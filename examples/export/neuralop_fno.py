"""Bring your own model: a Fourier neural operator of the package `neuraloperator`.

Darcy flow, a(y, x) to u(y, x). The package's networks take and return a channel axis after the
batch; the manifest's fields have none. `export` traces them with a dynamic batch and grid, also
where the package would fix both: see docs/bring-your-own.md.

    certisolve export examples/export/neuralop_fno.py:build \
        --manifest examples/export/neuralop_fno.json \
        --weights trained.safetensors --reference unseen.safetensors --out my-models
"""

import torch
from neuralop.models import FNO
from torch import Tensor, nn


class Operator(nn.Module):
    """The network between fields without a channel axis.

    Arguments:
        options: of the network, `factorization="tucker"` for instance.
    """

    def __init__(self, **options: object) -> None:
        super().__init__()
        sizes = {"n_modes": (8, 8), "hidden_channels": 12, "n_layers": 2}
        self.network = FNO(in_channels=1, out_channels=1, **{**sizes, **options})

    def forward(self, a: Tensor) -> Tensor:
        """Shapes (batch, y, x) to (batch, y, x)."""
        field: Tensor = self.network(a.unsqueeze(1))
        return field.squeeze(1)


def build() -> nn.Module:
    """The network as it was trained; untrained without --weights."""
    torch.manual_seed(0)
    return Operator().eval()


def build_tucker() -> nn.Module:
    """The same with factorised weights, contracted factor by factor."""
    torch.manual_seed(0)
    return Operator(factorization="tucker", rank=0.4, implementation="factorized").eval()
