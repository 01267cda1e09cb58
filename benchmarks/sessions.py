"""The noise gain up to which measurements do a session more good than harm.

Sessions of `spiral-feedback` follow the disturbed spiral, which no training has seen, by noisy
measurements at irregular times; then they forecast half a second. For every level of noise and
every limit on the noise gain, `automatic_gain` chooses the gain. A second table (throws.py) shows
what is left when measurements are lost. Errors do not depend on the machine, so they may be
published from a busy one.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import throws
from publish import write_section
from report import markdown, table
from rich.console import Console

from certisolve import AsyncClient
from certisolve_server.bench import local_server
from certisolve_zoo.pdes.spiral import DISTURBED, START, solve_spiral
from certisolve_zoo.specs.spiral_feedback import LAST_START, OPEN_LOOP_ERROR

_MODEL = "spiral-feedback"
_MODELS = Path("models/artifacts")
_PAGE = Path(__file__).parents[1] / "docs" / "sessions.md"
_NOISE = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
_LIMITS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)
_NUM_WINDOWS = 32
_NUM_MEASUREMENTS = 100
_MEAN_INTERVAL = 0.01
_AHEAD = 0.5


class Window(NamedTuple):
    """What one session is told, and what is true in the end.

    Attributes:
        t: times of the measurements.
        measured: of shape (measurement, 2).
        truth: at `_AHEAD` after the last.
    """

    t: np.ndarray
    measured: np.ndarray
    truth: np.ndarray


def windows(noise: float) -> list[Window]:
    """The same windows for every level of noise, spread over the trajectory."""
    rng = np.random.default_rng(0)
    starts = LAST_START / _NUM_WINDOWS * (np.arange(_NUM_WINDOWS) + rng.uniform(size=_NUM_WINDOWS))
    y0 = solve_spiral(DISTURBED, np.array([START]), starts)[0]
    return [_window(start, noise, seed) for seed, start in enumerate(y0)]


def _window(y0: np.ndarray, noise: float, seed: int) -> Window:
    rng = np.random.default_rng((1, seed))
    gaps = rng.exponential(_MEAN_INTERVAL, _NUM_MEASUREMENTS) + 1e-4
    t = np.concatenate([[0.0], np.cumsum(gaps)])
    states = solve_spiral(DISTURBED, y0[None], np.append(t, t[-1] + _AHEAD))[0]
    measured = states[:-1] + noise * rng.normal(size=(len(t), 2))
    return Window(t, measured.astype(np.float32), states[-1])


async def error(url: str, limit: float, noise: float) -> tuple[float, float]:
    """Mean distance to the truth, and the gain that was chosen."""
    async with AsyncClient(url, timeout=600) as client:

        async def one(window: Window) -> tuple[float, float]:
            session = await client.session(
                _MODEL, {"x": window.measured[0]}, automatic_gain=True, max_noise_gain=limit
            )
            async with session:
                await session.observe(window.t[1:], {"x": window.measured[1:]})
                forecast = await session.predict(window.t[-1] + _AHEAD)
            distance = np.linalg.norm(forecast.fields["x"][0] - window.truth)
            return float(distance), session.info.gain or 0.0

        found = await asyncio.gather(*(one(window) for window in windows(noise)))
    return float(np.mean([distance for distance, _ in found])), found[0][1]


def measure(url: str) -> list[Sequence[str]]:
    """A row per limit: it, the gain, and the error at each level of noise."""
    rows = []
    for limit in _LIMITS:
        found = [asyncio.run(error(url, limit, noise)) for noise in _NOISE]
        errors = (f"**{e:.2f}**" if e < OPEN_LOOP_ERROR else f"{e:.1f}" for e, _ in found)
        rows.append((f"{limit:g}", f"{found[0][1]:.3f}", *errors))
    return rows


def main() -> None:
    """Measure, print, and publish if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/sessions.md")
    write = parser.parse_args().write
    with local_server(_MODELS, ["--load", f"{_MODEL},{throws.MODEL}"]) as server:
        rows = measure(server.url("grpc"))
        lost = throws.errors(server.url("grpc"))
    headings = ("max_noise_gain", "gain", *(f"noise {noise:g}" for noise in _NOISE))
    measured = ("measured", "metres off")
    Console().print(table(headings, rows), table(measured, lost))
    if write:
        write_section("noise", markdown(headings, rows), _PAGE)
        write_section("throws", markdown(measured, lost), _PAGE)


if __name__ == "__main__":
    main()
