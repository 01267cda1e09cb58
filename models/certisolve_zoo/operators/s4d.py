"""Diagonal state spaces (Gu et al., "S4D", 2022).

Each channel has N complex states with poles A_n = -exp(a_n) + i b_n, sampled at steps Δ:

    s_n <- exp(ΔA_n) s_n + u,   y = Re Σ_n G_n s_n + D u,   G_n = 2 C_n (exp(ΔA_n) - 1)/A_n

From s = 0 this is the causal convolution y_t = Σ_{l<=t} k_l u_{t-l} + D u_t with the kernel
k_l = Re Σ_n G_n exp(lΔA_n), which a whole sequence is trained with. States are stored as real and
imaginary parts, so that a step holds no complex number.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Steps of the continuous system per frame, S4D-Lin of the paper.
SMALLEST_DT, LARGEST_DT = 1e-3, 1e-1


class _Complex(NamedTuple):
    real: Tensor
    imag: Tensor


class S4d(nn.Module):
    """A linear state space per channel, as a convolution or step by step.

    Args:
        channels: of the sequences; they are not mixed.
        num_states: N complex states per channel.
    """

    def __init__(self, channels: int, num_states: int) -> None:
        super().__init__()
        self.num_states = num_states
        smallest, largest = math.log(SMALLEST_DT), math.log(LARGEST_DT)
        self.log_dt = nn.Parameter(smallest + (largest - smallest) * torch.rand(channels, 1))
        self.log_decay = nn.Parameter(torch.full((channels, num_states), math.log(0.5)))
        self.frequency = nn.Parameter(
            math.pi * torch.arange(num_states).repeat(channels, 1).float()
        )
        self.readout_real = nn.Parameter(math.sqrt(0.5) * torch.randn(channels, num_states))
        self.readout_imag = nn.Parameter(math.sqrt(0.5) * torch.randn(channels, num_states))
        self.feedthrough = nn.Parameter(torch.randn(channels))

    def forward(
        self, u: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """The answers to whole sequences from rest, by fast Fourier transforms. For training."""
        num_steps = u.shape[1]
        spectrum = torch.fft.rfft(self.kernel(num_steps), n=2 * num_steps, dim=0)
        product = torch.fft.rfft(u, n=2 * num_steps, dim=1) * spectrum
        convolved = torch.fft.irfft(product, n=2 * num_steps, dim=1)
        return torch.add(convolved[:, :num_steps], self.feedthrough * u)

    def step(
        self,
        u: Float[Tensor, "*site channel"],
        state: Float[Tensor, "*site channel 2 state"],
    ) -> tuple[Float[Tensor, "*site channel"], Float[Tensor, "*site channel 2 state"]]:
        """The answer to one more element, and the state after it. For serving."""
        pole, gain = self._discretised()
        old_real, old_imag = state.unbind(-2)
        real = pole.real * old_real - pole.imag * old_imag + u.unsqueeze(-1)
        imag = pole.real * old_imag + pole.imag * old_real
        y = (gain.real * real - gain.imag * imag).sum(dim=-1) + self.feedthrough * u
        return y, torch.stack([real, imag], dim=-2)

    def kernel(self, num_steps: int) -> Float[Tensor, "time channel"]:
        """The answer k_l to a unit impulse, without the feedthrough."""
        _, gain = self._discretised()
        dt = self.log_dt.exp()
        steps = torch.arange(num_steps, dtype=dt.dtype, device=dt.device)[:, None, None]
        decayed = torch.exp(-steps * dt * self.log_decay.exp())
        angle = steps * dt * self.frequency
        return (decayed * (gain.real * angle.cos() - gain.imag * angle.sin())).sum(dim=2)

    def _discretised(self) -> tuple[_Complex, _Complex]:
        """exp(ΔA) and G, each over (channel, state)."""
        decay, dt = self.log_decay.exp(), self.log_dt.exp()
        magnitude, angle = torch.exp(-dt * decay), dt * self.frequency
        pole = _Complex(magnitude * angle.cos(), magnitude * angle.sin())
        # (exp(ΔA) - 1) times the conjugate of A, over |A|².
        square = decay**2 + self.frequency**2
        hold_real = (self.frequency * pole.imag - decay * (pole.real - 1)) / square
        hold_imag = (-self.frequency * (pole.real - 1) - decay * pole.imag) / square
        real = self.readout_real * hold_real - self.readout_imag * hold_imag
        imag = self.readout_real * hold_imag + self.readout_imag * hold_real
        return pole, _Complex(2 * real, 2 * imag)
