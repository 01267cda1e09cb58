"""The linear spiral on which feedback neural networks were first shown, solved exactly.

    x1' = -d x1 - r x2 + b,   x2' = r x1 - d x2 + b

Decay d, rate r and bias b. A network is trained on `NOMINAL` and used on `DISTURBED`, from `START`,
with a measurement of both components every 0.01 (Jia et al., "Feedback Favors the Generalization
of Neural ODEs", 2024). Good values: d from 0.04 to 0.15, r from 0.8 to 3.2, |b| <= 24.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

START = (9.0, 0.0)
NUM_CASES = 20


@dataclass(frozen=True)
class Spiral:
    """One system."""

    decay: float
    rate: float
    bias: float = 0.0

    def vector_field(
        self, state: Float64[np.ndarray, "*sample 2"]
    ) -> Float64[np.ndarray, "*sample 2"]:
        """The time derivative of (x1, x2)."""
        matrix = np.array([[-self.decay, self.rate], [-self.rate, -self.decay]])
        return np.asarray(state @ matrix + self.bias)


NOMINAL = Spiral(decay=0.1, rate=2.0)
DISTURBED = Spiral(decay=0.05, rate=3.0, bias=10.0)


def training_case(index: int) -> Spiral:
    """One of the 20 systems on which the nonlinear feedback is trained."""
    if not 0 <= index < NUM_CASES:
        raise ValueError(f"case {index}: there are {NUM_CASES}")
    return Spiral(0.04 + 0.005 * index, 0.8 + 0.12 * index, -24.0 + 2.4 * index)


def solve_spiral(
    spiral: Spiral, y0: Float64[np.ndarray, "sample 2"], t_eval: Float64[np.ndarray, " t"]
) -> Float64[np.ndarray, "sample t 2"]:
    """The trajectories at t_eval: z = x1 + i x2 obeys z' = (ir - d) z + (1 + i) b.

    Args:
        spiral: the system; decay and rate not both zero.
        y0: (x1, x2) at t = 0.
        t_eval: times, in any order.
    """
    eigenvalue = complex(-spiral.decay, spiral.rate)
    equilibrium = -(1 + 1j) * spiral.bias / eigenvalue
    start = y0[:, :1] + 1j * y0[:, 1:]
    z = equilibrium + (start - equilibrium) * np.exp(eigenvalue * t_eval)
    return np.stack([z.real, z.imag], axis=-1)
