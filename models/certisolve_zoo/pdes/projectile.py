"""A thrown object with drag, spin and wind.

    p' = v,   v' = g - c |v - w| (v - w) + s × (v - w)

Position p and velocity v in metres and seconds, z upwards; g = (0, 0, -9.81). c is ρ C_D A/2m, s
the angular velocity times ρ C_L A r/2m (lift of a spinning body), w the wind. Stands in for the
measured throws of irregular bottles (Jia et al., "Feedback Favors the Generalization of Neural
ODEs", 2024): a network is trained without spin and wind, and predicts half a second ahead from
states measured at 1 kHz. Good values: c about 0.1 per metre, |s| <= 1 per second, |w| <= 3 m/s,
dt = 0.01.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from certisolve_zoo.steppers import Diagonal, RungeKutta4, Semilinear, divide, rollout

GRAVITY = np.array([0.0, 0.0, -9.81])


@dataclass(frozen=True)
class Throws:
    """Objects and the air they fly through, one per sample.

    Attributes:
        drag: c in 1/m.
        spin: s in 1/s.
        wind: w in m/s.
    """

    drag: Float64[np.ndarray, " sample"]
    spin: Float64[np.ndarray, "sample 3"]
    wind: Float64[np.ndarray, "sample 3"]

    def vector_field(
        self, state: Float64[np.ndarray, "sample 6"]
    ) -> Float64[np.ndarray, "sample 6"]:
        """The time derivative of (p, v)."""
        through_air = state[:, 3:] - self.wind
        speed = np.linalg.norm(through_air, axis=1)
        drag = (self.drag * speed)[:, None] * through_air
        lift = np.cross(self.spin, through_air)
        return np.concatenate([state[:, 3:], GRAVITY - drag + lift], axis=1)


def nominal_throws(num_samples: int, *, drag: float = 0.1) -> Throws:
    """The same drag for all, no spin and still air."""
    still = np.zeros((num_samples, 3))
    return Throws(np.full(num_samples, drag), still, still)


def random_throws(
    rng: np.random.Generator,
    num_samples: int,
    *,
    max_spin: float = 1.0,
    max_wind: float = 3.0,
) -> Throws:
    """Drag of 0.08 to 0.16 per metre; spin and a horizontal wind from a cube and a square."""
    wind = rng.uniform(-max_wind, max_wind, (num_samples, 3))
    wind[:, 2] = 0.0
    return Throws(
        rng.uniform(0.08, 0.16, num_samples),
        rng.uniform(-max_spin, max_spin, (num_samples, 3)),
        wind,
    )


def random_releases(rng: np.random.Generator, num_samples: int) -> Float64[np.ndarray, "sample 6"]:
    """States at release: hand at 1 to 2 m, 4 to 8 m/s, 30° to 60° upwards, in any direction."""
    height = rng.uniform(1.0, 2.0, num_samples)
    speed = rng.uniform(4.0, 8.0, num_samples)
    climb = rng.uniform(np.pi / 6, np.pi / 3, num_samples)
    heading = rng.uniform(0.0, 2 * np.pi, num_samples)
    still = np.zeros(num_samples)
    forward = speed * np.cos(climb)
    return np.stack(
        [
            still,
            still,
            height,
            forward * np.cos(heading),
            forward * np.sin(heading),
            speed * np.sin(climb),
        ],
        axis=1,
    )


def solve_projectile(
    throws: Throws,
    y0: Float64[np.ndarray, "sample 6"],
    *,
    num_snapshots: int,
    interval: float = 1e-3,
    dt: float = 1e-2,
) -> Float64[np.ndarray, "sample t 6"]:
    """The states (p, v) at t = interval, 2 interval, ..., by the classical Runge-Kutta method.

    The ground is not in the way.

    Args:
        throws: the objects.
        y0: states at t = 0.
        num_snapshots: times to return.
        interval: between them.
        dt: longest time step.
    """
    steps_between, dt = divide(interval, dt)
    problem = Semilinear(Diagonal(np.zeros(6)), throws.vector_field)
    return rollout(RungeKutta4(problem, dt), y0, num_snapshots, steps_between)
