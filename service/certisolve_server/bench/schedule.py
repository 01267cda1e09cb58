"""When the requests of an open loop are due; pure."""

import math

import numpy as np
from numpy.typing import NDArray


def poisson_arrivals(
    rng: np.random.Generator, rate: float, duration_s: float, max_requests: int
) -> NDArray[np.float64]:
    """Due times in [0, duration_s), ascending, of independent users who ask `rate` times a second.

    Args:
        rng: source of the exponential gaps.
        rate: mean requests per second.
        duration_s: seconds until the last request is due.
        max_requests: fewer than `rate * duration_s` shorten the schedule.
    """
    if not (rate > 0 and duration_s > 0):
        raise ValueError("rate and duration must be positive")
    # Five standard deviations above the mean: hardly ever too few, and then the loop adds more.
    mean = rate * duration_s
    chunk = min(max_requests, math.ceil(mean + 5 * math.sqrt(mean) + 5))
    due = np.cumsum(rng.exponential(1 / rate, chunk))
    while due[-1] < duration_s and due.size < max_requests:
        gaps = rng.exponential(1 / rate, min(chunk, max_requests - due.size))
        due = np.concatenate([due, due[-1] + np.cumsum(gaps)])
    return due[due < duration_s]
