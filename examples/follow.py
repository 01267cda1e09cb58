"""Follow a spiral that no training has seen, by noisy measurements that come at irregular times.

The cascade of observers takes a second to settle; from then on the forecast is the better one.

    python examples/follow.py [URL]

URL defaults to http://127.0.0.1:8000; a running server's grpc://127.0.0.1:8001 does as well.
"""

import sys

import numpy as np

from certisolve import CertisolveError, Client

MODEL = "spiral-feedback"
NOISE = 0.05
#: Noise times this is a fifth of the error that the model makes without measurements.
MAX_NOISE_GAIN = 20.0
MEAN_INTERVAL, NUM_MEASUREMENTS, REPORT_EVERY = 0.01, 161, 40
AHEAD = 0.5
DECAY, RATE, BIAS = 0.05, 3.0, 10.0


def main() -> int:
    """Follow the spiral and print how far off the forecasts are; returns the exit status."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    try:
        with Client(url) as client:
            follow(client, np.random.default_rng(0))
    except CertisolveError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    return 0


def follow(client: Client, rng: np.random.Generator) -> None:
    """Measure, forecast half a second ahead, and compare with what happens."""
    t, x = 0.0, measured(0.0, rng)
    with client.session(
        MODEL, {"x": x}, automatic_gain=True, max_noise_gain=MAX_NOISE_GAIN
    ) as session:
        print(f"gain {session.info.gain:.2f}, noise amplified {session.info.noise_gain:.0f} times")
        for number in range(NUM_MEASUREMENTS):
            if number % REPORT_EVERY == 0:
                corrected = session.predict(t + AHEAD).fields["x"][0]
                alone = client.solve(MODEL, {"x": x[None]}, t=AHEAD).fields["x"][0]
                errors = [np.linalg.norm(each - spiral(t + AHEAD)) for each in (corrected, alone)]
                print(
                    f"after {number:3d} measurements off by {errors[0]:.2f}, alone {errors[1]:.2f}"
                )
            t += rng.exponential(MEAN_INTERVAL) + 1e-4
            x = measured(t, rng)
            session.observe(t, {"x": x})


def measured(t: float, rng: np.random.Generator) -> np.ndarray:
    """The state at t with noise."""
    return spiral(t) + NOISE * rng.normal(size=2)


def spiral(t: float) -> np.ndarray:
    """The solution of x1' = -d x1 - r x2 + b, x2' = r x1 - d x2 + b that starts at (9, 0)."""
    eigenvalue = complex(-DECAY, RATE)
    rest = -(1 + 1j) * BIAS / eigenvalue
    z = rest + (9 - rest) * np.exp(eigenvalue * t)
    return np.array([z.real, z.imag])


if __name__ == "__main__":
    sys.exit(main())
