"""Memory neural operators (Buitrago Ruiz et al., 2024), channels last, in one dimension.

Between two stacks of Markovian layers, which mix space at one time, stands a state space, which
mixes time at one point. What a coarse grid does not resolve leaves its trace in the past.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .ffno import FfnoLayer
from .fno import projection
from .s4d import S4d
from .spectral import Basis1d, periodic_basis


class MemNo1d(nn.Module):
    """Next frames of a flow on a periodic interval, from all frames so far.

    Args:
        channels: components of the field.
        width: channels of the hidden fields.
        num_modes: Fourier modes kept, 0 <= k < num_modes; the grid needs at least twice as many.
        num_layers: (before, after) the memory, Markovian layers.
        num_states: complex states per point and channel; a session keeps 8 width num_states bytes
            per grid point.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        num_modes: int = 16,
        num_layers: tuple[int, int] = (2, 2),
        num_states: int = 16,
    ) -> None:
        super().__init__()
        before, after = num_layers
        self.num_modes = num_modes
        self.lift = nn.Linear(channels, width)
        self.before = nn.ModuleList(FfnoLayer(width, num_modes) for _ in range(before))
        self.memory = S4d(width, num_states)
        self.recall = nn.Linear(width, width)
        self.after = nn.ModuleList(FfnoLayer(width, num_modes) for _ in range(after))
        self.project = projection(width, channels)

    def forward(
        self, frames: Float[Tensor, "batch time x channel"]
    ) -> Float[Tensor, "batch time x channel"]:
        """The successor of every frame, given it and those before it. For training."""
        batch, num_steps, num_points = frames.shape[:3]
        basis = periodic_basis(num_points, self.num_modes, frames)
        hidden = self._encoded(frames.flatten(0, 1), basis)
        sequences = torch.unflatten(hidden, 0, (batch, num_steps)).transpose(1, 2)
        recalled = self.memory(sequences.flatten(0, 1))
        recalled = torch.unflatten(recalled, 0, (batch, num_points)).transpose(1, 2)
        return frames + self._decoded(hidden, recalled.flatten(0, 1), basis).view(frames.shape)

    def step(
        self,
        frame: Float[Tensor, "batch x channel"],
        state: Float[Tensor, "batch x width 2 state"],
    ) -> tuple[Float[Tensor, "batch x channel"], Float[Tensor, "batch x width 2 state"]]:
        """The successor of one frame, and the memory after it. For serving."""
        basis = periodic_basis(frame.shape[1], self.num_modes, frame)
        hidden = self._encoded(frame, basis)
        recalled, state = self.memory.step(hidden, state)
        return frame + self._decoded(hidden, recalled, basis), state

    def initial_state(
        self, frame: Float[Tensor, "batch x channel"]
    ) -> Float[Tensor, "batch x width 2 state"]:
        """The memory before the first frame: nothing."""
        batch, num_points = frame.shape[:2]
        shape = batch, num_points, self.lift.out_features, 2, self.memory.num_states
        return torch.zeros(shape, dtype=frame.dtype, device=frame.device)

    def _encoded(self, frame: Tensor, basis: Basis1d) -> Tensor:
        hidden = self.lift(frame)
        for layer in self.before:
            hidden = layer(hidden, basis)
        return torch.as_tensor(hidden)

    def _decoded(self, hidden: Tensor, recalled: Tensor, basis: Basis1d) -> Tensor:
        hidden = hidden + self.recall(functional.gelu(recalled))
        for layer in self.after:
            hidden = layer(hidden, basis)
        return torch.as_tensor(self.project(hidden))


class MemNoStep(nn.Module):
    """`MemNo1d.step` as the forward pass, which is what is exported.

    Args:
        network: whose weights it shares.
    """

    def __init__(self, network: MemNo1d) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        frame: Float[Tensor, "batch x channel"],
        state: Float[Tensor, "batch x width 2 state"],
    ) -> tuple[Float[Tensor, "batch x channel"], Float[Tensor, "batch x width 2 state"]]:
        """The successor of one frame, and the memory after it."""
        return self.network.step(frame, state)
