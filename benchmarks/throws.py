"""What sessions make of measurements that are late, lost or partial; a part of `sessions.py`."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from certisolve import AsyncClient
from certisolve_zoo.specs import projectile_feedback as model

MODEL = "projectile-feedback"
_NUM_THROWS = 32
_AHEAD = 0.5


class Sensor(NamedTuple):
    """What is measured of a throw.

    Attributes:
        taken: at which times.
        mask: of them, which components.
    """

    taken: np.ndarray
    mask: np.ndarray


def sensors(num_times: int, seed: int) -> Mapping[str, Sensor]:
    """Ways to measure position and velocity at some of the times, by what they are called."""
    rng = np.random.default_rng(seed)
    always, everything = np.ones(num_times, bool), np.ones((num_times, 6), bool)
    last = np.arange(num_times) == num_times - 1
    lossy = (rng.uniform(size=num_times) < 0.6) | last
    return {
        "the last time alone": Sensor(last, everything),
        "every 0.01": Sensor(always, everything),
        "two of five are lost": Sensor(lossy, everything),
        "three of ten components are lost": Sensor(always, rng.uniform(size=(num_times, 6)) < 0.7),
        "the position alone": Sensor(always, everything & (np.arange(6) < 3)),
    }


def errors(url: str) -> list[tuple[str, str]]:
    """Mean distance of the position to the truth half a second ahead, for every sensor."""
    samples = model.windows(model.UNSEEN_SEED, _NUM_THROWS)
    measured, truth = samples.inputs[0].numpy(), samples.target.numpy()[:, -1, :3]
    names = sensors(measured.shape[1], 0)
    found = {name: asyncio.run(_forecasts(url, name, measured)) for name in names}
    return [
        (name, f"{np.linalg.norm(forecasts - truth, axis=1).mean():.2f}")
        for name, forecasts in found.items()
    ]


async def _forecasts(url: str, name: str, measured: np.ndarray) -> np.ndarray:
    """Positions half a second after the last measurement, of shape (throw, 3)."""
    async with AsyncClient(url, timeout=600) as client:

        async def one(seed: int, window: np.ndarray) -> np.ndarray:
            sensor = sensors(len(window), seed)[name]
            times = model.DT * np.arange(len(window))
            first, *others = np.flatnonzero(sensor.taken)
            session = await client.session(MODEL, {"x": window[first]}, t=times[first])
            async with session:
                if others:
                    mask = {"x": sensor.mask[others]}
                    await session.observe(times[others], {"x": window[others]}, mask=mask)
                return (await session.predict(times[-1] + _AHEAD)).fields["x"][0, :3]

        return np.stack(await asyncio.gather(*(one(i, m) for i, m in enumerate(measured))))
