"""Bring your own model: a spectral solver of the heat equation, and problems to measure it on.

uₜ = α uₓₓ on [0, 1), periodic: the wave exp(2πikx) decays as exp(-α (2πk)² t). The module takes u
at t = 0 and α, and returns u at t = 1/10, on any grid.

    python examples/export/heat.py heat-reference.safetensors
    certisolve export examples/export/heat.py:build --manifest examples/export/heat.json \
        --reference heat-reference.safetensors --out my-models
"""

import math
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

TIME = 0.1
RESOLUTIONS = (64, 128, 256)
NUM_PROBLEMS = 50
NUM_WAVES = 6


class Heat(nn.Module):
    """u(x, 0) and α to u(x, t)."""

    def forward(self, u0: Tensor, alpha: Tensor) -> Tensor:
        """The solution; shapes (batch, x) and (batch,) to (batch, x)."""
        modes = torch.fft.rfft(u0)
        wave_number = 2 * math.pi * torch.arange(modes.shape[1])
        decay = torch.exp(-alpha[:, None] * wave_number**2 * TIME)
        return torch.fft.irfft(modes * decay, n=u0.shape[1])


def build() -> nn.Module:
    """The module to export."""
    return Heat().eval()


def reference() -> dict[str, np.ndarray]:
    """Sums of sines and their exact solutions, at every resolution."""
    tensors = {}
    for num_points in RESOLUTIONS:
        rng = np.random.default_rng(num_points)
        x, k = np.arange(num_points) / num_points, np.arange(1, NUM_WAVES + 1)
        amplitudes = rng.uniform(-1, 1, (NUM_PROBLEMS, NUM_WAVES)) / NUM_WAVES
        alpha = rng.uniform(0.01, 0.1, NUM_PROBLEMS)
        sines = np.sin(2 * np.pi * k[:, None] * x)
        decay = np.exp(-alpha[:, None] * (2 * np.pi * k) ** 2 * TIME)
        tensors |= {
            f"x={num_points}/inputs/u0": amplitudes @ sines,
            f"x={num_points}/inputs/alpha": alpha,
            f"x={num_points}/outputs/u": (amplitudes * decay) @ sines,
        }
    return tensors


if __name__ == "__main__":
    save_file(reference(), sys.argv[1])
