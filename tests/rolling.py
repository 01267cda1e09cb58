"""A data plane that serves a rollout, and a worker that tests drive step by step."""

from typing import Any

import numpy as np

from certisolve_server.broker.base import Capacity, Claim
from certisolve_server.catalog import Catalog, ModelEntry
from certisolve_server.jobs import Artifact, Ending, Frame, Outcome, SolveRequest, Terms, Timings
from dataplanes import FIELD, Plane
from family_models import DT, drift_manifest

DRIFT = Artifact(drift_manifest(), "d2", "/models/drift")


def rolling_plane(**options: Any) -> Plane:
    """A data plane that serves `drift` alone: outputs v and w, steps of 0.1."""
    catalog = Catalog()
    catalog.put(ModelEntry(DRIFT, ready=True))
    return Plane(catalog=catalog, **options)


def rollout(size: int = 16, *, terms: Terms | None = None, **asked: Any) -> SolveRequest:
    """A request of `drift`, by default of three steps."""
    field = np.linspace(0, 1, size, dtype=np.float32)
    asked = asked or {"steps": 3}
    return SolveRequest("drift", None, {"w": field, "f": field}, terms=terms or Terms(), **asked)


def frame_at(step: int) -> tuple[np.ndarray, ...]:
    """What the worker says of a step: v is twice its number, w is its number."""
    return tuple(np.full(FIELD.shape, scale * step, np.float32) for scale in (2, 1))


class Hand:
    """A worker of one job that does a step when it is told to.

    Arguments:
        plane: whose queue has the job.
        held: the job.
    """

    def __init__(self, plane: Plane, held: Claim) -> None:
        self._broker = plane.broker
        self.held = held

    @classmethod
    async def take(cls, plane: Plane) -> "Hand":
        """The next job in line; waits for one."""
        [held] = await plane.broker.claim(Capacity({DRIFT.key: 1}), start=True)
        return cls(plane, held)

    async def tell(self, *indices: int) -> None:
        """Publish frames of those that are wanted."""
        steps = self.held.job.work.steps
        frames = [Frame(index, steps[index] * DT, frame_at(steps[index])) for index in indices]
        await self._broker.publish([(self.held, frame) for frame in frames])

    async def finish(self, steps: tuple[int, ...] = (), ending: Ending | None = None) -> None:
        """End the job with all frames, or with those of `steps` for a reason."""
        rows = [frame_at(step) for step in steps or self.held.job.work.steps]
        outcome = Outcome(
            model=self.held.job.model,
            outputs=tuple(np.stack(column) for column in zip(*rows, strict=True)),
            finite=True,
            timings=Timings(1.0, 2.0, 3.0),
            batch_size=5,
            context=self.held.job.context,
            findings={"nfe": float(max(steps or self.held.job.work.steps))},
            t=tuple(step * DT for step in steps) or None,
            ending=ending,
        )
        await self._broker.complete([(self.held, outcome)])
