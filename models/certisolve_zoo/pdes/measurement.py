"""What a sensor sees of a trajectory: the whole state at regular times, with noise."""

import numpy as np
from jaxtyping import Float64


def measure(
    rng: np.random.Generator,
    trajectory: Float64[np.ndarray, "sample t state"],
    *,
    noise: float | Float64[np.ndarray, " state"],
    stride: int = 1,
) -> Float64[np.ndarray, "sample t_measured state"]:
    """Every stride-th state, with independent Gaussian errors.

    Args:
        rng: source of the errors.
        trajectory: states at equal intervals.
        noise: standard deviation, one for all components or one for each.
        stride: intervals from one measurement to the next.
    """
    seen = trajectory[:, ::stride]
    return np.asarray(seen + noise * rng.standard_normal(seen.shape))
