"""Solve Burgers' equation with the bundled surrogate, and see how far to trust the answer.

    python examples/burgers.py [URL]

URL defaults to http://127.0.0.1:8000; a running server's grpc://127.0.0.1:8001 does as well.
"""

import sys

import numpy as np

from certisolve import CertisolveError, Client, Solution

MODEL = "burgers1d-fno"
NUM_POINTS = 256


def main() -> int:
    """Solve once and report; returns the exit status."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    x = np.arange(NUM_POINTS) / NUM_POINTS
    u0 = 0.75 * np.sin(2 * np.pi * x) + 0.25 * np.sin(4 * np.pi * x)
    try:
        with Client(url) as client:
            solution = client.solve(MODEL, {"u0": u0})
    except CertisolveError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    report(solution)
    plot(x, u0, solution)
    return 0


def report(solution: Solution) -> None:
    """Print what came back."""
    u, diagnostics, timings = solution.fields["u"], solution.diagnostics, solution.timings_ms
    print(f"{solution.model.name} {solution.model.version}, program {solution.model.digest[:12]}")
    print(f"u(x, t = {solution.t.tolist()}): {u.size} points in [{u.min():.3f}, {u.max():.3f}]")
    if diagnostics is not None and diagnostics.expected_error is not None:
        print(f"expected relative error {diagnostics.expected_error:.2%}, measured on unseen data")
    if diagnostics is not None and not diagnostics.in_validated_range:
        print("outside the validated range: the error may be larger")
    print(
        f"{timings.queue:.2f} ms waiting, {timings.batch:.2f} ms batching, "
        f"{timings.compute:.2f} ms computing, batch of {solution.batch_size}"
    )


def plot(x: np.ndarray, u0: np.ndarray, solution: Solution, path: str = "burgers.png") -> None:
    """Save both fields as a picture, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: pip install matplotlib")
        return
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, u0, label="u(x, 0)")
    u = solution.fields["u"]
    axes.plot(solution.coords["x"], u, label="u(x, 1)")
    diagnostics = solution.diagnostics
    if diagnostics is not None and diagnostics.expected_error is not None:
        # The relative L2 error as a band of that root mean square.
        band = diagnostics.expected_error * np.sqrt(np.mean(u**2))
        axes.fill_between(solution.coords["x"], u - band, u + band, alpha=0.3, label="± error")
    axes.set(xlabel="x", ylabel="u", title=solution.model.name)
    axes.legend()
    figure.savefig(path, dpi=150)
    print(f"saved {path}")


if __name__ == "__main__":
    sys.exit(main())
