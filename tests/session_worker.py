"""What a worker answers to the jobs of sessions, in numpy: the contract, written a second time.

Of the models `drift`, `recall`, `pendulum` and `rotation` of `family_models`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np

from certisolve_server.broker import AbstractBroker, Bounds, Capacity, Claim, MemoryBroker
from certisolve_server.catalog import Catalog, ModelEntry
from certisolve_server.jobs import Artifact, Outcome, SolveJob, Timings
from certisolve_server.sessionplane import SessionLimits, SessionPlane
from certisolve_server.sessions import AbstractSessionStore, MemorySessionStore
from certisolve_server.telemetry import Metrics
from family_models import (
    DT,
    PENDULUM,
    drift_manifest,
    members_manifest,
    pendulum_manifest,
    recall_manifest,
    rotation_manifest,
)

MANIFESTS = (
    drift_manifest(),
    recall_manifest(),
    pendulum_manifest(),
    members_manifest(),
    rotation_manifest(),
)
ARTIFACTS = {m.name: Artifact(m, f"digest-{m.name}", "/nowhere") for m in MANIFESTS}
LIMITS = SessionLimits(max_body_bytes=1 << 20, max_wait_s=10.0)


def catalog() -> Catalog:
    """All of them, loaded."""
    known = Catalog()
    for artifact in ARTIFACTS.values():
        known.put(ModelEntry(artifact, ready=True))
    return known


def field(x: np.ndarray, y: np.ndarray, gain: float) -> np.ndarray:
    """F of the pendulum."""
    uncorrected = np.array([x[1], -np.sin(x[0])], x.dtype)
    return uncorrected + PENDULUM.eigenvalue * gain * (x - y)


def open_loop(x: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Layers and observers after the first measurement."""
    layers = [x]
    for _ in range(num_steps):
        layers.append(layers[-1] + DT * field(layers[-1], layers[-1], 0.0))
    return np.stack(layers).astype(x.dtype), np.stack(layers[:-1]).astype(x.dtype)


def corrected(
    layers: np.ndarray, observers: np.ndarray, m: np.ndarray, interval: float, gain: float
) -> tuple[np.ndarray, np.ndarray]:
    """Layers and observers after a later measurement."""
    num_steps = len(observers)
    moved = np.empty_like(observers)
    for i in range(num_steps):
        rate = gain * PENDULUM.eigenvalue * np.exp(-PENDULUM.decay * i)
        # Such that the error of a linear feedback decays by exp(-rate interval).
        exact = -np.expm1(-rate * interval) / (PENDULUM.eigenvalue * interval)
        moved[i] = observers[i] + interval * field(layers[i], observers[i], exact)
    states = [m]
    for i in range(num_steps):
        factor = gain * np.exp(-PENDULUM.decay * i)
        states.append(states[-1] + DT * field(states[-1], moved[i], factor))
    return np.stack(states).astype(m.dtype), moved


def answer(job: SolveJob) -> Outcome:
    """The outcome of a job."""
    with np.errstate(over="ignore"):
        frames, states = _ANSWERS[job.model.name](job)
    outputs = tuple(np.asarray(frame) for frame in frames)
    finite = all(bool(np.isfinite(frame).all()) for frame in outputs)
    return Outcome(
        model=job.model,
        outputs=outputs,
        finite=finite,
        timings=Timings(1.0, 1.0, 1.0),
        batch_size=1,
        context=job.context,
        findings={"nfe": 1.0},
        ending=None if finite else "diverged",
        states=states if job.work.keeps_states else (),
    )


async def work(broker: AbstractBroker, served: list[SolveJob]) -> None:
    """Answer jobs until cancelled; `served` tells which."""
    capacity = Capacity({artifact.key: 8 for artifact in ARTIFACTS.values()})
    while True:
        claims: list[Claim] = list(await broker.claim(capacity, start=True))
        served.extend(claim.job for claim in claims)
        await broker.complete([(claim, answer(claim.job)) for claim in claims])


@contextlib.asynccontextmanager
async def session_plane(
    store: AbstractSessionStore | None = None, limits: SessionLimits = LIMITS
) -> AsyncIterator[tuple[SessionPlane, list[SolveJob]]]:
    """Sessions of these models, and the jobs that they came to."""
    served: list[SolveJob] = []
    async with MemoryBroker(Bounds()) as broker:
        kept = store or MemorySessionStore(1 << 20)
        working = asyncio.create_task(work(broker, served))
        try:
            yield SessionPlane(catalog(), broker, kept, limits, Metrics()), served
        finally:
            working.cancel()


def _drift(job: SolveJob):
    w, forcing = job.inputs
    [rate] = job.parameters
    frames = []
    for _ in range(job.work.steps[-1]):
        w = np.float32(rate) * w + forcing
        frames.append(w)
    wanted = np.stack([frames[step - 1] for step in job.work.steps])
    return (2 * wanted, wanted), ()


def _recall(job: SolveJob):
    [history] = job.inputs
    memory = job.states[0] if job.states else np.zeros((*history.shape[1:], 2), np.float32)
    known, frames, counts = list(history), [], []
    for index in range(len(history) - 1 + job.work.steps[-1]):
        frame = known[index] if index < len(history) else frames[-1]
        fading, count = memory[..., 0], memory[..., 1] + 1
        memory = np.stack([0.5 * fading + frame, count], axis=-1)
        frames.append(frame + 0.5 * fading)
        counts.append(count)
    rows = [len(history) - 2 + step for step in job.work.steps]
    return (np.stack([frames[r] for r in rows]), np.stack([counts[r] for r in rows])), (memory,)


def _pendulum(job: SolveJob):
    [measured] = job.inputs
    num_steps, interval = job.work.steps[-1], job.work.interval
    if interval == 0.0:
        layers, observers = open_loop(measured[-1], num_steps)
    else:
        assert interval is not None
        layers, observers = corrected(*job.states, measured[-1], interval, job.work.gain)
    return (layers[-1:],), (layers, observers)


def turned(y: np.ndarray, angle: float) -> np.ndarray:
    """A point of the rotation, so much later."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * y[0] + sin * y[1], cos * y[1] - sin * y[0]], y.dtype)


def _rotation(job: SolveJob):
    [y], [rate] = job.inputs, job.parameters
    return (np.stack([turned(y, rate * t) for t in job.work.t]),), ()


_ANSWERS = {"drift": _drift, "recall": _recall, "pendulum": _pendulum, "rotation": _rotation}
