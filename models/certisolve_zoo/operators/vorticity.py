"""A Fourier neural operator for one step of the vorticity on the torus; see `VorticityFno`.

    ŵ(t + Δt) = e^(-νk²Δt) ŵ + (1 - e^(-νk²Δt))/(νk²) f̂ + Ĝ(w)

Diffusion and forcing are exact; the network is the advection G = -∫ e^(νΔ(Δt - s)) v·∇w ds alone.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .fno import PeriodicFno2d
from .spectral import Basis1d, periodic_basis

# Typical sizes for 0.1 of forcing and ν = 1e-3, which bring the channels to order one.
VELOCITY_SCALE = 0.1
GRADIENT_SCALE = 10.0
INCREMENT_SCALE = 0.2
NUM_FEATURES = 8


class VorticityFno(nn.Module):
    """w(t) -> w(t + Δt) of the Navier-Stokes equations under the forcing of the benchmark.

    Whatever the grid, the network sees the modes |k| < M/2 of the frame on M by M points: finer
    grids cost no more and get the same answer; what a frame holds in other modes is left out. It
    is given velocity, gradient and advection of the frame beside the vorticity, since these are
    known, and the forcing in place of coordinates: it commutes with shifts by whole cells of
    1/M along the diagonals x + y = const, as the equation does. The mean vorticity is kept.

    Args:
        width: channels of the hidden fields.
        num_modes: m of the spectral layers, along both axes.
        num_layers: spectral layers.
        num_points: M, even; frames need at least as many points along both axes.
        nu: viscosity ν.
        dt: Δt.
        amplitude: a of the forcing f = a (sin 2π(x + y) + cos 2π(x + y)).
    """

    linear: Tensor
    source: Tensor
    to_stream: Tensor
    synthesis: Tensor
    slope: Tensor
    analysis: Tensor
    phase: Tensor
    moving: Tensor

    def __init__(
        self,
        width: int = 24,
        num_modes: int = 6,
        num_layers: int = 3,
        *,
        num_points: int = 16,
        nu: float = 1e-3,
        dt: float = 1.0,
        amplitude: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_waves = num_points // 2
        self.network = PeriodicFno2d(NUM_FEATURES, 1, width, (num_modes, num_modes), num_layers)
        for name, value in _constants(num_points, nu, dt, amplitude).items():
            self.register_buffer(name, value.float().contiguous())

    def forward(self, w: Float[Tensor, "batch y x"]) -> Float[Tensor, "batch y x"]:
        """The vorticity Δt later, on the same grid."""
        along_y = periodic_basis(w.shape[1], self.num_waves, w)
        along_x = periodic_basis(w.shape[2], self.num_waves, w)
        spectrum = _plane(along_y.forward, w, along_x.forward)
        advected = _plane(self.analysis, self.advection(self.moving * spectrum), self.analysis)
        following = self.linear * spectrum + self.source + self.moving * advected
        return _plane(along_y.inverse, following, along_x.inverse)

    def advection(
        self, spectrum: Float[Tensor, "batch wave_y wave_x"]
    ) -> Float[Tensor, "batch y x"]:
        """G on the points of the network."""
        features = torch.cat([self._features(spectrum), self._phase(spectrum)], dim=3)
        return INCREMENT_SCALE * torch.squeeze(self.network(features), 3)

    def _features(self, spectrum: Tensor) -> Float[Tensor, "batch y x 6"]:
        value, slope = self.synthesis, self.slope
        stream = self.to_stream * spectrum
        u = _plane(slope, stream, value) / VELOCITY_SCALE
        v = -_plane(value, stream, slope) / VELOCITY_SCALE
        w_x = _plane(value, spectrum, slope) / GRADIENT_SCALE
        w_y = _plane(slope, spectrum, value) / GRADIENT_SCALE
        w = _plane(value, spectrum, value)
        return torch.stack([w, u, v, w_x, w_y, u * w_x + v * w_y], dim=3)

    def _phase(self, spectrum: Tensor) -> Float[Tensor, "batch y x 2"]:
        return self.phase.unsqueeze(0).expand(spectrum.shape[0], -1, -1, -1)


def _plane(
    left: Float[Tensor, "i y"], field: Float[Tensor, "batch y x"], right: Float[Tensor, "j x"]
) -> Float[Tensor, "batch i j"]:
    """A transform along both axes."""
    return torch.matmul(torch.matmul(left, field), right.T)


def _constants(num_points: int, nu: float, dt: float, amplitude: float) -> dict[str, Tensor]:
    """What the equation gives, in the basis of `periodic_basis`: cosines, then minus sines."""
    basis = periodic_basis(num_points, num_points // 2, torch.zeros((), dtype=torch.float64))
    k = 2 * math.pi * torch.arange(num_points // 2, dtype=torch.float64).repeat(2)
    squared = k[:, None] ** 2 + k**2
    resting = squared == 0
    stream = torch.where(resting, 0.0, 1 / squared.clamp(min=1.0))
    decay = torch.exp(-nu * dt * squared)
    x = torch.arange(num_points, dtype=torch.float64) / num_points
    angle = 2 * math.pi * (x[:, None] + x)
    phase = torch.stack([angle.sin(), angle.cos()], dim=2)
    forcing = basis.forward @ (amplitude * phase.sum(dim=2)) @ basis.forward.T
    return {
        "linear": decay,
        "source": (1 - decay) * stream / nu * forcing,
        "to_stream": stream,
        "moving": (~resting).double(),
        "analysis": basis.forward,
        "synthesis": basis.inverse,
        "slope": _slope(basis, k),
        "phase": phase,
    }


def _slope(basis: Basis1d, k: Float[Tensor, " wave"]) -> Float[Tensor, "x wave"]:
    """Derivatives of the synthesis: those of cosines are sines, up to sign."""
    cosines, sines = basis.inverse.chunk(2, dim=1)
    return k * torch.cat([sines, -cosines], dim=1)
