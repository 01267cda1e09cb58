"""Piecewise cubic curves near trajectories of a field: guesses, from which all else is proven.

The classical method of Runge and Kutta in plain floats, and cubic Hermite polynomials between its
steps. Nothing rests on how near they are: `defects` encloses by how much they are off.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.errors import NotCertified

#: Steps of a course within each step of the integration: polynomials are cheaper than fields.
WITHIN = 8


@dataclass(frozen=True, eq=False)
class Course:
    """Curves that are cubic polynomials on each of N steps, given by their ends exactly.

    Args:
        points: (curves, N + 1, n), values at the ends of steps.
        slopes: (curves, N + 1, n), derivatives there.
        dt: of a step, a float taken exactly.
    """

    points: Tensor
    slopes: Tensor
    dt: float

    @property
    def steps(self) -> int:
        """N."""
        return self.points.shape[1] - 1


def course(
    field: Callable[[Tensor], Tensor], starts: Tensor, duration: float, steps: int
) -> Course:
    """Curves from each of the starts.

    Args:
        field: of points (curves, n), in plain floats.
        starts: (curves, n).
        duration: T.
        steps: N, a power of 2 and a multiple of `WITHIN`, so that T / N is a float.

    Raises:
        NotCertified: T is so small that it is none.
    """
    if steps < WITHIN or steps & (steps - 1):
        raise ValueError(f"steps are a power of 2 from {WITHIN} on, not {steps}")
    dt = duration / steps
    if dt * steps != duration:
        raise NotCertified(f"no float is a step of a duration of {duration}")
    large, count = WITHIN * dt, steps // WITHIN
    states, slopes = [starts], [field(starts)]
    for _ in range(count):
        x, k1 = states[-1], slopes[-1]
        k2 = field(x + 0.5 * large * k1)
        k3 = field(x + 0.5 * large * k2)
        k4 = field(x + large * k3)
        states.append(x + large / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4))
        slopes.append(field(states[-1]))
    return _refined(torch.stack(states, 1), torch.stack(slopes, 1), large, dt)


def _refined(states: Tensor, slopes: Tensor, large: float, dt: float) -> Course:
    """Cubic Hermite polynomials at `WITHIN` places per step."""
    x0, x1 = states[:, :-1, None], states[:, 1:, None]
    v0, v1 = slopes[:, :-1, None], slopes[:, 1:, None]
    s = torch.arange(WITHIN, dtype=torch.float64)[:, None] / WITHIN
    rise, rest = x1 - x0, large * (v1 - v0)
    lean = large * v0 - rise
    inner = (1 - s) * lean - s * (lean + rest)
    points = x0 + s * rise + s * (1 - s) * inner
    derivative = rise + (1 - 2 * s) * inner + s * (1 - s) * (-2 * lean - rest)
    points = torch.cat([points.flatten(1, 2), states[:, -1:]], 1)
    slopes = torch.cat([derivative.flatten(1, 2) / large, slopes[:, -1:]], 1)
    return Course(points, slopes, dt)
