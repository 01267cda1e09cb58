"""Models to certify: one whose bound is known, one whose bound gets better for long."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from certisolve.manifest import TensorSpec, ValidatedResolution
from helpers import POINTS, Pointwise, field_manifest, write_artifact

_NAMES = ("x", "y", "z")
_WIDTH = 24


class Network(nn.Module):
    """Two layers of tanh at each point, steep enough that no bound is found exactly."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(len(_NAMES), _WIDTH, generator=generator))
        self.second = nn.Parameter(torch.randn(_WIDTH, _WIDTH, generator=generator) / 3)
        self.last = nn.Parameter(torch.randn(_WIDTH, 1, generator=generator) / 3)

    def forward(self, *inputs: Tensor) -> Tensor:
        at = torch.stack(inputs, -1)
        hidden = torch.tanh(torch.tanh(at @ self.first) @ self.second)
        return (hidden @ self.last).flatten(1)


def write_certify_models(root: Path) -> None:
    """`double` on 16 or 32 points, and `network` of x, y and z at any number of points."""
    write_artifact(root, Pointwise(lambda u: 2 * u), field_manifest("double"))
    write_artifact(root, Network(), _network_manifest())


def hard(reach: float = 1.0, **more: Any) -> dict[str, Any]:
    """A question about `network` whose search goes on as long as it may.

    Args:
        reach: of the box; another one is another question.
        more: of the question.
    """
    corner = np.full(2, reach)
    return {
        "lower": dict.fromkeys(_NAMES, -corner),
        "upper": dict.fromkeys(_NAMES, corner),
        "gap": 1.0,
        **more,
    }


def _network_manifest():
    def spec(name: str) -> TensorSpec:
        return TensorSpec(name=name, dtype="F32", axes=("points",), description=name)

    whole = ValidatedResolution(
        sizes={}, error=1e-3, worst_error=2e-3, metric="rmse", num_samples=10
    )
    return field_manifest(
        "network",
        axes={"points": POINTS},
        inputs=tuple(map(spec, _NAMES)),
        outputs=(spec("f"),),
        resolutions=(whole,),
        t=(),
    )
