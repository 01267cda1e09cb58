"""Forecast a spiral that no training has seen from measurements of it, with and without feedback.

    python examples/forecast.py [URL]

URL defaults to http://127.0.0.1:8000; a running server's grpc://127.0.0.1:8001 does as well.
"""

import sys

import numpy as np

from certisolve import CertisolveError, Client, Solution

MODEL = "spiral-feedback"
DT = 0.01
NUM_MEASUREMENTS = 200
HORIZON = 50
DECAY, RATE, BIAS = 0.05, 3.0, 10.0


def main() -> int:
    """Forecast twice and compare with what happened; returns the exit status."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    path = spiral(np.array([9.0, 0.0]), NUM_MEASUREMENTS + HORIZON)
    measured, future = path[:NUM_MEASUREMENTS], path[NUM_MEASUREMENTS:]
    try:
        with Client(url) as client:
            corrected = client.solve(MODEL, {"x": measured})
            uncorrected = client.solve(MODEL, {"x": measured[-1:]})
    except CertisolveError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    report(corrected, uncorrected, future)
    return 0


def spiral(start: np.ndarray, num_states: int) -> np.ndarray:
    """States DT apart of x1' = -d x1 - r x2 + b, x2' = r x1 - d x2 + b, of shape (t, 2)."""
    matrix = np.array([[-DECAY, -RATE], [RATE, -DECAY]])
    rest = np.linalg.solve(matrix, [-BIAS, -BIAS])
    times = DT * np.arange(num_states)[:, None]
    moved = (start - rest) @ np.array([1, 1j]) * np.exp((-DECAY + 1j * RATE) * times)
    return rest + np.concatenate([moved.real, moved.imag], axis=1)


def report(corrected: Solution, uncorrected: Solution, future: np.ndarray) -> None:
    """Print how far both forecasts are off, and what the server says of them."""
    for name, solution in (("with feedback", corrected), ("without", uncorrected)):
        distance = np.linalg.norm(solution.fields["x"] - future, axis=1)
        errors = ", ".join(f"{distance[i]:.2f} after {(i + 1) * DT:g}" for i in (9, 24, 49))
        print(f"{name:14s} off by {errors}")
    diagnostics = corrected.diagnostics
    if diagnostics is not None and diagnostics.noise_gain is not None:
        print(f"noise of the last measurement is amplified {diagnostics.noise_gain:.0f} times")
        print(f"{diagnostics.nfe} evaluations, {corrected.timings_ms.compute:.1f} ms of computing")


if __name__ == "__main__":
    sys.exit(main())
